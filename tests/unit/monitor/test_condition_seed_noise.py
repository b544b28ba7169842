"""Run to run noise against the improvement claimed."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.seed_noise import SeedNoise
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(trace: Trace) -> Finding | None:
    findings = list(SeedNoise().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def run(value: float, baseline: float, half: float, siblings: tuple[float, ...] = (), **facts: Any) -> Trace:
    trace = make_trace([0.3] * 10, [0.5], facts=make_facts(siblings=siblings, **facts))
    lead = value - baseline
    trace.final = {
        "rows": 200,
        "confidence": 0.95,
        "metrics": {"macro_f1": {"value": value, "low": value - half, "high": value + half}},
        "difference_metric": "macro_f1",
        "baselines": {"majority class": {"macro_f1": {"value": 0.3}}, "TF-IDF": {"macro_f1": {"value": baseline}}},
        "differences": {
            "majority class": {"value": value - 0.3, "low": value - 0.35, "high": value - 0.25},
            "TF-IDF": {"value": lead, "low": lead - half, "high": lead + half},
        },
    }
    return trace


def test_an_interval_that_holds_zero_claims_nothing() -> None:
    finding = found(run(0.82, 0.80, 0.05))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.evidence["baseline"] == "TF-IDF"
    assert finding.confidence == 0.95


def test_a_lead_within_two_deviations_between_seeds_claims_nothing() -> None:
    finding = found(run(0.90, 0.80, 0.05, siblings=(0.78, 0.84, 0.92)))
    assert finding is not None
    assert len(finding.evidence["runs"]) == 4
    assert finding.series[0].values == [0.90, 0.78, 0.84, 0.92]


def test_a_clear_lead_is_left_alone() -> None:
    assert found(run(0.90, 0.80, 0.05)) is None
    assert found(run(0.90, 0.80, 0.05, siblings=(0.89, 0.90, 0.91))) is None
    assert found(run(0.90, 0.80, 0.05, siblings=(0.60,))) is None  # two runs tell no deviation


def test_siblings_of_another_metric_are_not_compared() -> None:
    assert found(run(0.90, 0.80, 0.05, siblings=(0.1, 0.9, 0.5), metric="accuracy")) is None


def test_without_baselines_or_numbers_nothing_is_said() -> None:
    trace = run(0.90, 0.80, 0.05)
    trace.final = {"differences": {}, "baselines": {}}
    assert found(trace) is None
    trace.final = {"differences": {"TF-IDF": {"value": None, "low": None, "high": None}}, "baselines": {}}
    assert found(trace) is None
