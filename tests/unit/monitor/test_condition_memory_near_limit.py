"""Memory near its limit, and budgets that had to shrink."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.memory_near_limit import MemoryNearLimit
from trimtab.monitor.findings import Finding


def _found(shares: list[float], *, actions: list[dict[str, Any]] | None = None, **facts: Any) -> list[Finding]:
    trace = make_trace([0.7] * len(shares), facts=make_facts(**facts))
    for step, share in enumerate(shares, 1):
        trace.add({"type": "signals", "step": step, "memory_mib": share * 1000, "memory_total_mib": 1000})
    for action in actions or []:
        trace.add({"type": "action", **action})
    found = list(MemoryNearLimit().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_nine_tenths_in_two_steps() -> None:
    (found,) = _found([0.5, 0.91, 0.95], recipe={"training.max_tokens_per_batch": 4096})
    assert (found.severity, found.since) == ("warning", 2)
    assert found.change == {"training.max_tokens_per_batch": 2048}


def test_without_a_budget_activations_are_recomputed() -> None:
    recipe = {"training.max_tokens_per_batch": "auto", "training.gradient_checkpointing": False}
    (found,) = _found([0.95, 0.95], recipe=recipe)
    assert found.change == {"training.gradient_checkpointing": True}


def test_a_budget_that_shrank_is_the_one_to_start_with() -> None:
    shrunk = {"action": "shrink_token_budget", "step": 3, "before": 4096, "after": 2048, "reason": "out of memory"}
    (found,) = _found([0.5, 0.5, 0.5], actions=[shrunk])
    assert (found.severity, found.since) == ("info", 3)
    assert found.change == {"training.max_tokens_per_batch": 2048}


def test_room_enough_one_step_and_unknown_memory_are_silent() -> None:
    assert _found([0.5, 0.89, 0.6]) == []
    assert _found([0.5, 0.95, 0.6]) == []
    assert _found([]) == []
    trace = make_trace([0.7, 0.6])
    trace.add({"type": "signals", "step": 1, "memory_mib": None, "memory_total_mib": 0})
    assert list(MemoryNearLimit().examine(trace)) == []
