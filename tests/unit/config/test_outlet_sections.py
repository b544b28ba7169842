"""The recipe's sections `alerts` and `tracking`: nonsense is refused, and no secret is ever repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import trimtab

from trimtab.config.load import build_recipe
from trimtab.config.recipe import Recipe
from trimtab.core.errors import RecipeError

SECRET = "https://hooks.slack.com/services/T000/B000/XYZSECRETXYZ"


def settings(*texts: str) -> Recipe:
    return build_recipe(settings=texts).recipe


def test_nobody_is_told_by_default() -> None:
    recipe = build_recipe().recipe
    assert not recipe.alerts.has_channel
    assert recipe.tracking.to == []


@pytest.mark.parametrize(
    "url", [SECRET, "https://user:pass@localhost/x", "http://localhost.evil.example/", "http://[::1"]
)
def test_a_url_that_may_be_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings(f"alerts.webhook={url}")
    assert "env:TRIMTAB_WEBHOOK" in str(caught.value)
    assert url not in str(caught.value) and "SECRET" not in str(caught.value) and "pass" not in str(caught.value)


def test_a_secret_within_a_list_or_behind_a_wrong_reference_is_not_repeated() -> None:
    for text in (f"[{SECRET}]", f"env:{SECRET}", "env:", "env:1A", "slack"):
        with pytest.raises(RecipeError) as caught:
            settings(f"alerts.webhook={text}")
        assert "XYZSECRETXYZ" not in str(caught.value)


def test_the_command_line_and_its_json_do_not_repeat_it(tmp_path: Path) -> None:
    for flags in ((), ("--json",), ("--debug",)):
        outcome = trimtab("train", tmp_path / "none.csv", "--alert-webhook", SECRET, *flags)
        assert outcome.code == 2
        assert "SECRET" not in outcome.out + outcome.err


@pytest.mark.parametrize("value", ["env:HOOK", "http://localhost:8000/x", "http://127.0.0.1:9/", "http://[::1]:8/"])
def test_references_and_urls_of_this_machine_are_taken(value: str) -> None:
    assert build_recipe(overrides={"alerts.webhook": value}).recipe.alerts.webhook == value


def test_a_command_is_cut_into_words() -> None:
    assert settings("alerts.command=notify 'two words' x").alerts.command == ["notify", "two words", "x"]
    assert settings("alerts.command=[notify, '1']").alerts.command == ["notify", "1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alerts.command=notify 'open", "cannot be cut into words"),
        ("alerts.command=[]", "names no program"),
        ("alerts.severity=grave", "allowed: `info`, `warning` or `act`"),
        ("alerts.severity=info", "severity would do nothing without desktop, webhook or command"),
        ("alerts.on_end=false", "on_end would do nothing without"),
        ("tracking.to=tensorbord", "no tracker is called 'tensorbord'. Did you mean 'tensorboard'?"),
        ("tracking.to=[csv, csv]", "names a tracker twice"),
        ("tracking.project=x", "project would do nothing: tracking.to names no tracker"),
        ("tracking.every_steps=0", "of at least 1"),
    ],
)
def test_nonsense_is_refused(text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"to": ["csv"], "uri": "x.db"}, "tracking.to does not name mlflow"),
        ({"to": ["mlflow"], "folder": "x"}, "folder would do nothing for mlflow"),
        ({"to": ["mlflow"], "uri": "postgresql://db/x"}, "'postgresql' are not written"),
        ({"to": ["mlflow"], "uri": "https://me:hunter22@host/"}, "env:NAME"),
        ({"to": ["mlflow"], "uri": "env:no-name"}, "allowed: a file"),
        ({"to": ["csv"], "name": "a\nb"}, "one line"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe(overrides={f"tracking.{key}": value for key, value in given.items()})
    assert words in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_flags_fill_the_sections() -> None:
    from trimtab.config.fields import plain_fields

    flags = {field.key: field.flag for field in plain_fields().values() if field.section in ("alerts", "tracking")}
    assert {key: flag for key, flag in flags.items() if flag} == {
        "alerts.desktop": "--alert-desktop",
        "alerts.webhook": "--alert-webhook",
        "tracking.to": "--track",
    }
