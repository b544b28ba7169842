"""The heartbeat: what it tells of a run, and whether the process behind it is alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from trimtab.core.errors import InterruptedRun, NonFiniteError
from trimtab.core.events import EventLog
from trimtab.core.heartbeat import Heartbeat, is_alive, is_going_on, read_heartbeat, state_by_heartbeat
from trimtab.core.runs import RunDirectory, list_runs, summarise
from trimtab.core.vitals import GOING, Vitals

START = {"type": "start", "step": 0, "total_steps": 100, "num_epochs": 4}


def beat_of(path: Path) -> dict[str, Any]:
    beat = read_heartbeat(path)
    assert beat is not None
    return beat


def until(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes to hold within a minute."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def step(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "step", "step": number, "epoch": number / 25, "loss": 0.5, **fields}


def evaluation(number: int, value: float | None, best: bool) -> dict[str, Any]:
    return {"type": "evaluation", "step": number, "metric": "f1", "metrics": {"f1": value}, "best": best}


def test_states_follow_the_run(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    told = []
    with Heartbeat(path, seconds=3600) as heart:
        told.append(beat_of(path)["state"])
        for event in (START, step(1), step(2)):
            heart.hear(event)
        told.append(beat_of(path)["state"])
        with heart.during("evaluating"):
            told.append(beat_of(path)["state"])
        told.append(beat_of(path)["state"])
        heart.hear({"type": "control", "command": "pause", "accepted": True})
        told.append(beat_of(path)["state"])
        heart.hear({"type": "control", "command": "pause", "accepted": False})
        heart.hear({"type": "control", "command": "resume", "accepted": True})
        told.append(beat_of(path)["state"])
        heart.hear({"type": "phase", "step": 2, "phase": "weights"})
        told.append(beat_of(path)["state"])
        assert is_going_on(path)
    told.append(beat_of(path)["state"])

    assert told == ["preparing", "running", "evaluating", "running", "paused", "running", "finishing", "finished"]
    assert not is_going_on(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_it_beats_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    with Heartbeat(path, seconds=0.01):
        path.unlink()
        assert until(path.exists)


def test_what_it_tells(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    with Heartbeat(path, seconds=3600) as heart:
        events = [START, step(1), step(5), step(6, loss=None), evaluation(6, 0.7, True)]
        events += [
            {"type": "finding", "by": "doctor", "name": "plateau", "severity": name} for name in ("info", "warning")
        ]
        events += [{"type": "finding", "by": "data", "name": "leakage", "severity": "refuse"}, {"type": "phase"}]
        for event in events:
            heart.hear(event)
        with heart.during("evaluating"):
            beat = beat_of(path)
    assert beat["format"] == 1 and beat["pid"] == os.getpid() and beat["error"] is None
    assert abs(beat["pid_started"] - psutil.Process().create_time()) < 2
    numbers = ("step", "total_steps", "epoch", "num_epochs", "loss", "metric", "value", "best", "best_step")
    assert [beat[name] for name in numbers] == [6, 100, 0.24, 4, 0.5, "f1", 0.7, 0.7, 6]
    assert beat["findings"] == {"info": 0, "warning": 1, "act": 1}


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (InterruptedRun("SIGINT", "trimtab resume x"), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
        (SystemExit(143), "stopped", None),
        (
            NonFiniteError("Step 3: NaN.", remedy="Lower it."),
            "failed",
            {"message": "Step 3: NaN.", "remedy": "Lower it."},
        ),
        (ZeroDivisionError("by zero"), "failed", {"message": "ZeroDivisionError: by zero"}),
    ],
)
def test_how_it_ended(tmp_path: Path, error: BaseException, state: str, words: dict[str, str] | None) -> None:
    path = tmp_path / "heartbeat.json"
    with pytest.raises(type(error)), Heartbeat(path, seconds=3600) as heart:
        heart.hear(step(1))
        raise error

    beat = beat_of(path)
    assert beat["state"] == state == state_by_heartbeat(path)
    assert (beat["error"] or {}).items() >= (words or {}).items() and bool(beat["error"]) == bool(words)


def test_a_beat_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "heartbeat.json").mkdir()
    for path in (tmp_path / "none" / "heartbeat.json", tmp_path / "heartbeat.json"):
        with Heartbeat(path, seconds=0.01) as heart:
            heart.hear(START)
            heart.hear(step(1))
        assert heart.vitals.state == "finished"
    assert [entry.name for entry in tmp_path.iterdir()] == ["heartbeat.json"]


def test_a_process_that_tells_nothing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Heartbeat(None) as heart, heart.during("evaluating"):
        heart.hear(step(1))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_remembers(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for event in (START, step(6), evaluation(6, 0.7, True), evaluation(9, 0.8, True)):
        log.write(event["type"], **{name: value for name, value in event.items() if name != "type"})
    log.write("finding", 6, by="doctor", name="plateau", severity="warning")
    log.write("control", 9, command="pause", accepted=True)
    heart = Heartbeat(tmp_path / "heartbeat.json", seconds=3600)
    heart.recall(log.path or tmp_path)
    with heart:
        beat = beat_of(tmp_path / "heartbeat.json")
        assert (beat["state"], beat["best"], beat["findings"]["warning"]) == ("preparing", 0.8, 1)
        heart.hear({"type": "finding", "by": "doctor", "name": "plateau", "severity": "act"})
        # The newest sound checkpoint was older than the best evaluation.
        heart.hear({"type": "action", "action": "resume", "step": 7})
        fields = heart.vitals.fields()
    assert (fields["step"], fields["best"], fields["best_step"]) == (7, 0.7, 6)
    assert fields["findings"] == {"info": 0, "warning": 0, "act": 1}


def test_the_best_of_a_way_that_was_left_is_forgotten_until_that_is_undone() -> None:
    vitals = Vitals()
    for event in (evaluation(6, 0.6, True), evaluation(12, 0.7, True)):
        vitals.hear(event)
    vitals.hear({"type": "action", "action": "autopilot", "step": 18, "back_to": 6})
    assert vitals.fields()["best"] == 0.6
    vitals.hear({"type": "action", "action": "autopilot_effect", "step": 12, "undone": True, "back_to": 18})
    assert (vitals.fields()["best"], vitals.fields()["best_step"]) == (0.7, 12)


def test_a_pause_does_not_count_for_the_time_left() -> None:
    now = [0.0]
    vitals = Vitals(clock=lambda: now[0])
    vitals.hear(START)
    vitals.hear(step(1))
    assert vitals.fields()["seconds_left"] is None
    for number in range(2, 12):
        now[0] += 2.0
        vitals.hear(step(number))
    assert vitals.fields()["seconds_left"] == 2.0 * (100 - 11)
    vitals.hear({"type": "control", "command": "pause", "accepted": True})
    now[0] += 1000.0
    assert vitals.fields()["seconds_left"] == 2.0 * (100 - 11)
    vitals.hear({"type": "control", "command": "resume", "accepted": True})
    now[0] += 2.0
    vitals.hear(step(12))
    assert vitals.fields()["seconds_left"] == 2.0 * (100 - 12)
    vitals.hear({"type": "phase", "phase": "weights"})
    assert vitals.fields()["seconds_left"] is None


BEATING = (
    "import sys, time; from pathlib import Path; from trimtab.core.heartbeat import Heartbeat\n"
    "with Heartbeat(Path(sys.argv[1])) as heart:\n"
    "    heart.hear({'type': 'step', 'step': 3})\n"
    "    print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def living(tmp_path: Path) -> Any:
    """A run directory and the process that beats in it."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.recipe.write_text("seed: 0\n")
    process = subprocess.Popen([sys.executable, "-c", BEATING, str(run.heartbeat)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    yield run, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_process_is_seen_even_before_its_parent_takes_note(living: Any) -> None:
    run, process = living
    assert summarise(run)["state"] == "running"

    process.send_signal(signal.SIGKILL)
    assert until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert summarise(run)["state"] == "crashed"
    process.wait()
    assert [found["state"] for found in list_runs(run.path.parent)] == ["crashed"]
    run.evaluation.write_text("{}")
    assert summarise(run)["state"] == "finished"


def test_another_process_with_its_number_is_not_taken_for_it(living: Any) -> None:
    run, _ = living
    beat = beat_of(run.heartbeat)

    assert not is_alive(run.heartbeat, {**beat, "pid": os.getppid()})
    assert not is_alive(run.heartbeat, {**beat, "process": None, "pid_started": beat["pid_started"] - 60})
    for pid in (None, "x", -5, 1 << 40, True):
        assert not is_alive(run.heartbeat, {**beat, "pid": pid})


def test_a_clock_that_is_set_changes_nothing(living: Any) -> None:
    run, _ = living
    beat = beat_of(run.heartbeat)
    os.utime(run.heartbeat, (0, 0))
    if beat["process"] is None:
        pytest.skip("only Linux tells the start of a process without the clock")
    assert is_alive(run.heartbeat, {**beat, "pid_started": beat["pid_started"] - 3600})


def test_of_another_host_the_age_of_the_file_decides(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "state": "running"}))
    assert state_by_heartbeat(path) == "running"
    os.utime(path, (time.time() - 300, time.time() - 300))
    assert state_by_heartbeat(path) == "crashed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 3}', "\x00", '"running"'])
def test_a_damaged_heartbeat_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "heartbeat.json"
    path.write_text(text)
    assert read_heartbeat(path) is None and state_by_heartbeat(path) is None


def test_no_event_of_any_version_makes_it_fail() -> None:
    vitals = Vitals()
    usual = vitals.fields()
    odd: list[Any] = [None, "x", -1, 1.5, [], {}, True]
    names = ("step", "metric", "metrics", "best", "loss", "back_to", "total_steps", "undone", "command", "accepted")
    names += ("action", "severity", "by", "name", "phase")
    for kind in ("start", "step", "evaluation", "finding", "phase", "control", "action", "end", "new", None):
        vitals.hear({"type": kind})
        for value in odd:
            vitals.hear({**dict.fromkeys(names, value), "type": kind})
            told = vitals.fields()
            assert told.keys() == usual.keys() and told["state"] in (
                *GOING,
                "preparing",
                "finishing",
                "finished",
                "stopped",
                "failed",
            )
            assert told["findings"].keys() == usual["findings"].keys()
            json.dumps(told)


def test_an_end_that_cannot_be_written_leaves_no_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "heartbeat.json"

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with Heartbeat(path):
        assert is_going_on(path)
        monkeypatch.setattr("trimtab.core.heartbeat.write_atomic", full)
    assert not path.exists()
    assert not is_going_on(path)
