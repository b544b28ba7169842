"""A validation set that is too small to tell."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.small_validation import SmallValidation
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

OURS = {"data.validation": None, "data.validation_fraction": 0.15}


def found(trace: Trace) -> Finding | None:
    findings = list(SmallValidation().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def run(values: list[float], rows: int, *, total: int = 30, **facts: Any) -> Trace:
    metrics = {"macro_f1": values, "accuracy": values}
    known = make_facts(total_steps=total, recipe=OURS, **facts)
    return make_trace([0.3] * 30, [0.5, 0.4, 0.3], metrics=metrics, rows=rows, facts=known)


def test_few_rows_are_a_warning_from_the_start() -> None:
    finding = found(run([0.7, 0.8, 0.9], 40))
    assert finding is not None
    assert (finding.severity, finding.since) == ("warning", 0)
    assert finding.evidence["rows"] == 40
    assert finding.change == {"data.validation_fraction": 0.3}
    assert 0.08 < finding.evidence["half_width"] < 0.13


def test_rows_of_the_user_are_not_ours_to_cut() -> None:
    facts = make_facts(recipe={"data.validation": "dev.csv", "data.validation_fraction": 0.15})
    trace = make_trace([0.3] * 10, [0.5], metrics={"macro_f1": [0.8]}, rows=30, facts=facts)
    finding = found(trace)
    assert finding is not None
    assert finding.change == {}


def test_an_early_best_within_noise_is_worth_a_word() -> None:
    finding = found(run([0.82, 0.80, 0.81], 120))
    assert finding is not None
    assert finding.severity == "info"
    assert finding.evidence["best_step"] == 10


def test_silent_with_rows_enough_or_a_clear_choice_or_the_last_best() -> None:
    assert found(run([0.82, 0.80, 0.81], 1000)) is None
    assert found(run([0.95, 0.60, 0.60], 120)) is None
    assert found(run([0.70, 0.80, 0.82], 120)) is None


def test_early_stopping_within_noise_is_worth_a_word() -> None:
    trace = run([0.70, 0.80, 0.82], 120)
    trace.add({"type": "action", "step": 30, "action": "early_stop"})
    finding = found(trace)
    assert finding is not None
    assert finding.severity == "info"


def test_without_rows_or_metric_nothing_is_said() -> None:
    assert found(make_trace([0.3] * 10, [0.5])) is None
    unknown = make_trace([0.3] * 10, [0.5], metrics={"accuracy": [0.8]}, detail=[{"rows": None}],
                         facts=make_facts(rows={}, origin="csv", metric=""))  # fmt: skip
    assert found(unknown) is None
