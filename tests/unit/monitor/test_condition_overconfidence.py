"""Overconfidence, told from too little confidence and from noise."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.overconfidence import Overconfidence
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(trace: Trace) -> Finding | None:
    findings = list(Overconfidence().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def run(accuracy: float, confidence: float, ece: float, *, rows: int = 200, total: int = 10, **facts: Any) -> Trace:
    detail = [{"confidence": confidence, "error_confidence": confidence - 0.02}]
    metrics = {"macro_f1": [accuracy], "accuracy": [accuracy], "ece": [ece]}
    known = make_facts(total_steps=total, **facts)
    return make_trace([0.3] * 10, [0.5], metrics=metrics, detail=detail, rows=rows, facts=known)


def test_a_model_far_surer_than_right_is_a_warning() -> None:
    finding = found(run(0.70, 0.97, 0.27))
    assert finding is not None
    assert (finding.severity, finding.since) == ("warning", 10)
    assert finding.change == {"regularization.label_smoothing": 0.1}
    assert finding.confidence > 0.99


def test_some_overconfidence_is_information() -> None:
    finding = found(run(0.82, 0.93, 0.12))
    assert finding is not None
    assert finding.severity == "info"


def test_too_little_confidence_noise_and_calibrated_models_say_nothing() -> None:
    assert found(run(0.88, 0.53, 0.35)) is None
    assert found(run(0.82, 0.93, 0.12, rows=30)) is None
    assert found(run(0.90, 0.91, 0.03)) is None
    assert found(run(0.70, 0.97, 0.27, total=100)) is None


def test_no_second_smoothing() -> None:
    finding = found(run(0.70, 0.97, 0.27, recipe={"regularization.label_smoothing": 0.1}))
    assert finding is not None
    assert finding.change == {}
