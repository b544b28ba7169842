"""Loss spikes: which steps, and whether the loss came back."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import falling, make_events, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.loss_spikes import LossSpikes
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

BASE = falling(0.7, 0.2, 100)


def _with(spikes: dict[int, float]) -> list[float]:
    return [spikes.get(step, loss) for step, loss in enumerate(BASE, 1)]


def _norms(losses: list[float]) -> list[float]:
    """Gradient norms that jump with the loss."""
    return [1.0 + 0.1 * (step % 3) + (20.0 if loss > 0.9 else 0.0) for step, loss in enumerate(losses)]


def _found(losses: list[float], **fields: Any) -> list[Finding]:
    found = list(LossSpikes().examine(make_trace(losses, grad_norm=_norms(losses), **fields)))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_one_spike_that_is_gone_is_good_to_know() -> None:
    (found,) = _found(_with({50: 3.0}))
    assert (found.severity, found.since, found.change) == ("info", 50, {})
    assert found.evidence["steps"] == [50]
    assert found.confidence > 0.99


def test_several_are_a_warning_with_tighter_clipping() -> None:
    (found,) = _found(_with({40: 3.0, 60: 4.0, 80: 2.5}))
    assert (found.severity, found.since) == ("warning", 40)
    assert found.change == {"training.max_grad_norm": 0.5}
    assert "step 60" in found.message


def test_one_that_stays_is_a_warning() -> None:
    losses = [*BASE[:60], *[2.5] * 40]
    (found,) = _found(losses)
    assert found.severity == "warning"
    assert found.evidence["not_recovered"][0] == 61


def test_a_hard_batch_late_in_training_is_no_spike() -> None:
    # A quarter of the batch wrong: far above the level, and below what an untrained model loses.
    assert _found(_with({90: 0.65})) == []


def test_few_rows_a_step_scatter_more() -> None:
    late = [0.3] * 90
    spiky = [*late, 1.6, *[0.3] * 9]
    few, many = ([rows] * 100 for rows in (2, 64))
    assert _found(spiky, step_fields={"weight": few}) == []
    assert len(_found(spiky, step_fields={"weight": many})) == 1


def test_the_gradient_must_stand_out_where_it_is_known() -> None:
    norms = [1.0 + 0.1 * (step % 3) for step in range(100)]
    assert list(LossSpikes().examine(make_trace(_with({50: 3.0}), grad_norm=norms))) == []
    norms[49] = 30.0
    assert len(list(LossSpikes().examine(make_trace(_with({50: 3.0}), grad_norm=norms)))) == 1


def test_a_foreign_run_and_a_resumed_one() -> None:
    losses = _with({50: 3.0})
    events = make_events(losses, grad_norm=_norms(losses))
    resumed = Trace.from_events([*events[:70], *events[40:]], make_facts())
    assert [finding.since for finding in LossSpikes().examine(resumed)] == [50]
    bare = [{"type": "step", "step": step, "loss": loss} for step, loss in enumerate(_with({50: 9.0}), 1)]
    (found,) = LossSpikes().examine(Trace.from_events(bare, Facts(origin="csv")))
    assert found.evidence["losses"] == [pytest.approx(9.0)]
