"""Dead units and collapsed attention."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts

from trimtab.monitor.conditions.dead_units import DeadUnits
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(name: str, *looks: dict[str, Any]) -> Finding | None:
    trace = Trace(make_facts())
    for index, look in enumerate(looks):
        trace.add({"type": "inspection", "step": 10 * (index + 1), name: look})
    findings = list(DeadUnits().examine(trace))
    return findings[0] if findings else None


def test_units_that_died_in_training() -> None:
    finding = found("dead_units", {"block 0": 0.1}, {"block 0": 0.6}, {"block 0": 0.8})
    assert finding is not None
    assert (finding.severity, finding.since) == ("warning", 20)
    assert finding.evidence["dead_units"]["block 0"] == {"first": 0.1, "last": 0.8, "since": 20}
    assert finding.change == {"optimizer.learning_rate": pytest.approx(3.3e-05)}


def test_attention_that_collapsed() -> None:
    finding = found("attention_entropy", {"block 0": 0.6, "block 1": 0.5}, {"block 0": 0.02, "block 1": 0.5})
    assert finding is not None
    assert list(finding.evidence["attention_entropy"]) == ["block 0"]


def test_what_the_pretrained_model_brought_is_left_alone() -> None:
    assert found("dead_units", {"block 0": 0.7}, {"block 0": 0.8}) is None
    assert found("attention_entropy", {"block 0": 0.1}, {"block 0": 0.04}) is None


def test_one_look_or_unknown_values_say_nothing() -> None:
    assert found("dead_units", {"block 0": 0.9}) is None
    assert found("dead_units", {"block 0": 0.1}, {"block 0": None}) is None
    assert found("dead_units", {}, {}) is None
