"""Divergence: steps whose values are not finite, with their rows, and losses that rose and stay."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from monitor_traces import falling, make_events, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.divergence import MOST_ROWS, Divergence
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

HEALTHY = falling(0.7, 0.2, 40)
TABLE = pd.DataFrame(
    {"text": [f"text {i} " + "x" * 500 for i in range(20)], "label": "a", "row": range(100, 120), "source": "train.csv"}
)


def _only(trace: Trace) -> Finding:
    (finding,) = Divergence().examine(trace)
    assert isinstance(finding.message, Said)
    assert isinstance(finding.remedy, Said)
    return finding


def test_one_bad_batch_is_a_warning_with_its_rows() -> None:
    losses: list[float | None] = [*HEALTHY[:60]]
    losses += falling(0.2, 0.1, 60)
    losses[11] = None
    trace = Trace.from_events(make_events(losses), make_facts(), table=lambda split: TABLE)
    found = _only(trace)
    assert (found.severity, found.since, found.change) == ("warning", 12, {})
    assert [row["index"] for row in found.rows] == [1, 2, 3]
    assert found.rows[0]["row"] == 101
    assert found.rows[0]["split"] == "train"
    assert found.rows[0]["source"] == "train.csv"
    assert found.rows[0]["text"].startswith("text 1 ")
    assert len(found.rows[0]["text"]) == 120
    assert "step 12" in found.message
    assert found.to_dict()["rows"][0]["row"] == 101


def test_two_in_a_row_call_for_action_and_a_lower_rate() -> None:
    losses: list[float | None] = [*falling(0.7, 0.2, 300)]
    losses[100] = losses[101] = None
    found = _only(make_trace(losses))
    assert (found.severity, found.since) == ("act", 101)
    assert found.change == {"optimizer.learning_rate": pytest.approx(1e-5)}
    assert found.rows[0] == {"split": "train", "index": 1, "step": 101}


def test_in_bf16_the_remedy_is_the_precision() -> None:
    trace = make_trace([0.7, None, None], facts=make_facts(recipe={"training.precision": "bf16"}))
    assert _only(trace).change == {"training.precision": "fp32"}


def test_rows_of_several_bad_batches_come_first_and_are_few() -> None:
    events = make_events([0.7, None, 0.6, None])
    events[1]["rows"], events[3]["rows"] = list(range(8)), [50, 7, *range(60, 66)]
    rows = _only(Trace.from_events(events, make_facts())).rows
    assert rows[0]["index"] == 7
    assert len(rows) == MOST_ROWS


def test_a_skipped_step_that_was_taken_again_after_a_resume_is_forgotten() -> None:
    events = make_events([0.7, 0.69, None, 0.68])
    assert list(Divergence().examine(Trace.from_events([*events, *make_events([0.7, 0.69, 0.68, 0.67])]))) == []


def test_a_loss_that_rose_far_and_stays() -> None:
    losses = [*falling(0.7, 0.5, 20, noise=0.01), *falling(2.0, 2.0, 20, noise=0.2)]
    found = _only(make_trace(losses, facts=make_facts(total_steps=40)))
    assert found.severity == "act"
    assert 20 < found.since <= 26
    assert found.change == {"optimizer.learning_rate": pytest.approx(1e-5)}
    assert found.confidence > 0.99


def test_a_run_that_loses_what_it_had_learnt() -> None:
    losses = [*falling(0.7, 0.2, 60, noise=0.03), *falling(0.7, 0.7, 30, noise=0.02)]
    found = _only(make_trace(losses, facts=make_facts(total_steps=90)))
    assert 60 < found.since <= 66
    assert found.evidence["lowest_loss"] < 0.3


def test_a_spike_that_is_gone_is_none() -> None:
    losses = [*HEALTHY, 5.0, 4.0, 2.0, *falling(0.25, 0.2, 20)]
    assert list(Divergence().examine(make_trace(losses))) == []


@pytest.mark.parametrize(
    ("losses", "norms"),
    [([0.7, 0.6, 0.5, math.nan, math.nan, math.nan], 1.0),
     ([0.7, 0.6, 0.5, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, None, None, None])],
)  # fmt: skip
def test_foreign_runs_that_went_on_with_broken_weights(losses: list[float], norms: float | list[float | None]) -> None:
    found = _only(make_trace(losses, grad_norm=norms, facts=Facts(origin="trainer_state")))
    assert (found.severity, found.since) == ("act", 4)
    assert found.change == {}
    assert "1e-05" in found.remedy


def test_a_validation_loss_that_is_nan_at_the_end() -> None:
    assert _only(make_trace(falling(0.7, 0.3, 20), [0.6, math.nan])).since == 20
    assert list(Divergence().examine(make_trace(falling(0.7, 0.3, 20), [math.nan, 0.6]))) == []


def test_a_foreign_run_that_was_never_finite_is_told_from_its_first_step() -> None:
    record = Trace.from_events([{"type": "step", "step": step, "loss": float("nan")} for step in (1, 2, 3)])
    (finding,) = Divergence().examine(record)
    assert (finding.severity, finding.since) == ("act", 1)
