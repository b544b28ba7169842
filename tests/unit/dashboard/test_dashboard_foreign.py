"""Runs of other programs, made into events by the command in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import trimtab
from dashboard_runs import append, evaluation_event, finding_event, make_run, start_event, step_event

from trimtab.core.events import read_events
from trimtab.dashboard.reading.foreign import ForeignReader
from trimtab.dashboard.reading.places import find_places
from trimtab.dashboard.reading.store import Store
from trimtab.monitor.foreign.trainer_state import read_state
from trimtab.monitor.replay import events_of_trace
from trimtab.monitor.trace import STEP_COLUMNS, Trace

# Stands in for `trimtab diagnose`: a word about each call, then a record, or a failure as the command tells it.
STAND_IN = """
import json, pathlib, sys
source = pathlib.Path(sys.argv[1])
with open(source.parent / "calls", "a") as file: file.write("x")
content = source.read_text()
if content == "bad":
    print(json.dumps({"error": {"message": "It is no record.", "remedy": "Name another."}}))
    sys.exit(2)
if content == "killed":
    print("boom", file=sys.stderr)
    sys.exit(1)
print(json.dumps({"type": "start", "step": 0, "metric": "accuracy"}))
for step in range(1, int(content) + 1):
    print(json.dumps({"type": "step", "step": step, "loss": step / 2}))
"""


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert what()


@pytest.fixture
def reader():
    opened = ForeignReader((sys.executable, "-c", STAND_IN), least_rest=0.0)
    yield opened
    opened.close()


def make_foreign(folder: Path, content: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text(content)
    return folder


def test_record_is_read_once_and_again_when_it_changes(reader: ForeignReader, tmp_path: Path) -> None:
    run = make_foreign(tmp_path / "hf", "3")
    store = Store(tmp_path, reader)
    assert store.open("hf").series()["tables"]["step"]["series"]["loss"] == [0.5, 1.0, 1.5]
    store.open("hf")
    store.scan()
    assert calls(run) == 1
    make_foreign(run, "25")
    wait_for(lambda: store.scan() is not None and store.summary("hf")["step"] == 25)
    revision = store.open("hf").revision()
    assert store.open("hf").series()["tables"]["step"]["step"][-1] == 25
    assert store.open("hf").since(revision).reload is False
    assert (store.summary("hf")["state"], store.summary("hf")["foreign"]) == ("foreign", "transformers")
    assert sorted(path.name for path in run.iterdir()) == ["calls", "trainer_state.json"], "nothing is written there"


@pytest.mark.parametrize("content, message", [("bad", "It is no record."), ("killed", "boom")])
def test_failure_is_told_as_the_run_s_error(reader: ForeignReader, tmp_path: Path, content: str, message: str) -> None:
    make_foreign(tmp_path / "hf", content)
    detail = Store(tmp_path, reader).detail("hf")
    assert message in detail["summary"]["error"]["message"]
    assert detail["summary"]["error"]["remedy"]
    assert detail["findings"] == []


def test_the_list_does_not_wait_for_foreign_records(reader: ForeignReader, tmp_path: Path) -> None:
    make_foreign(tmp_path / "hf", "4")
    store = Store(tmp_path, reader)
    assert [summary["foreign"] for summary in store.scan().changed] == ["transformers"]
    wait_for(lambda: store.summary("hf")["loss"] == 2.0)
    written = (tmp_path / "hf" / "trainer_state.json").stat().st_mtime
    assert store.summary("hf")["updated"] == pytest.approx(written, rel=0, abs=1e-3)


def test_reading_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    reader = ForeignReader((sys.executable, "-c", "import time; time.sleep(600)"), seconds=0.3)
    make_foreign(tmp_path / "hf", "4")
    try:
        assert "took more than" in Store(tmp_path, reader).detail("hf")["summary"]["error"]["message"]
    finally:
        reader.close()


def test_closing_ends_what_is_read_and_removes_what_was_kept(tmp_path: Path) -> None:
    reader = ForeignReader((sys.executable, "-c", "import time; time.sleep(600)"))
    make_foreign(tmp_path / "hf", "4")
    place = find_places(tmp_path)["hf"]
    reader.request(place)
    wait_for(lambda: reader._running is not None)
    reader.close()
    assert reader._running is None
    assert not reader.converted(place).record.parent.exists()


def test_a_real_record_of_transformers(tmp_path: Path) -> None:
    history = [{"step": step, "epoch": step / 10, "loss": 2 / step, "learning_rate": 1e-4} for step in range(1, 21)]
    history += [{"step": 20, "epoch": 2.0, "eval_loss": 0.5, "eval_accuracy": 0.75}]
    state = {"log_history": history, "max_steps": 20, "num_train_epochs": 2, "global_step": 20, "epoch": 2.0}
    make_foreign(tmp_path / "hf", json.dumps(state))
    store = Store(tmp_path)
    try:
        tables = store.open("hf").series()["tables"]
        assert tables["step"]["series"]["loss"] == [pytest.approx(2 / step, rel=1e-6) for step in range(1, 21)]
        assert tables["evaluation"]["series"]["validation/accuracy"] == [0.75]
        summary = store.summary("hf")
        assert (summary["metric"], summary["value"], summary["total_steps"]) == ("accuracy", 0.75, 20)
    finally:
        store.close()


def test_events_of_a_trace_give_the_same_trace(tmp_path: Path) -> None:
    skipped = step_event(3, None, skipped="loss", rows=[1, 2])
    signals = {"type": "signals", "step": 2, "blocks": {"head": {"grad_norm": 1.0}}, "memory_mib": 5}
    inspection = {"type": "inspection", "step": 2, "drift": {"head": 0.5}}
    events = [step_event(1), signals, step_event(2, 0.5), inspection, evaluation_event(2, best=True), skipped]
    trace = Trace.from_events(events)
    again = Trace.from_events(json.loads(json.dumps(list(events_of_trace(trace)), default=float)))
    for name in (*STEP_COLUMNS, "learning_rate"):
        assert str(again.column(name)) == str(trace.column(name))
    assert (again.evaluations, again.signals, again.inspections) == (
        trace.evaluations,
        trace.signals,
        trace.inspections,
    )
    assert again.skipped == trace.skipped


def test_command_prints_the_record_as_events(tmp_path: Path) -> None:
    history = [{"step": step, "loss": 5.0 if step > 5 else 1.0 / step} for step in range(1, 31)]
    history += [{"step": step, "eval_loss": step / 10} for step in (10, 20, 30)]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history}))
    outcome = trimtab("diagnose", path, "--events")
    (tmp_path / "events.jsonl").write_text(outcome.out)
    events = list(read_events(tmp_path / "events.jsonl"))
    assert len(events) == len(outcome.out.splitlines())
    kinds = [event["type"] for event in events]
    assert kinds[0] == "start" and kinds.count("step") == 30 and kinds.count("evaluation") == 3
    assert Trace.from_events(events).column("loss").tolist() == read_state(path).column("loss").tolist()
    found = [event for event in events if event["type"] == "finding"]
    assert found == events[-len(found) :]
    diagnosed = json.loads(trimtab("diagnose", path, "--json").out)["findings"]
    assert [{k: v for k, v in event.items() if k in diagnosed[0]} for event in found] == diagnosed != []


def test_runs_of_ours_can_be_printed_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", start_event(), step_event(1), evaluation_event(1), finding_event())
    append(run / "events.jsonl", step_event(2))
    lines = trimtab("diagnose", run, "--events").out.splitlines()
    assert [json.loads(line)["type"] for line in lines[:4]] == ["start", "step", "evaluation", "step"]
