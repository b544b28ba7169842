"""Forgetting: by the meter of retention, and by drift on the way."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.forgetting import Forgetting
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(trace: Trace) -> Finding | None:
    findings = list(Forgetting().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def measured(fields: dict[str, Any], **facts: Any) -> Trace:
    trace = make_trace([0.3] * 30, [0.5, 0.4, 0.3], facts=make_facts(total_steps=30, **facts))
    trace.add({"type": "retention", "step": 30, "confidence": 0.95, **fields})
    return trace


def agreement(value: float) -> dict[str, Any]:
    return {"rank_agreement": {"value": value, "low": value - 0.04, "high": value + 0.04}}


def test_levels_of_rank_agreement() -> None:
    levels = {0.8: None, 0.27: "info", 0.09: "warning", 0.05: "act"}
    for value, severity in levels.items():
        finding = found(measured(agreement(value)))
        assert (finding.severity if finding else None) == severity


def test_ordinary_full_fine_tuning_is_information() -> None:
    cka = {"block 0": 0.99, "block 1": 0.97, "block 2": 0.92, "block 3": 0.76, "block 4": 0.51, "block 5": 0.27}
    finding = found(measured({**agreement(0.27), "cka": cka}))
    assert finding is not None
    assert finding.severity == "info"
    assert finding.change == {"weights.interpolation": 0.5}
    assert set(finding.evidence) == {"rank_agreement"}


def test_lower_blocks_that_are_lost_need_a_lower_rate() -> None:
    cka = {"block 0": 0.75, "block 1": 0.41, "block 2": 0.20, "block 3": 0.16, "block 4": 0.13, "block 5": 0.08}
    finding = found(measured({**agreement(0.2), "cka": cka}))
    assert finding is not None
    assert finding.severity == "act"
    assert finding.change == {"optimizer.learning_rate": 2e-05}


def test_pretraining_loss_pairs_and_source_classes() -> None:
    rise = {"before": {"value": 2.0}, "after": {"value": 5.0}, "difference": {"value": 3.0, "low": 2.5, "high": 3.5}}
    fall = {"before": {"value": 0.8}, "after": {"value": 0.5}, "difference": {"value": -0.3, "low": -0.4, "high": -0.2}}
    finding = found(measured({"pretraining_loss": rise, "pair_spearman": fall, "source_accuracy": [0.9, 0.89]}))
    assert finding is not None
    assert finding.severity == "warning"
    assert set(finding.evidence) == {"pretraining_loss", "pair_spearman"}
    assert "from 2.00 to 5.00" in finding.message
    lost = found(measured({"source_accuracy": [0.9, 0.2]}))
    assert lost is not None
    assert lost.severity == "act"


def test_a_change_within_its_interval_and_missing_numbers_say_nothing() -> None:
    noise = {"before": {"value": 2.0}, "after": {"value": 2.6}, "difference": {"value": 0.6, "low": -0.2, "high": 1.4}}
    assert found(measured({"pretraining_loss": noise})) is None
    empty = {
        "rank_agreement": None,
        "cka": {},
        "pretraining_loss": None,
        "pair_spearman": None,
        "source_accuracy": None,
    }
    assert found(measured(empty)) is None
    assert found(measured({"rank_agreement": {"value": None, "low": None, "high": None}})) is None


def test_another_remedy_where_interpolation_is_on_or_impossible() -> None:
    for facts in ({"recipe": {"weights.interpolation": 0.5}}, {"strategy": "prompt"}):
        finding = found(measured(agreement(0.3), **facts))
        assert finding is not None
        assert finding.change == {"forgetting.distillation": 1.0}


def test_drift_on_the_way() -> None:
    trace = make_trace([0.3] * 30, [0.5, 0.4, 0.3])
    for step, lower in ((10, 0.1), (20, 0.4), (30, 0.5)):
        trace.add({"type": "inspection", "step": step, "drift": {"block 0": lower, "block 1": 0.9, "block 2": 0.99}})
    finding = found(trace)
    assert finding is not None
    assert (finding.severity, finding.since) == ("info", 20)
    assert finding.change == {"weights.interpolation": 0.5}
    assert [curve.name for curve in finding.series] == ["drift of block 0", "drift of block 1", "drift of block 2"]
    trace.add({"type": "inspection", "step": 40, "drift": {"block 0": 0.7}})
    worse = found(trace)
    assert worse is not None
    assert (worse.severity, worse.since) == ("warning", 20)
    assert worse.change == {"optimizer.learning_rate": 2e-05}
    trace.add({"type": "retention", "step": 40, **agreement(0.9)})
    assert found(trace) is None  # what was measured counts for more than drift


def test_what_was_measured_on_the_way_counts_until_the_next_look_inside() -> None:
    trace = make_trace([0.3] * 40, [0.5, 0.4, 0.3, 0.2], facts=make_facts(total_steps=40))
    trace.add({"type": "inspection", "step": 10, "drift": {"block 0": 0.7}})
    trace.add({"type": "retention", "step": 10, **agreement(0.02)})
    finding = found(trace)
    assert finding is not None
    assert (finding.severity, finding.since) == ("act", 10)
    trace.add({"type": "inspection", "step": 20, "drift": {"block 0": 0.5}})
    later = found(trace)
    assert later is not None
    assert later.severity == "info" and "drifted" in later.message
    # The run goes back to before all that.
    trace.add({"type": "action", "action": "autopilot", "step": 20, "back_to": 5})
    assert found(trace) is None and not trace.retention
    trace.add({"type": "action", "action": "autopilot_effect", "step": 18, "undone": True, "back_to": 20})
    assert found(trace) == later and trace.retention["step"] == 10


@pytest.mark.parametrize(
    ("drift", "severity"), [(0.35, None), (0.36, "info"), (0.6, "info"), (0.61, "warning"), (1.0, "warning")]
)
def test_drift_is_a_sign_and_never_calls_for_action(drift: float, severity: str | None) -> None:
    trace = make_trace([0.3] * 30, [0.5, 0.4, 0.3])
    trace.add({"type": "inspection", "step": 30, "drift": {"block 0": drift, "block 1": 0.9}})
    finding = found(trace)
    assert (finding.severity if finding else None) == severity


def test_drift_of_upper_blocks_alone_is_learning() -> None:
    trace = make_trace([0.3] * 30, [0.5, 0.4, 0.3])
    trace.add({"type": "inspection", "step": 30, "drift": {"block 0": 0.03, "block 1": 0.07, "block 2": 0.5,
                                                           "block 3": 0.9}})  # fmt: skip
    assert found(trace) is None
