"""`trimtab control` on real runs in processes of their own: each command, a kill after a change, and what is left."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import processes
import pytest
import tiny
from asked_runs import command as request
from asked_runs import put

import trimtab
from trimtab.core.control import ask
from trimtab.core.errors import RunError
from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.core.heartbeat import read_heartbeat
from trimtab.core.runs import RunDirectory, summarise

SETTINGS = {
    "model.name": "./bert",
    "model.dropout": 0.1,
    "training.batch_size": 8,
    "training.device": "cpu",
    "training.precision": "fp32",
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
    "checkpoint.every_steps": 50,
    "schedule.name": "constant",
    "schedule.warmup_ratio": 0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and 120 rows."""
    folder = tmp_path_factory.mktemp("control")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 120)
    return folder


def arguments(output: str, epochs: int, **settings: Any) -> list[str]:
    merged = {**SETTINGS, "training.num_epochs": epochs, **{key.replace("__", "."): v for key, v in settings.items()}}
    pairs = [part for key, value in merged.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["train", "texts.csv", "--output", output, *pairs]


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run / "events.jsonl") if event["type"] == kind]


def beat(run: Path) -> dict[str, Any]:
    return read_heartbeat(run / "heartbeat.json") or {"state": None, "step": None}


def test_pause_change_resume_stop_and_go_on(folder: Path) -> None:
    run = folder / "asked"
    command = processes.start(folder, *arguments("asked", 400))
    assert command.wait_until(lambda: beat(run)["state"] == "running"), command.stderr
    other = processes.finish(folder, "resume", "asked")
    assert other.exit_code == 2 and "goes on in another process" in other.stderr

    paused = processes.finish(folder, "control", "asked", "pause", "--wait", "60", "--json")
    answer = json.loads(paused.stdout)
    assert answer["accepted"] and beat(run)["state"] == "paused" and beat(run)["step"] == answer["step"]
    assert summarise(RunDirectory(run))["state"] == "paused"
    again = processes.finish(folder, "control", "asked", "pause", "--wait", "60")
    assert again.exit_code == 2 and "it is paused already" in again.stderr
    changed = ask(RunDirectory(run), "learning_rate", "test", wait=60, factor=0.25)
    kept = trimtab.control(run, "checkpoint", wait=60)
    assert (run / "checkpoints" / kept["checkpoint"]).is_dir()
    # Nothing moved meanwhile.
    assert answer["step"] == changed["step"] == kept["step"] == events(run, "step")[-1]["step"]
    assert trimtab.control(run, "resume", wait=60)["seconds"] > 0
    assert command.wait_until(lambda: events(run, "step")[-1]["step"] > answer["step"])
    with pytest.raises(RunError, match="finds no 'unheard_of'"):
        trimtab.control(run, "remedy", wait=60, finding="unheard_of")

    stopped = processes.finish(folder, "control", "asked", "stop", "--wait", "60")
    command.wait()
    assert stopped.exit_code == 0 and "with a checkpoint to resume from" in stopped.stdout
    assert command.exit_code == 130 and "trimtab resume asked" in command.stderr
    assert beat(run)["state"] == "stopped" == summarise(RunDirectory(run))["state"]
    assert not (run / "control").exists()
    late = processes.finish(folder, "control", "asked", "pause")
    assert late.exit_code == 2 and "was stopped" in late.stderr and "trimtab resume asked" in late.stderr
    seconds = [event["seconds"] for event in events(run, "step")]
    assert max(seconds) < events(run, "control")[-1]["time"] - events(run, "control")[0]["time"]

    put(run, 1, request("stop"))  # from before the restart, so that nobody heeds it
    resumed = processes.start(folder, "resume", "asked")
    assert resumed.wait_until(
        lambda: events(run, "step")[-1]["step"] > answer["step"] and beat(run)["state"] == "running"
    )
    resumed.send(signal.SIGKILL)
    resumed.wait()
    assert summarise(RunDirectory(run))["state"] == "crashed"
    rates = {event["step"]: event["learning_rates"]["all"] for event in events(run, "step")}
    assert rates[answer["step"] + 1] == rates[max(rates)] == pytest.approx(0.25 * rates[answer["step"]])
    listed = json.loads(processes.finish(folder, "runs", ".", "--json").stdout)["runs"]
    assert [found["state"] for found in listed if found["run"].endswith("asked")] == ["crashed"]


def test_killed_after_a_change_it_ends_with_the_same_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder / "killed"
    command = processes.start(folder, *arguments("killed", 40))
    assert command.wait_until(lambda: beat(run)["state"] == "running"), command.stderr
    changed = ask(RunDirectory(run), "learning_rate", "test", wait=60, factor=3)
    command.send(signal.SIGKILL)
    command.wait()
    assert processes.finish(folder, "resume", "killed").exit_code == 0
    assert beat(run)["state"] == "finished"

    # The same change after the same step of a run that is not killed.
    whole = folder / "whole"
    monkeypatch.chdir(folder)
    monkeypatch.setattr("trimtab.pipeline.control.POLL_SECONDS", 0.0)

    def leave(event: dict[str, Any]) -> None:
        if event["type"] == "step" and event["step"] == changed["step"]:
            put(whole, 1, request("learning_rate", factor=3))

    trimtab.train("texts.csv", output="whole", epochs=40, settings=SETTINGS, on_event=leave)
    assert events(whole, "control")[0]["step"] == changed["step"]
    assert sha256_of(run / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")


@pytest.mark.parametrize("autopilot", ["advise", "off"])
def test_a_remedy_is_applied_to_a_run_whose_autopilot_does_not_act(folder: Path, autopilot: str) -> None:
    run = folder / f"remedied-{autopilot}"
    huge = {"optimizer__learning_rate": 1.0, "monitor__autopilot": autopilot}
    command = processes.start(folder, *arguments(run.name, 400, **huge))
    assert command.wait_until(lambda: len(events(run, "evaluation")) >= 4), command.stderr
    if autopilot == "advise":
        names = {event["name"] for event in events(run, "finding") if event.get("by") == "doctor"}
        assert names & {"learning_rate_too_high", "divergence"}, names
    answer = None
    for name in ("learning_rate_too_high", "divergence", "loss_spikes"):
        try:
            answer = answer or trimtab.control(run, "remedy", wait=60, finding=name)
        except RunError as error:
            assert "finds no" in error.message, error.message

    assert answer is not None and answer["remedy"] == "lower_rate"
    assert answer["after"]["rate_scale"] < 1
    trimtab.control(run, "stop", wait=60)
    assert command.wait().exit_code == 130
    last = events(run, "step")[-1]
    assert last["learning_rates"]["all"] == pytest.approx(answer["after"]["rate_scale"])
