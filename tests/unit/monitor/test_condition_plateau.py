"""Plateau: nothing moves while the rate is high."""

from __future__ import annotations

from typing import Any

import numpy as np
from monitor_traces import falling, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.plateau import Plateau
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

FLAT = [0.7, 0.5, *(0.4 + 0.001 * np.random.default_rng(0).standard_normal(8))]
SCORES = [0.5, 0.6, *[0.7] * 8]


def _trace(held_in: list[float], *, scores: list[float] = SCORES, rate: Any = 1e-4, **facts: Any) -> Trace:
    known = {"total_steps": 200, "recipe": {"schedule.name": "constant", "optimizer.name": "adamw"}, **facts}
    train = [loss for loss in held_in for _ in range(10)]
    return make_trace(train, held_in, held_in=held_in, metrics={"macro_f1": scores}, rate=rate,
                      facts=make_facts(**known))  # fmt: skip


def _found(trace: Trace) -> list[Finding]:
    found = list(Plateau().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_a_constant_rate_should_fall() -> None:
    (found,) = _found(_trace(FLAT))
    assert (found.severity, found.since) == ("warning", 30)
    assert found.change == {"schedule.name": "cosine"}
    assert found.confidence > 0.9


def test_with_a_falling_schedule_stopping_is_the_remedy() -> None:
    (found,) = _found(_trace(FLAT, recipe={"schedule.name": "linear"}))
    assert found.change == {"regularization.early_stopping_patience": 4}


def test_hardly_any_loss_left_is_good_to_know() -> None:
    (found,) = _found(_trace([0.7, 0.2, *[0.02] * 8]))
    assert found.severity == "info"
    assert "early_stopping_patience" in next(iter(found.change))


def test_what_still_moves_is_none() -> None:
    assert _found(_trace(falling(0.7, 0.2, 10, noise=0.005))) == []
    assert _found(_trace(FLAT, scores=[0.5 + 0.03 * index for index in range(10)])) == []


def test_noise_wider_than_the_band_is_not_known_to_be_flat() -> None:
    assert _found(_trace([0.7, 0.5, *(0.4 + 0.1 * np.random.default_rng(3).standard_normal(8))])) == []


def test_at_a_low_rate_or_at_the_end_the_run_settles() -> None:
    assert _found(_trace(FLAT, rate=[1e-4] * 50 + [1e-5] * 50)) == []
    assert _found(_trace(FLAT, total_steps=100)) == []


def test_five_evaluations_are_needed() -> None:
    assert _found(_trace([0.7, 0.4, 0.4, 0.4, 0.4], scores=[0.5, 0.7, 0.7, 0.7, 0.7], total_steps=60)) == []


def test_a_foreign_run_is_judged_by_its_validation_loss() -> None:
    trace = make_trace([0.5] * 100, FLAT, facts=make_facts(origin="csv", total_steps=200, recipe={}))
    (found,) = _found(trace)
    assert found.change == {}
    assert "validation rows" in found.message
