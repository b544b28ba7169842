"""Each way that an alert takes: what arrives, what is tried again, and what a failure may say."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import hooks
import pytest

from trimtab.config.alerts import AlertsSection
from trimtab.core.errors import RecipeError
from trimtab.integrations import webhook
from trimtab.integrations.alert import Alert, ChannelError
from trimtab.integrations.channels import Command, Desktop, open_channels
from trimtab.integrations.references import without
from trimtab.integrations.webhook import Webhook, hook_form

ALERT = Alert("runs/x-1", "finding", "act", "learning_rate_too_high", 'Loss <b>7</b> & "more"; $(id)', "Lower it.", 12)


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, pathlib\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.0, 0.0))


# --- Webhook ---------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_every_field() -> None:
    with hooks.serve() as hook:
        Webhook(hook.url).send(ALERT)
    (body,) = hook.received
    assert body["run"] == "runs/x-1" and body["event"] == "finding" and body["severity"] == "act"
    assert body["name"] == "learning_rate_too_high" and body["remedy"] == "Lower it." and body["step"] == 12
    assert body["message"] == ALERT.message
    assert body["text"].startswith("Trimtab: x-1 · learning rate too high\n")
    assert hook.headers[0]["Content-Type"].startswith("application/json")


def test_the_url_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with hooks.serve() as hook:
        monkeypatch.setenv("MY_HOOK", hook.url)
        Webhook("env:MY_HOOK").send(ALERT)
    assert len(hook.received) == 1


def test_a_variable_that_is_not_set_or_holds_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_HOOK", raising=False)
    with pytest.raises(RecipeError, match="the environment variable MY_HOOK is not set"):
        Webhook("env:MY_HOOK")
    monkeypatch.setenv("MY_HOOK", "ftp://host/token")
    with pytest.raises(RecipeError) as caught:
        Webhook("env:MY_HOOK")
    assert "token" not in str(caught.value)


def test_faults_of_the_server_are_tried_again() -> None:
    with hooks.serve() as hook:
        hook.answers += [(503, "busy"), (429, "slow down")]
        Webhook(hook.url).send(ALERT)
        assert len(hook.received) == 3


def test_three_attempts_are_all() -> None:
    with hooks.serve("/services/verysecrettoken") as hook:
        hook.answers += [(500, "")] * 9
        with pytest.raises(ChannelError, match="answered 500") as caught:
            Webhook(hook.url).send(ALERT)
        assert len(hook.received) == 3
        assert "verysecrettoken" not in str(caught.value)


@pytest.mark.parametrize("answer", [(404, ""), (302, "/other"), (307, "/other")])
def test_a_refusal_or_a_redirection_is_not_tried_again(answer: tuple[int, str]) -> None:
    with hooks.serve() as hook:
        hook.answers += [answer]
        with pytest.raises(ChannelError, match=f"answered {answer[0]}"):
            Webhook(hook.url).send(ALERT)
        assert len(hook.received) == 1


def test_a_hook_that_refuses_with_code_200_has_failed() -> None:
    with hooks.serve() as hook:
        hook.answers += [(200, '{"errcode": 310000, "errmsg": "keywords not in content"}')]
        with pytest.raises(ChannelError, match="refused it \\(310000: keywords not in content\\)"):
            Webhook(hook.url).send(ALERT)


def test_no_connection_is_told_without_the_url() -> None:
    with hooks.serve("/verysecrettoken") as hook:
        url = hook.url
    with pytest.raises(ChannelError, match="no connection") as caught:
        Webhook(url).send(ALERT)
    assert "verysecrettoken" not in str(caught.value)


def test_parts_of_a_url_are_taken_out_of_texts() -> None:
    url = "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef"
    assert without(url, f"cannot open {url}") == "cannot open …"
    assert "0123456789" not in without(url, "GET /robot/send?access_token=0123456789abcdef failed at oapi.dingtalk.com")


def test_chat_programs_get_the_form_that_they_read() -> None:
    text = ALERT.to_dict()["text"]
    assert hook_form("https://open.feishu.cn/x", ALERT) == {"msg_type": "text", "content": {"text": text}}
    assert hook_form("https://oapi.dingtalk.com/x", ALERT) == {"msgtype": "text", "text": {"content": text}}
    assert "&lt;b&gt;" in hook_form("https://hooks.slack.com/x", ALERT)["text"]
    assert hook_form("https://discord.com/api/x", ALERT)["allowed_mentions"] == {"parse": []}
    assert hook_form("https://example.org/hooks.slack.com", ALERT)["name"] == ALERT.name


# --- Desktop and command ---------------------------------------------------------------------------------------------


def test_the_desktop_gets_arguments_and_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "notify-send", "pathlib.Path(os.environ['OUT']).write_text(json.dumps(sys.argv[1:]))")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path / "told.json"))
    Desktop("linux").send(ALERT)
    arguments = json.loads((tmp_path / "told.json").read_text())
    assert arguments[:3] == ["--app-name=Trimtab", "--urgency=critical", "--"]
    assert arguments[3] == "Trimtab: x-1 · learning rate too high"
    assert arguments[4] == 'Loss &lt;b&gt;7&lt;/b&gt; &amp; "more"; $(id) Lower it.'


@pytest.mark.parametrize(("platform", "name"), [("darwin", "osascript"), ("win32", "powershell")])
def test_other_systems_get_a_fixed_script(
    platform: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, name, "told = [sys.argv[1:], os.environ['TRIMTAB_BODY']]\n"
                            "pathlib.Path(os.environ['OUT']).write_text(json.dumps(told))")  # fmt: skip
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path / "told.json"))
    Desktop(platform).send(ALERT)
    arguments, body = json.loads((tmp_path / "told.json").read_text())
    assert body == ALERT.body
    script = [text for text in arguments if "display notification" in text or "CreateToastNotifier" in text]
    assert len(script) == 1 and ALERT.message not in script[0]
    assert (arguments[-2:] == [ALERT.title, ALERT.body]) == (platform == "darwin")


def test_a_system_without_notices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="'notify-send', which shows notices on this system, was not found"):
        open_channels(AlertsSection(desktop=True))


def test_a_command_gets_json_and_variables_and_no_shell(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        "tell me",
        "told = {key: value for key, value in os.environ.items() if key.startswith('TRIMTAB_')}\n"
        "told['argv'], told['stdin'] = sys.argv[1:], json.load(sys.stdin)\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps(told))",
    )
    Command([str(path), str(tmp_path / "out"), "$(touch x); `id`"]).send(ALERT)
    told = json.loads((tmp_path / "out").read_text())
    assert told["argv"][1] == "$(touch x); `id`"
    assert told["stdin"] == ALERT.to_dict()
    assert told["TRIMTAB_RUN"] == "runs/x-1" and told["TRIMTAB_EVENT"] == "finding"
    assert told["TRIMTAB_SEVERITY"] == "act" and told["TRIMTAB_MESSAGE"] == ALERT.body


def test_a_message_that_no_variable_can_hold_is_told_without_it(tmp_path: Path) -> None:
    path = program(tmp_path, "tell", "pathlib.Path(sys.argv[1]).write_text(os.environ['TRIMTAB_MESSAGE'])")
    Command([str(path), str(tmp_path / "out")]).send(Alert("r", "failed", "act", "failed", "a\0b\nc"))
    assert (tmp_path / "out").read_text() == "ab\nc"


def test_a_command_that_fails_or_is_not_there_is_told(tmp_path: Path) -> None:
    path = program(tmp_path, "tell", "sys.exit('no luck')")
    with pytest.raises(ChannelError, match="tell ended with code 1: no luck"):
        Command([str(path)]).send(ALERT)
    with pytest.raises(RecipeError, match=r"there is no program './none'"):
        Command(["./none"])
