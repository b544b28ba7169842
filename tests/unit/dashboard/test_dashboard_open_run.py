"""One opened run: what the page asks of it, and what has come since."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dashboard_runs import append, evaluation_event, finding_event, make_run, start_event, step_event

from trimtab.dashboard.reading.run import csv_lines
from trimtab.dashboard.reading.store import Store, UnknownRun


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


def events_of(folder: Path) -> Path:
    return folder / "events.jsonl"


def test_increments_hold_new_rows_only(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", start_event(), *(step_event(step) for step in range(1, 6)))
    opened = store.open("run")
    revision = opened.series()["revision"]
    assert not opened.since(revision)
    append(events_of(run), step_event(6, 0.5), evaluation_event(6, 0.75), finding_event(step=6))
    append(events_of(run), {"type": "action", "action": "stage", "step": 6, "name": "top", "time": 1.7e9})
    change = opened.since(revision)
    assert change.tables["step"]["step"] == [6]
    assert change.tables["evaluation"]["series"]["validation/macro_f1"] == [0.75]
    assert "signals" not in change.tables
    assert [finding["name"] for finding in change.findings] == ["overfitting"]
    assert [action["action"] for action in change.actions] == ["stage"]
    assert (change.cut, change.reload, change.gone) == (None, False, False)
    assert not opened.since(change.revision)


def test_increment_after_a_resume_says_from_where_rows_are_void(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", *(step_event(step) for step in range(1, 9)))
    opened = store.open("run")
    revision = opened.revision()
    append(events_of(run), {"type": "action", "action": "resume", "step": 4}, step_event(5, 9.0))
    change = opened.since(revision)
    assert change.cut == 4
    assert change.tables["step"]["step"] == [5]
    assert opened.series()["tables"]["step"]["series"]["loss"] == [1.0] * 4 + [9.0]


def test_revision_of_another_server_or_a_replaced_file_asks_for_everything(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", *(step_event(step) for step in range(1, 9)))
    opened = store.open("run")
    assert opened.since(12345).reload
    revision = opened.revision()
    events_of(run).write_text("")
    append(events_of(run), step_event(1, 7.0))
    assert opened.since(revision).reload
    assert opened.series()["tables"]["step"]["series"]["loss"] == [7.0]


def test_deleted_run_is_gone_and_unknown(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", step_event(1))
    opened = store.open("run")
    shutil.rmtree(run)
    assert opened.since(opened.revision()).gone
    assert store.scan().removed == ["run"]
    with pytest.raises(UnknownRun):
        store.open("run")


@pytest.mark.parametrize("run_id", ["../run", "run/../../etc", "/etc", "", ".", "run/checkpoints", "nothing"])
def test_ids_that_no_scan_has_found_lead_nowhere(store: Store, tmp_path: Path, run_id: str) -> None:
    make_run(tmp_path / "run", step_event(1))
    with pytest.raises(UnknownRun):
        store.open(run_id)


def test_series_between_steps_and_with_few_points(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path / "run", *(step_event(step, float(step % 97)) for step in range(1, 5001)))
    opened = store.open("run")
    few = opened.series(points=200, tables=["step"])["tables"]
    assert list(few) == ["step"]
    assert few["step"]["sampled"] and len(few["step"]["step"]) <= 500
    near = opened.series(first=100, last=110)["tables"]["step"]
    assert near["step"] == list(range(100, 111))
    assert not near["sampled"]
    assert opened.series(first=9000)["tables"]["step"]["step"] == []


def test_later_finding_of_a_name_replaces_and_keeps_its_index(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", finding_event("plateau", "info"), finding_event("overfitting", "warning"))
    opened = store.open("run")
    indices = {finding["name"]: finding["index"] for finding in opened.findings()}
    append(events_of(run), finding_event("plateau", "act", change={"training.num_epochs": 3}))
    found = opened.findings()
    assert [(finding["name"], finding["severity"]) for finding in found] == [
        ("plateau", "act"),
        ("overfitting", "warning"),
    ]
    assert {finding["name"]: finding["index"] for finding in found} == indices
    assert opened.finding(indices["plateau"])["change"] == {"training.num_epochs": 3}
    assert opened.finding(77) is None


def test_diagnosis_at_the_end_replaces_what_was_told(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", finding_event("plateau"), finding_event("overfitting"))
    opened = store.open("run")
    revision, index = opened.revision(), {f["name"]: f["index"] for f in opened.findings()}["plateau"]
    series = [{"name": "loss", "steps": [1, 2], "values": [0.5, None]}]
    suspects = [{"split": "train", "row": 4, "text": "x"}]
    entry = {"message": "m", "since": 1, "evidence": {}, "remedy": "", "change": {}, "confidence": 1.0}
    findings = [
        {**entry, "name": "suspect_labels", "severity": "warning", "rows": suspects},
        {**entry, "name": "plateau", "severity": "info", "series": series},
        {**entry, "name": "leakage", "severity": "warning", "evidence": {"split": "test"}},
        {**entry, "name": "leakage", "severity": "warning", "evidence": {"split": "validation"}},
    ]
    (run / "diagnosis.json").write_text(json.dumps({"findings": findings}))
    change = opened.since(revision)
    assert [finding["name"] for finding in change.findings] == ["suspect_labels", "leakage", "leakage", "plateau"]
    detail = opened.detail()
    assert detail["suspects"] == suspects
    plateau = opened.finding(index)
    assert plateau["name"] == "plateau" and plateau["series"] == [{"name": "loss", "x": [1.0, 2.0], "y": [0.5, None]}]
    assert len({finding["index"] for finding in detail["findings"]}) == 4


def test_detail_of_a_run(store: Store, tmp_path: Path) -> None:
    stage = {"type": "action", "action": "stage", "time": 1.7e9}
    data = {"type": "finding", "step": 0, "by": "data", "name": "duplicates", "severity": "refuse", "message": "m"}
    run = make_run(
        tmp_path / "run",
        start_event(labels=["a", "b"]),
        data,
        stage | {"step": 0, "name": "head"},
        step_event(1),
        stage | {"step": 1, "name": "all"},
        step_event(2),
        {"type": "control", "step": 2, "time": 1.7e9, "id": "x", "command": "pause", "accepted": True},
        {"type": "retention", "step": 2, "summary": "kept"},
        finished=True,
    )
    detail = store.detail("run")
    assert detail["summary"]["id"] == "run"
    assert detail["start"]["labels"] == ["a", "b"]
    recipe = {entry["key"]: (entry["value"], entry["origin"]) for entry in detail["recipe"]}
    assert recipe == {
        "seed": (3, "flag"),
        "model.name": ("bert", "default"),
        "strategy": ("full", "default"),
        "strategy.rank": (1e-5, "default"),
    }
    assert detail["stages"] == [{"name": "head", "from": 0, "to": 1}, {"name": "all", "from": 1, "to": 2}]
    assert [action["action"] for action in detail["actions"]] == ["stage", "stage", "control"]
    assert [(f["name"], f["severity"], f["by"]) for f in detail["data_findings"]] == [("duplicates", "act", "data")]
    assert detail["findings"] == []
    assert detail["retention"] == {"summary": "kept"}
    assert detail["evaluation"]["primary_metric"] == "macro_f1"
    assert detail["has"] == {"predictions": False, "model": False, "images": False, "log": True}
    assert any("pause" in line for line in store.open("run").lines())
    (run / "model").mkdir()
    assert store.detail("run")["has"]["model"]


def test_memory_of_opened_runs_is_bounded(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_run(tmp_path / name, *(step_event(step) for step in range(1, 200)))
    store = Store(tmp_path, most_bytes=15_000)
    try:
        first = store.open("a")
        assert store.open("a") is first
        store.open("b")
        store.open("c")
        assert store.open("c").size > 5000
        assert list(store._open) == ["c"] or sum(run.size for run in store._open.values()) <= 15_000
        assert store.open("a") is not first
    finally:
        store.close()


def test_csv_holds_every_row(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path / "run", *(step_event(step, extras={'=a,"b"': step}) for step in range(1, 5)))
    lines = "".join(csv_lines(store.open("run").columns("step"), part_rows=3)).split("\r\n")
    assert lines[0].startswith("step,epoch,time,loss,")
    assert lines[0].endswith('"\'extras/=a,""b"""') or 'extras/=a,""b""' in lines[0]
    assert [line.split(",")[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert len(lines) == 6


def test_clock_that_goes_backwards_does_not_matter(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path / "run", start_event(time=2e9), step_event(1, time=2e9), step_event(2, time=1e9), finished=True)
    assert store.open("run").series()["tables"]["step"]["step"] == [1, 2]
    summary = store.summary("run")
    assert summary["state"] == "finished"
    assert summary["seconds"] is None
