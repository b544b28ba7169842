"""The device waits for rows."""

from __future__ import annotations

from typing import Any

from monitor_traces import falling, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.input_starvation import InputStarvation
from trimtab.monitor.findings import Finding

LOSSES = falling(0.7, 0.2, 60)


def _found(waited: list[float], **facts: Any) -> list[Finding]:
    trace = make_trace(LOSSES, facts=make_facts(**facts), step_fields={"seconds": [0.2] * 60, "data_seconds": waited})
    found = list(InputStarvation().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def test_half_of_the_time() -> None:
    (found,) = _found([0.1, 0.09, 0.11] * 20)
    assert found.severity == "warning"
    assert found.since == 6
    assert 0.45 < found.evidence["share"] < 0.55
    assert found.change == {}


def test_a_cache_that_is_off_is_the_remedy() -> None:
    (found,) = _found([0.1, 0.09] * 30, recipe={"cache.enabled": False})
    assert found.change == {"cache.enabled": True}
    (found,) = _found([0.1, 0.09] * 30, recipe={"cache.enabled": True, "task.cache_mib": 0})
    assert found.change == {"task.cache_mib": 2048}


def test_the_first_steps_and_single_ones_do_not_count() -> None:
    assert _found([0.19] * 5 + [0.001] * 55) == []
    assert _found([0.001] * 50 + [0.19] * 10) == []
    assert _found([0.05] * 60) == []


def test_what_costs_no_time_worth_speaking_of_is_silent() -> None:
    trace = make_trace(LOSSES, step_fields={"seconds": [0.002] * 60, "data_seconds": [0.001] * 60})
    assert list(InputStarvation().examine(trace)) == []
