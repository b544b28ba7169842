"""Over-long warm-up: from the plan, or from the recorded rates."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.long_warmup import LongWarmup
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def _examined(trace: Trace) -> list[Finding]:
    found = list(LongWarmup().examine(trace))
    assert all(isinstance(told, Said) for one in found for told in (one.message, one.remedy))
    return found


def _found(**facts: Any) -> list[Finding]:
    return _examined(Trace(make_facts(**facts)))


def test_a_warm_up_of_half_the_run_by_ratio_and_by_steps() -> None:
    (found,) = _found(warmup_steps=50)
    assert (found.severity, found.since) == ("warning", 0)
    assert found.change == {"schedule.warmup_ratio": 0.1}
    (found,) = _found(warmup_steps=50, recipe={"schedule.warmup_steps": 50})
    assert found.change == {"schedule.warmup_steps": 10}


def test_one_that_never_ends() -> None:
    (found,) = _found(warmup_steps=40, total_steps=40, recipe={"schedule.warmup_steps": 500})
    assert "never" in found.message
    assert found.change == {"schedule.warmup_steps": 4}


@pytest.mark.parametrize("steps", [0, 1, 10, 33])
def test_usual_ones_are_silent(steps: int) -> None:
    assert _found(warmup_steps=steps) == []


def test_one_step_of_two_is_none() -> None:
    assert _found(warmup_steps=1, total_steps=2) == []


def test_shapes_that_rise_by_themselves() -> None:
    assert _found(warmup_steps=0, recipe={"schedule.name": "one_cycle"}) == []
    (found,) = _found(warmup_steps=0, recipe={"schedule.name": "one_cycle", "schedule.pct_start": 0.8})
    assert found.change == {"schedule.pct_start": 0.3}


def _foreign(rates: list[float], **facts: Any) -> list[Finding]:
    trace = make_trace([0.5] * len(rates), rate=rates, facts=Facts(origin="trainer_state", **facts))
    return _examined(trace)


def test_a_foreign_run_shows_it_in_its_rates() -> None:
    rise = [step * 1e-6 for step in range(1, 31)]
    (found,) = _foreign([*rise, *[3e-5] * 20])
    assert found.evidence["warmup_steps"] == 30
    assert found.change == {}
    assert _foreign(rise) == []  # it may be the beginning of a long run
    assert len(_foreign(rise, total_steps=30)) == 1
    assert _foreign([3e-5] * 50) == []
    assert _foreign([*rise[:5], *[5e-6] * 45]) == []
