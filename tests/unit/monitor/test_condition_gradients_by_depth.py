"""Vanishing and exploding gradients by depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from monitor_traces import falling, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.conditions.exploding_gradients import ExplodingGradients
from trimtab.monitor.conditions.vanishing_gradients import VanishingGradients
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

STUCK = falling(0.69, 0.69, 40, noise=0.01)


def _trace(
    norm: Callable[[int, int], float], *, losses: list[float] = STUCK, ratio: float = 1e-3, first: int = 0, **facts: Any
) -> Trace:
    """`norm(block, step)` of blocks 0 to 5 on every second step."""
    trace = make_trace(losses, facts=make_facts(total_steps=40, **facts))
    for step in range(1, 41, 2):
        blocks = {
            f"block {block}": {"grad_norm": norm(block, step), "update_ratio": ratio} for block in range(first, 6)
        }
        trace.add({"type": "signals", "step": step, "blocks": {**blocks, "head": {"grad_norm": 1.0}}})
    return trace


def _found(condition: type[Condition], trace: Trace) -> list[Finding]:
    found = list(condition().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_vanishing_from_the_step_on_at_which_it_set_in() -> None:
    (found,) = _found(VanishingGradients, _trace(lambda block, step: 0.3 if step < 11 or block == 5 else 1e-6))
    assert (found.severity, found.since) == ("warning", 11)
    assert found.evidence["ratio"] == pytest.approx(1e-6 / 0.3)
    assert (found.evidence["first_block"], found.evidence["last_block"]) == ("block 0", "block 5")
    assert found.change == {}
    assert found.confidence > 0.99


def test_blocks_broken_by_large_steps_want_a_lower_rate() -> None:
    trace = _trace(lambda block, step: 10.0 ** (block - 7), ratio=4.5e-2)
    (found,) = _found(VanishingGradients, trace)
    assert found.change == {"optimizer.learning_rate": pytest.approx(3e-6)}


def test_a_run_that_learns_all_the_same_is_good_to_know() -> None:
    trace = _trace(lambda block, step: 10.0 ** (block - 7), losses=falling(0.7, 0.1, 40))
    assert [finding.severity for finding in _found(VanishingGradients, trace)] == ["info"]


def test_exploding_towards_the_input() -> None:
    (found,) = _found(ExplodingGradients, _trace(lambda block, step: 3.0 ** (5 - block)))
    assert (found.severity, found.since) == ("warning", 1)
    assert found.change == {"optimizer.learning_rate": pytest.approx(3e-5)}
    (unclipped,) = _found(ExplodingGradients, _trace(lambda block, step: 3.0 ** (5 - block), max_grad_norm=None))
    assert unclipped.change == {"training.max_grad_norm": 1.0}


@pytest.mark.parametrize("condition", [VanishingGradients, ExplodingGradients])
def test_silent_on_usual_gradients_few_blocks_few_samples_and_zeros(condition: type[Condition]) -> None:
    assert _found(condition, _trace(lambda block, step: 0.5 - 0.07 * block)) == []
    assert _found(condition, _trace(lambda block, step: 10.0 ** (block - 7), first=4)) == []
    assert _found(condition, _trace(lambda block, step: 0.0)) == []
    trace = make_trace(STUCK)
    blocks = {f"block {block}": {"grad_norm": 100.0 ** (block - 3)} for block in range(6)}
    trace.add({"type": "signals", "step": 1, "blocks": blocks})
    assert _found(condition, trace) == []


def test_blocks_that_join_later_are_put_in_their_order() -> None:
    trace = make_trace(STUCK)
    for step in range(1, 41, 2):
        names = range(5, -1, -1) if step > 20 else (5,)
        blocks = {f"block {block}": {"grad_norm": 3.0 ** (5 - block)} for block in names}
        trace.add({"type": "signals", "step": step, "blocks": blocks})
    (found,) = _found(ExplodingGradients, trace)
    assert found.since == 21
    assert found.evidence["first_block"] == "block 0"
