"""Dead units and collapsed attention."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts

from trimtab.core.said import Said
from trimtab.monitor.conditions.dead_units import DeadUnits
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(name: str, *looks: dict[str, Any]) -> Finding | None:
    trace = Trace(make_facts())
    for index, look in enumerate(looks):
        trace.add({"type": "inspection", "step": 10 * (index + 1), name: look})
    findings = list(DeadUnits().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
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
    assert finding.message.startswith("The attention of block 0 has collapsed")


def test_sentence_names_three_blocks_of_each_kind_and_keeps_its_origin() -> None:
    trace = Trace(make_facts())
    for step, dead, entropy in ((10, 0.1, 0.6), (20, 0.8, 0.02)):
        names = [f"block {index}" for index in range(4)]
        looks = {"dead_units": dict.fromkeys(names, dead), "attention_entropy": dict.fromkeys(names, entropy)}
        trace.add({"type": "inspection", "step": step, **looks})
    (finding,) = DeadUnits().examine(trace)
    units = "n block {} 80% of the units react to nothing any more (10% at first); "
    attention = (
        "the attention of block {} has collapsed to single tokens (entropy 0.02 of the largest possible, 0.60 at first)"
    )
    told = [f"I{units}i{units}i{units}".format(0, 1, 2), "; ".join([attention] * 3).format(0, 1, 2), "."]
    assert finding.message == "".join(told)
    assert isinstance(Finding.from_dict(finding.to_dict()).message, Said)


def test_what_the_pretrained_model_brought_is_left_alone() -> None:
    assert found("dead_units", {"block 0": 0.7}, {"block 0": 0.8}) is None
    assert found("attention_entropy", {"block 0": 0.1}, {"block 0": 0.04}) is None


def test_one_look_or_unknown_values_say_nothing() -> None:
    assert found("dead_units", {"block 0": 0.9}) is None
    assert found("dead_units", {"block 0": 0.1}, {"block 0": None}) is None
    assert found("dead_units", {}, {}) is None
