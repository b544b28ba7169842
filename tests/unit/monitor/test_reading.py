"""Opening records: runs of ours in every state, and telling other records by their content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monitor_traces import make_events

from trimtab.config.load import build_recipe
from trimtab.config.origins import write_recipe
from trimtab.core.errors import RunError
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.coverage import PARTS, not_examined
from trimtab.monitor.diagnose import all_conditions, diagnose
from trimtab.monitor.reading import open_trace, recipe_values
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace

START = {"type": "start", "step": 0, "total_steps": 40, "metric": "macro_f1", "labels": ["a", "b"], "batch_size": 16}


def write_run(path: Path, events: list[dict[str, Any]], *, value: float | None = None, **settings: Any) -> Path:
    """A run directory as far as the reader looks at it; finished with the main figure `value`."""
    path.mkdir(parents=True)
    resolved = build_recipe(overrides={"model.name": "starter", "data.path": "t.csv", **settings})
    write_recipe(path / "recipe.yaml", resolved)
    (path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (path / "environment.json").write_text(json.dumps({"data": {"fingerprint": {"train": "abc"}}}))
    if value is not None:
        final = {"primary_metric": "macro_f1", "metrics": {"macro_f1": {"value": value, "low": 0.1, "high": 0.9}}}
        (path / "evaluation.json").write_text(json.dumps(final))
    return path


def test_a_finished_run(tmp_path: Path) -> None:
    events = [START, *make_events([0.9] * 20, [0.8, 0.7]), {"type": "end", "step": 20, "value": 0.8}]
    run = write_run(tmp_path / "run", events, value=0.8, **{"optimizer.learning_rate": 3e-4})
    (run / "data").mkdir()
    pd.DataFrame({"text": ["x"], "label": ["a"], "row": [1], "source": ["t.csv"]}).to_parquet(
        run / "data/train.parquet"
    )
    record = RowRecord.empty(2, np.array([0, 1, 1]))
    (run / "monitor").mkdir()
    record.save(run / "monitor" / "rows.npz")

    trace = open_trace(run)

    assert trace.facts.origin == "trimtab"
    assert (trace.facts.total_steps, trace.facts.labels, trace.facts.batch_size) == (40, ("a", "b"), 16)
    assert trace.facts.recipe["optimizer.learning_rate"] == 3e-4
    assert trace.last_step == 20 and len(trace.evaluations) == 2
    assert trace.end["value"] == 0.8 and trace.final["primary_metric"] == "macro_f1"
    assert trace.rows is not None and trace.rows.labels.tolist() == [0, 1, 1]
    train = trace.table("train")
    assert train is not None and train["text"].tolist() == ["x"]
    assert trace.table("train") is train and trace.table("test") is None
    assert open_trace(run / "events.jsonl").last_step == 20


def test_the_recipe_is_read_as_the_run_has_it(tmp_path: Path) -> None:
    resolved = build_recipe(overrides={"strategy": "partial", "training.batch_size": 7})
    write_recipe(tmp_path / "recipe.yaml", resolved)
    values = recipe_values(tmp_path / "recipe.yaml")
    assert values == resolved.values()
    assert values["strategy"] == "partial" and "strategy.name" not in values


def test_a_run_that_goes_on_has_a_torn_last_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [START, *make_events([0.9] * 5)])
    with open(run / "events.jsonl", "a") as file:
        file.write('{"type": "step", "step": 6, "lo')
    trace = open_trace(run)
    assert trace.last_step == 5
    assert (trace.end, trace.final, trace.rows) == ({}, {}, None)
    assert trace.progress == pytest.approx(5 / 40)


def test_a_run_before_its_first_event_and_one_without_a_recipe(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    assert open_trace(run).last_step == 0
    (run / "events.jsonl").unlink()
    assert open_trace(run).last_step == 0
    other = write_run(tmp_path / "other", make_events([0.5]))
    (other / "recipe.yaml").unlink()
    assert open_trace(other).last_step == 1


def test_a_resumed_run_has_the_facts_of_its_newest_start(tmp_path: Path) -> None:
    steps = make_events([0.9] * 6)
    events = [START, *steps, {**START, "total_steps": 60, "resumed": True}, *make_events([0.5] * 4)[2:]]
    trace = open_trace(write_run(tmp_path / "run", events))
    assert trace.facts.total_steps == 60
    assert list(trace.column("loss")) == [0.9, 0.9, 0.5, 0.5]


def test_a_run_of_an_older_version(tmp_path: Path) -> None:
    start = {"type": "start", "step": 0, "total_steps": 30, "num_epochs": 3, "metric": "auto", "model": "starter"}
    evaluation = {"type": "evaluation", "step": 10, "split": "validation", "metric": "accuracy", "metrics": {"loss": 1}}
    run = write_run(tmp_path / "run", [start, evaluation], **{"training.batch_size": 8, "training.max_grad_norm": 2.0})
    facts = open_trace(run).facts
    assert (facts.metric, facts.higher_is_better) == ("accuracy", True)
    assert (facts.batch_size, facts.max_grad_norm, facts.steps_per_epoch) == (8, 2.0, 10)


def test_siblings_differ_in_the_seed_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", [START], value=0.5, seed=1)
    write_run(tmp_path / "two", [START], value=0.6, seed=2, output="two")
    write_run(tmp_path / "three", [START], value=0.7, seed=3)
    write_run(tmp_path / "four", [START], seed=4)  # not finished
    write_run(tmp_path / "five", [START], value=0.9, seed=5, **{"training.batch_size": 3})
    other = write_run(tmp_path / "six", [START], value=0.95, seed=6)
    (other / "environment.json").write_text(json.dumps({"data": {"fingerprint": {"train": "other"}}}))
    assert sorted(open_trace(run).facts.siblings) == [0.6, 0.7]
    assert open_trace(tmp_path / "five").facts.siblings == ()


def test_records_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    state = {"log_history": [{"step": 1, "loss": 0.5}]}
    (tmp_path / "a.txt").write_text(json.dumps(state))
    assert open_trace(tmp_path / "a.txt").facts.origin == "trainer_state"
    (tmp_path / "b.json").write_text("step,loss\n1,0.5\n")
    assert open_trace(tmp_path / "b.json").facts.origin == "csv"
    (tmp_path / "c.log").write_text("".join(json.dumps(event) + "\n" for event in [START, *make_events([0.5])]))
    assert open_trace(tmp_path / "c.log").facts.total_steps == 40


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is nothing at"):
        open_trace(tmp_path / "missing")
    with pytest.raises(RunError, match="holds no record of a run") as caught:
        open_trace(tmp_path)
    assert "trainer_state.json" in caught.value.remedy
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("step,loss\n1,0.5\n")
    with pytest.raises(RunError, match=r"holds 2 records: a\.csv, b\.csv"):
        open_trace(tmp_path)


def test_reading_a_table_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("step,loss\n1,0.5\n")
    code = (
        "import sys\nfrom pathlib import Path\nfrom trimtab.monitor.reading import open_trace\n"
        "from trimtab.monitor.diagnose import diagnose\n"
        f"diagnose(open_trace(Path({str(tmp_path / 'a.csv')!r})))\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Named(Condition):
    """A condition that looks at nothing."""

    title = rule = source = "none"

    def __init__(self, name: str, *needs: str) -> None:
        self.name = name  # type: ignore[misc]
        self.needs = needs  # type: ignore[misc]

    def examine(self, trace: Trace) -> list[Any]:
        return []


def test_what_could_not_be_looked_for_is_said_with_what_lacks() -> None:
    conditions: list[Condition] = [
        Named("overfitting", "evaluations"),
        Named("suspect_labels", "rows"),
        Named("learning_rate_too_low", "steps", "blocks"),
        Named("of_a_plugin"),
    ]
    losses = Trace.from_events(make_events([0.9] * 10, [0.8]))
    assert not_examined(losses, conditions) == {
        "learning_rate_too_low": "no update ratios and gradient norms by depth",
        "suspect_labels": "no outcomes of single training rows",
    }
    nothing = not_examined(Trace(), conditions)
    assert nothing["overfitting"] == "no validation losses"
    assert nothing["learning_rate_too_low"] == "no training losses, no update ratios and gradient norms by depth"
    losses.add({"type": "signals", "step": 1, "blocks": {"head": {"update_ratio": 1e-3}}})
    assert "learning_rate_too_low" not in not_examined(losses, conditions)


def test_the_needs_of_every_condition_are_known() -> None:
    for condition in all_conditions():
        assert set(condition.needs) <= set(PARTS), condition.name


def test_a_condition_that_could_not_be_looked_for_is_not_found() -> None:
    """Over a record of losses alone, nothing fires of which we say that it cannot be looked for."""
    trace = Trace.from_events(make_events([1.0 - step / 40 for step in range(20)] + [None] * 20, [0.9, 0.8, 1.5, 2.5]))
    missing = not_examined(trace, all_conditions())
    assert not {finding.name for finding in diagnose(trace)} & set(missing)
