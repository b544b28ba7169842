"""Learning rates that are too high and too low: told apart, and told from too few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from monitor_traces import falling, make_events, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.conditions.learning_rate_too_high import LearningRateTooHigh, binomial_tail
from trimtab.monitor.conditions.learning_rate_too_low import LearningRateTooLow
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def _trace(losses: list[float], ratio: float | None, *, head_only: bool = False, **facts: Any) -> Trace:
    trace = make_trace(losses, facts=make_facts(**{"total_steps": len(losses), **facts}))
    blocks = ("head",) if head_only else ("embeddings", "block 0", "block 1", "head")
    for step in range(1, len(losses) + 1, 2) if ratio is not None else ():
        # The head of a model always moves more than its blocks.
        told = {b: {"update_ratio": ratio * (7 if b == "head" and not head_only else 1)} for b in blocks}
        trace.add({"type": "signals", "step": step, "blocks": told})
    return trace


def _examined(condition: Condition, trace: Trace) -> list[Finding]:
    found = list(condition.examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def _high(trace: Trace) -> list[Finding]:
    return _examined(LearningRateTooHigh(), trace)


def _low(trace: Trace) -> list[Finding]:
    return _examined(LearningRateTooLow(), trace)


def _risen(count: int = 40, end: float = 0.69) -> list[float]:
    """As 30 times the rate gives: warm-up, losses far up, and back to chance."""
    draw = np.random.default_rng(1)
    up = [0.70, 0.69, 0.72, 0.95, 1.2, 1.45, 1.1, 0.95, 0.9, 0.8]
    return [*up, *(end + 0.03 * draw.standard_normal(count - len(up)))]


def test_too_high_and_stuck_calls_for_action() -> None:
    (found,) = _high(_trace(_risen(), 4.5e-2))
    assert (found.severity, found.since) == ("act", 4)
    assert found.change == {"optimizer.learning_rate": pytest.approx(3e-6)}  # a thirtieth of 1e-4
    assert found.confidence > 0.99
    assert _low(_trace(_risen(), 4.5e-2)) == []


def test_too_high_but_recovering_is_a_warning_with_a_smaller_remedy() -> None:
    (found,) = _high(_trace(_risen(end=0.3), 7.5e-3))
    assert found.severity == "warning"
    assert found.change == {"optimizer.learning_rate": pytest.approx(2e-5)}  # a fifth


def test_stuck_at_chance_with_large_steps_though_it_never_rose() -> None:
    losses = [0.69 + 0.01 * float(value) for value in np.random.default_rng(0).standard_normal(40)]
    (found,) = _high(_trace(losses, 3e-2))
    assert found.severity == "act"
    assert _high(_trace(losses, 1.5e-3)) == []  # steps of the usual size: labels or capacity, not the rate


def test_not_yet_stuck_early_in_the_run() -> None:
    losses = [0.69 + 0.01 * float(value) for value in np.random.default_rng(0).standard_normal(15)]
    assert _high(_trace(losses, 3e-2, total_steps=100)) == []


def test_a_foreign_run_of_losses_only() -> None:
    events = [{"type": "step", "step": step, "loss": loss} for step, loss in enumerate(_risen(), 1)]
    (found,) = _high(Trace.from_events(events, Facts(origin="csv")))
    assert found.since == 4
    assert found.change == {}


def test_a_resumed_run_gives_the_same_as_a_whole_one() -> None:
    events = make_events(_risen())
    facts = make_facts(total_steps=40)
    whole = _high(Trace.from_events(events, facts))
    assert whole
    assert _high(Trace.from_events([*events[:20], *events[10:]], facts)) == whole


def test_too_low_is_found_with_the_rate_that_makes_updates_usual() -> None:
    losses = falling(0.694, 0.690, 40, noise=0.003)
    (found,) = _low(_trace(losses, 1.5e-5, learning_rate=2e-6))
    assert (found.severity, found.since) == ("act", 1)
    assert found.change == {"optimizer.learning_rate": pytest.approx(2e-4)}
    assert found.evidence["update_ratio"] == pytest.approx(1.5e-5)
    assert _high(_trace(losses, 1.5e-5)) == []


def test_a_head_that_trains_alone_and_adapters_have_their_own_yardstick() -> None:
    losses = falling(0.694, 0.690, 40, noise=0.003)
    (found,) = _low(_trace(losses, 5e-4, head_only=True))
    assert "head" in found.message
    assert _low(_trace(losses, 5e-4)) == []
    assert _low(_trace(losses, 5e-4, strategy="lora")) != []


def test_too_few_steps_at_a_usual_rate_are_not_too_low() -> None:
    assert _low(_trace(falling(0.694, 0.690, 16, noise=0.003), 7e-4)) == []


def test_small_updates_that_learn_are_fine() -> None:
    assert _low(_trace(falling(0.7, 0.2, 40), 1e-5)) == []


def test_too_low_waits_for_half_of_the_run_and_needs_a_gradient() -> None:
    losses = falling(0.694, 0.690, 40, noise=0.003)
    assert _low(_trace(losses, 1.5e-5, total_steps=100)) == []
    assert _low(_trace(losses, 0.0)) == []
    assert _low(_trace(losses, None)) == []


def test_binomial_tail() -> None:
    assert binomial_tail(0, 10, 0.02) == 1
    assert binomial_tail(1, 10, 0.02) == pytest.approx(1 - 0.98**10)
    assert binomial_tail(10, 10, 0.5) == pytest.approx(2**-10)
