"""Alerts and trackers beside real runs: finished, killed and resumed, stopped, failed; no weight knows of them."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hooks
import processes
import pytest
import stores
import tiny
from command import trimtab

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.monitor.reading import open_trace

STEPS = 42
KINDS = ("csv", "tensorboard", "mlflow", "wandb")
SETTINGS = {
    "training.num_epochs": 3,
    "training.batch_size": 15,
    "training.device": "cpu",
    "training.precision": "fp32",
    "checkpoint.every_steps": 4,
    "evaluation.every_steps": 7,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": "false",
    "evaluation.bootstrap_samples": 100,
    "retention.measure": "false",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, 300 rows, and a program that notes what it is told."""
    folder = tmp_path_factory.mktemp("outlets")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 300)
    program = folder / "tell"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')\n", encoding="utf-8"
    )
    program.chmod(0o755)
    return folder


def arguments(output: str, *more: str, **settings: Any) -> list[str]:
    merged = {**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}}
    pairs = [part for key, value in merged.items() for part in ("--set", f"{key}={value}")]
    return ["train", "texts.csv", "--model", "./bert", "--output", output, *pairs, *more]


def losses(run: Path) -> dict[int, float]:
    """Loss of each step as the run's own record holds it; the later line of a step holds."""
    return {event["step"]: event["loss"] for event in read_events(run / "events.jsonl") if event["type"] == "step"}


def accuracies(run: Path) -> dict[int, float]:
    events = [event for event in read_events(run / "events.jsonl") if event["type"] == "evaluation"]
    return {event["step"]: event["metrics"]["accuracy"] for event in events}


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def installed() -> list[str]:
    from importlib.util import find_spec

    from trimtab.core.registry import TRACKERS

    return [kind for kind in KINDS if all(find_spec(name) for name in TRACKERS.get(kind).packages)]


def tracked(kinds: list[str]) -> list[str]:
    return [part for kind in kinds for part in ("--track", kind)]


def assert_same(kind: str, run: Path) -> None:
    """A tracker holds each step and each evaluation once, with the value of the record."""
    for name, own in (("train/loss", losses(run)), ("validation/accuracy", accuracies(run))):
        points = stores.points(kind, run, name)
        assert [step for step, _ in points] == sorted(own), (kind, name)
        assert [value for _, value in points] == pytest.approx([own[step] for step in sorted(own)], rel=1e-5)
    final = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["metrics"]["accuracy"]["value"]
    assert stores.result(kind, run, "test/accuracy") == pytest.approx(final, rel=1e-5)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A finished run with every tracker that is installed, a command and no webhook."""
    run = folder / "whole"
    more = [*tracked(installed()), "--set", "alerts.command=./tell told.txt", "--set", "alerts.severity=info"]
    command = processes.finish(folder, *arguments(run.name, *more))
    assert command.exit_code == 0, command.stderr
    return run


@pytest.fixture(scope="module")
def killed(folder: Path) -> Path:
    """The same run, killed twice and resumed."""
    run = folder / "killed"
    more = [*tracked(installed()), "--set", "alerts.command=./tell told-killed.txt", "--set", "alerts.severity=info"]
    command = processes.start(folder, *arguments(run.name, *more))
    for step in (11, 26):
        assert command.wait_until(lambda step=step: max(losses(run), default=0) >= step), command.stderr
        command.send(signal.SIGKILL)
        command.wait()
        command = processes.start(folder, "resume", run.name)
    assert command.wait().exit_code == 0, command.stderr
    return run


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    stores.need(request.param)
    yield request.param


def failures(run: Path) -> list[dict[str, Any]]:
    return [e for e in read_events(run / "events.jsonl") if str(e.get("action")).endswith("_failed")]


def test_a_tracker_holds_what_the_run_recorded(kind: str, whole: Path) -> None:
    assert failures(whole) == []
    assert sorted(losses(whole)) == list(range(1, STEPS + 1))
    assert_same(kind, whole)


def test_a_run_killed_and_resumed_has_no_double_points_and_no_holes(kind: str, killed: Path) -> None:
    assert failures(killed) == []
    assert_same(kind, killed)


def test_the_weights_do_not_know_of_it(folder: Path, whole: Path, killed: Path) -> None:
    plain = folder / "plain"
    assert processes.finish(folder, *arguments(plain.name)).exit_code == 0
    weights = [sha256_of(run / "model" / "model.safetensors") for run in (plain, whole, killed)]
    assert len(set(weights)) == 1


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_diagnose_reads_what_was_written(name: str, whole: Path) -> None:
    stores.need(name)
    path = whole / "tracking" / name
    own, read = open_trace(whole), open_trace(path)
    assert read.last_step == own.last_step == STEPS
    assert [e.step for e in read.evaluations] == [e.step for e in own.evaluations]
    for mine, theirs in zip(own.evaluations, read.evaluations, strict=True):
        for key in ("loss", "accuracy", "macro_f1"):
            assert math.isclose(mine.values[key], theirs.values[key], rel_tol=1e-5)
        assert math.isclose(mine.held_in["loss"], theirs.held_in["loss"], rel_tol=1e-5)
    outcome = trimtab("diagnose", path, "--json")
    assert outcome.code == 0 and outcome.json["step"] == STEPS


def test_each_finding_and_the_end_are_told_once(folder: Path, whole: Path) -> None:
    alerts = told(folder / "told.txt")
    found = {(e["name"], e["severity"]) for e in read_events(whole / "events.jsonl") if e["type"] == "finding"}
    assert {(a["name"], a["severity"]) for a in alerts if a["event"] == "finding"} <= found
    assert len({(a["name"], a["severity"]) for a in alerts}) == len(alerts)
    assert [a["event"] for a in alerts][-1] == "finished"
    last = alerts[-1]
    assert last["run"] == "whole" and last["step"] == STEPS
    assert last["low"] <= last["value"] <= last["high"] and last["metric"] == "macro_f1"
    assert {name for name, _ in found} == {a["name"] for a in alerts if a["event"] == "finding"}


def test_a_resumed_run_tells_nothing_twice(folder: Path, killed: Path) -> None:
    alerts = told(folder / "told-killed.txt")
    assert len({(a["name"], a["severity"]) for a in alerts}) == len(alerts)
    assert [a["event"] for a in alerts].count("finished") == 1


def test_a_run_that_is_stopped_says_so_and_how_to_go_on(folder: Path) -> None:
    run = folder / "stopped"
    more = ["--track", "csv", "--set", "alerts.command=./tell told-stopped.txt"]
    command = processes.start(folder, *arguments(run.name, *more))
    assert command.wait_until(lambda: max(losses(run), default=0) >= 9), command.stderr
    command.send(signal.SIGTERM)
    assert command.wait().exit_code == 143
    (alert,) = [alert for alert in told(folder / "told-stopped.txt") if alert["event"] != "finding"]
    assert alert["event"] == "stopped" and "trimtab resume stopped" in alert["remedy"]
    results = (run / "tracking" / "csv" / "results.csv").read_text(encoding="utf-8-sig")
    assert "state,stopped" in results
    assert [step for step, _ in stores.points("csv", run, "train/loss")] == sorted(losses(run))


def test_a_run_that_fails_says_why(folder: Path) -> None:
    settings = {"optimizer__learning_rate": 1e30, "training__max_nonfinite_steps": 1, "training__max_grad_norm": "null"}
    more = ["--track", "csv", "--set", "alerts.command=./tell told-failed.txt"]
    command = processes.finish(folder, *arguments("failed", *more, **settings))
    assert command.exit_code == 1, command.stderr
    alert = told(folder / "told-failed.txt")[-1]
    assert (alert["event"], alert["severity"]) == ("failed", "act")
    assert alert["message"].split(".")[0] in command.stderr and alert["remedy"]


def test_a_webhook_that_never_answers_costs_a_notice_and_no_secret_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hooks.serve("/services/verysecrettoken") as hook:
        hook.answers += [(404, "")] * 50
        monkeypatch.setenv("TEST_HOOK", hook.url)
        monkeypatch.chdir(folder)
        outcome = trimtab(*arguments("hooked", "--alert-webhook", "env:TEST_HOOK", alerts__severity="info"))
        assert outcome.code == 0
        assert hook.received[-1]["event"] == "finished"
    (failure,) = failures(folder / "hooked")
    assert failure["channel"] == "webhook" and "404" in failure["reason"]
    assert outcome.err.count("alerts, webhook: the server answered 404") == 1
    for path in (folder / "hooked").rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".json", ".jsonl", ".md", ".html"):
            assert "verysecrettoken" not in path.read_text(encoding="utf-8"), path
    assert "verysecrettoken" not in outcome.out + outcome.err


def test_a_tracker_that_breaks_costs_a_notice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.integrations.trackers.csv_tables import CsvTables

    def broken(self: Any, rows: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(CsvTables, "write", broken)
    monkeypatch.chdir(folder)
    outcome = trimtab(*arguments("broken", "--track", "csv", "--epochs", "1"))
    assert outcome.code == 0
    (failure,) = failures(folder / "broken")
    assert failure["tracker"] == "csv" and "no space left" in failure["reason"]


def test_what_cannot_work_is_refused_before_the_data_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NO_HOOK", raising=False)
    for more, words in (
        (["--alert-webhook", "env:NO_HOOK"], "the environment variable NO_HOOK is not set"),
        (["--set", "alerts.command=./none"], "there is no program './none'"),
        (["--track", "csv", "--set", "tracking.folder=texts.csv/x"], "texts.csv is a file"),
    ):
        outcome = trimtab(*arguments("refused", *more))
        assert outcome.code == 2 and words in outcome.error
        assert not (folder / "refused").exists()
