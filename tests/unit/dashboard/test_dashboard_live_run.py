"""A real run, read while it is written by another process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from dashboard_runs import naive_events, naive_rows
from tiny import save_bert, write_csv

from trimtab.dashboard.answers import json_text
from trimtab.dashboard.reading.store import Store, UnknownRun


def test_a_real_run_is_followed_to_its_end(tmp_path: Path) -> None:
    data, model = write_csv(tmp_path / "t.csv", 120), save_bert(tmp_path / "bert")
    runs = tmp_path / "runs"
    words = [sys.executable, "-m", "trimtab.cli.main", "train", data, "--model", model, "--epochs", "3"]
    process = subprocess.Popen(
        list(map(str, [*words, "--output", runs / "live"])), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    store = Store(runs)
    states, steps, revision = set(), [], None
    try:
        ended = False
        while True:
            ended = process.poll() is not None
            for summary in store.scan().changed:
                json_text(summary)
                states.add(summary["state"])
            try:
                run = store.open("live")
            except UnknownRun:
                assert not ended, process.stdout.read().decode()
                time.sleep(0.05)
                continue
            change = run.since(revision if revision is not None else -1)
            if change.reload:
                found = run.series(50_000)
                steps, revision = list(found["tables"]["step"]["step"]), found["revision"]
            else:
                assert change.cut is None
                steps += change.tables.get("step", {"step": []})["step"]
                revision = change.revision
            if ended:
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    store.scan()
    detail = store.detail("live")
    store.close()
    rows = naive_rows(naive_events(runs / "live" / "events.jsonl"))
    assert steps == list(rows["step"]) and len(steps) > 5
    assert detail["summary"]["state"] == "finished"
    assert states <= {"preparing", "running", "evaluating", "finishing", "finished"}
    assert detail["summary"]["step"] == steps[-1]
    assert detail["summary"]["value"] == detail["evaluation"]["metrics"][detail["summary"]["metric"]]["value"]
    assert detail["has"]["predictions"] and detail["has"]["model"]
    assert {entry["key"]: entry["value"] for entry in detail["recipe"]}["training.num_epochs"] == 3
    assert store.rows("live").matrix()["labels"] == detail["evaluation"]["labels"]
    matrix = store.rows("live").matrix()
    assert matrix["counts"] == detail["evaluation"]["confusion"]
    assert abs(matrix["reliability"]["ece"] - detail["evaluation"]["metrics"]["ece"]["value"]) < 1e-6
