"""Batch too small: the gradient noise scale, and losses that no longer fall."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from monitor_traces import falling, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.small_batch import SmallBatch, noise_scale
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

STANDING = falling(0.6, 0.6, 60, noise=0.05)


def _trace(losses: list[float], scale: float, *, wobble: float = 0.1, rows: int = 8, **facts: Any) -> Trace:
    known = make_facts(total_steps=60, batch_size=rows, **facts)
    trace = make_trace(losses, facts=known, step_fields={"weight": [rows] * len(losses)})
    draw = np.random.default_rng(0)
    for step in range(1, len(losses) + 1, 3):
        squared = 1.0 + wobble * float(draw.standard_normal())
        noise = {"variance": scale, "squared_norm": squared, "rows": rows}
        trace.add({"type": "signals", "step": step, "blocks": {}, "noise": noise})
    return trace


def _found(trace: Trace) -> list[Finding]:
    found = list(SmallBatch().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_noise_that_holds_the_loss_up_is_a_warning() -> None:
    (found,) = _found(_trace(STANDING, 640.0))
    assert found.severity == "warning"
    assert found.change == {"training.gradient_accumulation_steps": 16}
    assert found.evidence["noise_scale"] == pytest.approx(640, rel=0.1)
    assert "head" in found.message


def test_accumulation_that_is_there_is_multiplied() -> None:
    (found,) = _found(_trace(STANDING, 640.0, recipe={"training.gradient_accumulation_steps": 2}))
    assert found.change == {"training.gradient_accumulation_steps": 32}


def test_a_loss_that_falls_all_the_same_makes_it_good_to_know() -> None:
    (found,) = _found(_trace([float(value) for value in np.linspace(0.7, 0.3, 60)], 640.0))
    assert found.severity == "info"


def test_a_small_scale_and_one_that_is_not_known_are_silent() -> None:
    assert _found(_trace(STANDING, 40.0)) == []
    assert _found(_trace(STANDING, 640.0, wobble=50.0)) == []
    assert _found(make_trace(STANDING)) == []


def test_so_few_rows_that_only_the_losses_speak() -> None:
    draw = np.random.default_rng(2)
    jumps = [0.7, *(float(value) for value in np.abs(0.6 + 0.5 * draw.standard_normal(59)))]
    (found,) = _found(make_trace(jumps, step_fields={"weight": [1] * 60}, facts=make_facts(batch_size=1)))
    assert found.severity == "warning"
    assert found.change == {"training.gradient_accumulation_steps": 16}
    assert math.isnan(found.evidence["noise_scale"])
    assert _found(make_trace(jumps, step_fields={"weight": [32] * 60})) == []


def test_a_mean_square_below_zero_leaves_the_scale_unknown() -> None:
    trace = Trace()
    for step in range(1, 21):
        trace.add({"type": "signals", "step": step, "noise": {"variance": 5.0, "squared_norm": -1.0 + step % 2}})
    scale, _ = noise_scale(trace)
    assert math.isnan(scale)
