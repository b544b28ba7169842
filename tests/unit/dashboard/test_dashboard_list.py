"""The list of runs: where they are found, their states, and summaries that do not read whole files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from dashboard_runs import append, evaluation_event, finding_event, make_run, start_event, step_event

from trimtab.dashboard.reading import glance
from trimtab.dashboard.reading.glance import Glancer
from trimtab.dashboard.reading.liveness import Freshness
from trimtab.dashboard.reading.places import find_places
from trimtab.dashboard.reading.store import Store


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


def write_heartbeat(run: Path, state: str = "running", **fields) -> None:
    process = psutil.Process()
    beat = {"format": 1, "pid": process.pid, "pid_started": process.create_time(), "host": socket.gethostname()}
    beat |= {"time": 1.0, "state": state, "step": 2, "findings": {"info": 0, "warning": 0, "act": 0}, "error": None}
    (run / "heartbeat.json").write_text(json.dumps(beat | fields))


def make_old(path: Path) -> None:
    os.utime(path, (1e9, 1e9))


def test_summary_of_a_finished_run(store: Store, tmp_path: Path) -> None:
    steps = [step_event(step, 1 / step) for step in range(1, 31)]
    run = make_run(tmp_path / "runs" / "one", start_event(), *steps, evaluation_event(30), finished=True)
    entry = {"name": "plateau", "severity": "act", "message": "It stands.", "confidence": 0.5}
    (run / "diagnosis.json").write_text(json.dumps({"findings": [entry, {**entry, "name": "b", "severity": "info"}]}))
    (summary,) = store.scan().changed
    assert summary["id"] == "runs/one"
    expected = {
        "name": "one",
        "state": "finished",
        "model": "bert",
        "data": "t.csv",
        "task": "text-classification",
        "strategy": "full",
        "metric": "macro_f1",
        "higher_is_better": True,
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "split": "test",
        "step": 30,
        "total_steps": 100,
        "num_epochs": 3.0,
        "findings": {"info": 1, "warning": 0, "act": 1},
        "worst": {"name": "plateau", "severity": "act", "message": "It stands.", "said": {}},
        "foreign": None,
        "error": None,
        "values": {"seed": 3, "model.name": "bert", "strategy": "full", "strategy.rank": 1e-5},
        "started": 1.7e9,
        "seconds": 30.0,
    }
    assert {key: summary[key] for key in expected} == expected
    points = summary["curve"]["points"]
    assert points[-1][0] == 30 and points == sorted(points)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_states_by_heartbeat(store: Store, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    cases = {
        "running": {},
        "paused": {"state": "paused"},
        "finishing": {"state": "finishing"},
        "stopped": {"state": "stopped", "pid": int(gone.stdout)},
        "failed": {"state": "failed", "error": {"message": "Full disk.", "remedy": "Free some."}},
        "crashed": {"pid": int(gone.stdout)},
        "another process of that number": {"pid_started": 1.0},
        "no process": {"pid": 2**40},
        "on another host": {"host": "elsewhere", "pid": 1},
    }
    for name, fields in cases.items():
        write_heartbeat(make_run(tmp_path / name, start_event(), step_event(1)), **fields)
    states = {summary["name"]: summary["state"] for summary in store.scan().changed}
    assert states == {
        **{name: name for name in ("running", "paused", "finishing", "stopped", "failed", "crashed")},
        "another process of that number": "crashed",
        "no process": "crashed",
        "on another host": "running",
    }
    assert store.summary("failed")["error"] == {"message": "Full disk.", "remedy": "Free some."}
    make_old(tmp_path / "on another host" / "heartbeat.json")
    assert Store(tmp_path).summary("on another host")["state"] == "crashed"


def test_states_of_runs_without_a_heartbeat(store: Store, tmp_path: Path) -> None:
    interrupted = {"type": "action", "action": "interrupted", "step": 1, "time": 1.7e9, "signal": "SIGINT"}
    make_run(tmp_path / "stopped", step_event(1), interrupted)
    make_run(tmp_path / "going", step_event(1))
    make_old(make_run(tmp_path / "crashed", step_event(1)) / "events.jsonl")
    make_run(tmp_path / "finished", step_event(1), finished=True)
    states = {summary["name"]: summary["state"] for summary in store.scan().changed}
    assert states == {"stopped": "stopped", "going": "running", "crashed": "crashed", "finished": "finished"}


def test_a_process_that_dies_changes_the_state_though_no_file_does(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", start_event(), step_event(1))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_heartbeat(run, pid=process.pid, pid_started=psutil.Process(process.pid).create_time())
    assert store.scan().changed[0]["state"] == "running"
    process.kill()
    process.communicate()
    assert [summary["state"] for summary in store.scan().changed] == ["crashed"]
    assert store.scan().changed == []


def test_freshness_goes_by_our_own_clock(tmp_path: Path) -> None:
    now, wall = [0.0], [1e9]
    fresh = Freshness(lambda: now[0], lambda: wall[0])
    path = tmp_path / "x"
    from_the_future = (1, 1, int(5e9 * 1e9))
    assert fresh.is_fresh(path, from_the_future)
    now[0] = 61.0
    assert not fresh.is_fresh(path, from_the_future)
    wall[0] = 5.0  # the clock was set back
    assert not fresh.is_fresh(path, from_the_future)
    assert fresh.is_fresh(path, (1, 2, 0))
    assert not fresh.is_fresh(path, None)


def test_values_of_a_running_run_come_from_heartbeat_and_events(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", start_event(), step_event(1), finding_event("plateau", "warning"))
    counts = {"info": 1, "warning": 2, "act": 0}
    write_heartbeat(run, metric="macro_f1", value=0.625, step=9, seconds_left=12.5, findings=counts)
    (summary,) = store.scan().changed
    assert (summary["value"], summary["split"], summary["low"]) == (0.625, "validation", None)
    assert (summary["step"], summary["seconds_left"], summary["findings"]) == (9, 12.5, counts)
    assert summary["worst"]["name"] == "plateau"
    append(run / "events.jsonl", step_event(10, 0.25))
    assert store.scan().changed[0]["loss"] == 0.25


def test_places_are_found_to_a_depth_and_not_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for name in ("a", "deep/x/b", "deep/x/y/too-deep", ".hidden", "a/checkpoints/c", "a/inner", "checkpoint-12"):
        make_run(folder / name, step_event(1))
    outside = make_run(tmp_path / "outside", step_event(1))
    (folder / "link").symlink_to(outside, target_is_directory=True)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "empty").mkdir()
    (folder / "recipes").mkdir()
    (folder / "recipes" / "recipe.yaml").write_text("seed: 1\n")
    assert set(find_places(folder)) == {"a", "deep/x/b"}
    assert find_places(tmp_path / "nothing") == {}


def test_the_folder_itself_may_be_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", step_event(1))
    assert {run_id: place.path for run_id, place in find_places(run).items()} == {"./run": run.resolve()}


def test_what_a_run_wrote_for_other_programs_is_no_run_of_its_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", step_event(1))
    for name in ("tensorboard/events.out.tfevents.1.host", "csv/metrics.csv", "events.out.tfevents.2.host"):
        path = run / "tracking" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert set(find_places(tmp_path)) == {"run"}
    assert set(find_places(run)) == {"./run"}


def test_foreign_runs_are_known_by_their_files(tmp_path: Path) -> None:
    for name in ("hf/checkpoint-9", "hf/checkpoint-10", "keras/train", "keras/validation", "board", "light"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("hf/checkpoint-9/trainer_state.json", "hf/checkpoint-10/trainer_state.json", "light/metrics.csv"):
        (tmp_path / name).write_text("{}")
    for name in ("keras/train", "keras/validation", "board"):
        (tmp_path / name / "events.out.tfevents.1.host").write_text("")
    make_run(tmp_path / "callback" / "trimtab_doctor", step_event(1))
    places = find_places(tmp_path)
    assert {run_id: place.foreign for run_id, place in places.items()} == {
        "hf": "transformers",
        "keras": "tensorboard",
        "board": "tensorboard",
        "light": "csv",
        "callback": "callback",
    }
    assert places["hf"].source == tmp_path.resolve() / "hf/checkpoint-10/trainer_state.json"


def test_record_of_a_callback_is_read_as_it_is(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path / "out" / "trimtab_doctor", start_event(origin="trainer"), step_event(1), finding_event())
    (summary,) = store.scan().changed
    assert (summary["id"], summary["state"], summary["foreign"]) == ("out", "foreign", "callback")
    assert summary["findings"]["warning"] == 1
    assert store.open("out").series()["tables"]["step"]["step"] == [1]


def test_scan_tells_what_is_new_changed_and_gone(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", step_event(1))
    other = make_run(tmp_path / "two", step_event(1))
    assert {summary["id"] for summary in store.scan().changed} == {"one", "two"}
    assert store.scan().changed == []
    append(run / "events.jsonl", step_event(2))
    assert [summary["id"] for summary in store.scan().changed] == ["one"]
    other.rename(tmp_path / "three")
    changes = store.scan()
    assert ([summary["id"] for summary in changes.changed], changes.removed) == (["three"], ["two"])
    assert len(store.summaries()) == 2


def test_long_record_is_only_glanced_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    append(
        path, start_event(), *(step_event(step, 1000 - step) for step in range(1, 8001)), evaluation_event(8000, 0.25)
    )
    append(path, *(step_event(step, 1000 - step) for step in range(8001, 9001)))
    read = []
    original = glance._read_at

    def counted(file, offset, length):
        data = original(file, offset, length)
        read.append(len(data))
        return data

    monkeypatch.setattr(glance, "_read_at", counted)
    monkeypatch.setattr(glance, "FAR_TAIL_BYTES", 1 << 19)
    glancer = Glancer(path)
    seen = glancer.look()
    assert sum(read) < 0.6 * path.stat().st_size
    assert seen.start["model"] == "bert"
    assert seen.last_step["step"] == 9000
    assert seen.evaluation["metrics"]["macro_f1"] == 0.25
    steps, losses = zip(*glancer.curve, strict=True)
    assert 25 <= len(steps) <= glance.MOST_POINTS
    assert list(steps) == sorted(set(steps))
    assert all(abs(1000 - step - loss) < 10 for step, loss in zip(steps, losses, strict=True))
    assert steps[-1] == 9000 and max(np.diff(steps)) < 500
    read.clear()
    append(path, step_event(9001, 5.0))
    assert glancer.look().last_step["step"] == 9001
    assert sum(read) < 40_000, "what was read before is not read again"


def test_curve_of_a_resumed_run_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, *(step_event(step, 1.0) for step in range(1, 200)))
    append(path, {"type": "action", "action": "resume", "step": 50, "time": 1.0})
    append(path, *(step_event(step, 3.0) for step in range(51, 120)))
    glancer = Glancer(path)
    glancer.look()
    assert all(loss == (1.0 if step <= 50 else 3.0) for step, loss in glancer.curve)
    assert [step for step, _ in glancer.curve][-1] == 119


def test_runs_of_an_older_version_are_read(store: Store, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "recipe.yaml").write_text("seed: 1\nstrategy: {name: lora}\n")
    (bare / "environment.json").write_text("{}")
    only = tmp_path / "only-events"
    only.mkdir()
    append(only / "events.jsonl", {"type": "step", "step": 1, "loss": 0.5}, {"type": "end", "step": 1})
    summaries = {summary["id"]: summary for summary in store.scan().changed}
    assert summaries["bare"]["strategy"] == "lora"
    assert summaries["bare"]["step"] == 0
    assert summaries["only-events"]["loss"] == 0.5
    assert store.detail("bare")["recipe"][0] == {"key": "seed", "value": 1, "origin": "default"}
    assert store.detail("only-events")["recipe"] == []


def test_names_that_are_no_utf8_have_an_id_that_can_be_sent(store: Store, tmp_path: Path) -> None:
    try:
        make_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff<b>")), step_event(1))
    except OSError:
        pytest.skip("this file system takes no such name")
    (summary,) = store.scan().changed
    assert summary["id"].encode("utf-8").decode() == "r�<b>"
    assert store.open(summary["id"]).series()["tables"]["step"]["step"] == [1]
