"""Class imbalance that hurts a class."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.class_imbalance import ClassImbalance
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def found(trace: Trace) -> Finding | None:
    findings = list(ClassImbalance().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def run(recall: list[float | None], rows: list[int], train: list[int], *, total: int = 30, **fields: Any) -> Trace:
    detail = {"recall": recall, "label_rows": rows, "predicted": rows}
    facts = make_facts(total_steps=total, label_counts={"train": train}, **fields)
    return make_trace([0.3] * 30, [0.5, 0.4, 0.3], held_in=[0.5, 0.4, 0.3], detail=[detail] * 3, facts=facts)


def test_a_rare_class_that_is_never_found_needs_action() -> None:
    finding = found(run([0.98, 0.0], [180, 20], [300, 20]))
    assert finding is not None
    assert finding.severity == "act"
    hurt = finding.evidence["classes"]["positive"]
    assert (hurt["training_rows"], hurt["validation_rows"], hurt["recall"]) == (20, 20, 0.0)
    assert hurt["high"] == pytest.approx(0.161, abs=0.001)  # Wilson's upper end of 0 of 20
    assert finding.change == {"regularization.class_weights": "balanced"}
    assert finding.confidence > 0.99


def test_very_rare_classes_get_the_weaker_weight_and_a_metric_that_sees_them() -> None:
    finding = found(run([1.0, 0.0], [196, 4], [314, 6], metric="accuracy"))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.change == {"regularization.class_weights": "sqrt", "evaluation.metric": "macro_f1"}


def test_nothing_more_is_changed_where_rows_are_weighted_already() -> None:
    recipe = {"regularization.class_weights": "balanced"}
    finding = found(run([0.98, 0.0], [180, 20], [300, 20], recipe=recipe))
    assert finding is not None
    assert finding.change == {}
    assert "Add training rows" in finding.remedy


def test_silent_where_the_class_is_found_or_not_rare_or_too_few_rows_tell() -> None:
    assert found(run([0.95, 0.85], [180, 20], [300, 20])) is None
    assert found(run([0.95, 0.30], [100, 100], [160, 160])) is None
    assert found(run([0.95, 0.0], [180, 1], [300, 20])) is None
    assert found(run([0.95, None], [180, 0], [300, 20])) is None


def test_silent_in_the_first_stretch() -> None:
    assert found(run([0.98, 0.0], [180, 20], [300, 20], total=300)) is None
