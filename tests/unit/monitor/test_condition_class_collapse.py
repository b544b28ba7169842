"""Class collapse: one class for all rows, or classes that are never predicted."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.class_collapse import ClassCollapse
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def outcome(*predicted: int, rows: tuple[int, ...] = (100, 100)) -> dict[str, Any]:
    return {"predicted": list(predicted), "label_rows": list(rows), "predicted_entropy": 0.1}


def found(trace: Trace) -> Finding | None:
    findings = list(ClassCollapse().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def run(details: list[dict[str, Any]], held_in: list[float], *, total: int = 30, **fields: Any) -> Trace:
    steps = 10 * len(details)
    return make_trace(
        [0.69] * steps, held_in, held_in=held_in, detail=details, facts=make_facts(total_steps=total, **fields)
    )


def test_one_class_to_the_end_with_nothing_learned_needs_action() -> None:
    finding = found(run([outcome(120, 80), outcome(0, 200), outcome(2, 198)], [0.69, 0.69, 0.69]))
    assert finding is not None
    assert (finding.severity, finding.since) == ("act", 20)
    assert finding.evidence["class"] == "positive"
    assert finding.evidence["predicted_share"] == 0.99
    assert finding.change == {"optimizer.learning_rate": 3.3e-05}


def test_a_short_run_that_still_learns_gets_a_word_only() -> None:
    finding = found(run([outcome(0, 200), outcome(2, 198)], [0.65, 0.54], total=20))
    assert finding is not None
    assert finding.severity == "info"
    assert finding.change == {"training.num_epochs": 20}


def test_the_first_stretch_of_a_healthy_run_is_left_alone() -> None:
    assert found(run([outcome(0, 200)], [0.69], total=100)) is None
    half = found(run([outcome(0, 200)] * 5, [0.69] * 5, total=100))
    assert half is not None
    assert half.severity == "info"


def test_kept_weights_of_before_the_collapse_make_it_a_warning() -> None:
    trace = make_trace(
        [0.69] * 30, [0.4, 0.69, 0.69], held_in=[0.4, 0.69, 0.69], metrics={"macro_f1": [0.8, 0.33, 0.33]},
        detail=[outcome(90, 110), outcome(0, 200), outcome(0, 200)], facts=make_facts(total_steps=30),
    )  # fmt: skip
    finding = found(trace)
    assert finding is not None
    assert finding.severity == "warning"
    assert "before that" in finding.message


def test_a_class_that_is_nearly_all_rows_is_no_collapse() -> None:
    rare = {"train": [10, 310]}
    assert found(run([outcome(0, 200, rows=(6, 194))] * 3, [0.1] * 3, label_counts=rare)) is None


def test_a_class_that_is_never_predicted() -> None:
    labels = {"labels": ("a", "b", "c"), "label_counts": {"train": [100, 100, 100]}}
    details = [outcome(100, 100, 0, rows=(70, 70, 60))] * 3
    finding = found(run(details, [0.5, 0.4, 0.3], **labels))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.evidence["never_predicted"] == {"c": 60}
    # Where it is rare in training, it is a matter of `class_imbalance`.
    assert found(run(details, [0.5, 0.4, 0.3], labels=("a", "b", "c"), label_counts={"train": [145, 145, 10]})) is None


def test_healthy_predictions_and_few_rows_say_nothing() -> None:
    assert found(run([outcome(95, 105)] * 3, [0.5, 0.4, 0.3])) is None
    assert found(run([outcome(0, 10, rows=(5, 5))] * 3, [0.69] * 3)) is None
