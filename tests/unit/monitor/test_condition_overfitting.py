"""Overfitting: rises of the validation loss and gaps, told from noise and from overconfidence."""

from __future__ import annotations

import pytest
from monitor_traces import falling, make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.overfitting import Overfitting
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

TRAIN = falling(0.7, 0.05, 60)
RISING = [0.60, 0.45, 0.50, 0.62, 0.75, 0.90]
FALLING_IN = [0.55, 0.35, 0.20, 0.10, 0.05, 0.03]


def found(trace: Trace) -> Finding | None:
    findings = list(Overfitting().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    assert len(findings) <= 1
    return findings[0] if findings else None


def test_late_rise_with_the_best_weights_kept_is_a_warning_about_wasted_steps() -> None:
    metrics = {"macro_f1": [0.70, 0.85, 0.80, 0.76, 0.72, 0.68], "accuracy": [0.70, 0.85, 0.80, 0.76, 0.72, 0.68]}
    finding = found(make_trace(TRAIN, RISING, held_in=FALLING_IN, metrics=metrics))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.since == 30  # the first evaluation after the lowest loss, at step 20
    assert finding.change == {"regularization.early_stopping_patience": 2}
    assert finding.evidence["generalization_loss"] == 100.0
    assert finding.confidence > 0.99
    assert {curve.name for curve in finding.series} == {"validation loss", "loss on training rows"}


def test_the_same_with_the_last_weights_delivered_needs_action() -> None:
    metrics = {"macro_f1": [0.70, 0.85, 0.80, 0.76, 0.72, 0.68]}
    facts = make_facts(recipe={"weights.source": "last"})
    finding = found(make_trace(TRAIN, RISING, held_in=FALLING_IN, metrics=metrics, facts=facts))
    assert finding is not None
    assert finding.severity == "act"
    assert finding.change["weights.source"] == "best"


def test_rising_loss_with_a_constant_metric_is_overconfidence() -> None:
    metrics = {"macro_f1": [0.70, 0.84, 0.84, 0.84, 0.85, 0.84]}
    finding = found(make_trace(TRAIN, RISING, held_in=FALLING_IN, metrics=metrics))
    assert finding is not None
    assert finding.severity == "info"
    assert finding.change == {"regularization.label_smoothing": 0.1}
    assert "overconfident" in finding.message


def test_no_label_smoothing_beside_focal_loss() -> None:
    metrics = {"macro_f1": [0.70, 0.84, 0.84, 0.84, 0.85, 0.84]}
    facts = make_facts(recipe={"regularization.focal_gamma": 2.0})
    finding = found(make_trace(TRAIN, RISING, held_in=FALLING_IN, metrics=metrics, facts=facts))
    assert finding is not None
    assert finding.change == {}


def test_a_rise_within_noise_says_nothing() -> None:
    assert found(make_trace(TRAIN, RISING, held_in=FALLING_IN, loss_error=0.5)) is None
    # A single evaluation 5 % above the lowest, with the usual noise.
    assert found(make_trace(TRAIN[:30], [0.60, 0.45, 0.475], held_in=FALLING_IN[:3])) is None


def test_validation_and_training_rising_together_is_another_fault() -> None:
    assert found(make_trace(TRAIN, RISING, held_in=RISING)) is None


def sixty_rows(known: list[float], total_steps: int = 40) -> Trace:
    """Four evaluations with a large gap at the last, the best; `known` is the accuracy on the training rows of each."""
    counts = {"train": [30, 30]}
    return make_trace(
        TRAIN[:40],
        [0.68, 0.67, 0.70, 0.72],
        held_in=[0.60, 0.30, 0.15, 0.10],
        metrics={"macro_f1": [0.4, 0.5, 0.55, 0.6], "accuracy": [0.55, 0.58, 0.60, 0.61]},
        held_in_metrics={"accuracy": known},
        loss_error=0.03,
        rows=100,
        facts=make_facts(rows={"train": 60, "validation": 100}, label_counts=counts, total_steps=total_steps),
    )


def test_sixty_rows_learned_by_heart_need_action() -> None:
    finding = found(sixty_rows([0.7, 0.97, 0.99, 1.0]))
    assert finding is not None
    assert finding.severity == "act"
    assert finding.since == 20
    assert finding.evidence["training_rows"] == 60
    assert "augmentation.word_dropout" in finding.change


@pytest.mark.parametrize(
    ("known", "severity"),
    [
        ([0.95, 0.97, 0.99, 1.0], "act"),
        # From step 20 of 40 on: half of the run.
        ([0.7, 0.95, 0.99, 1.0], "act"),
        ([0.7, 0.94, 0.99, 1.0], "warning"),
        ([0.7, 0.9, 0.94, 1.0], "warning"),
        # By heart early on, but not ever since.
        ([0.97, 0.99, 0.94, 1.0], "warning"),
        ([0.97, 0.99, 0.99, 0.94], "warning"),
    ],
)
def test_a_gap_needs_action_where_the_rows_were_known_by_heart_for_half_of_the_run(
    known: list[float], severity: str
) -> None:
    finding = found(sixty_rows(known))
    assert finding is not None
    assert finding.severity == severity
    assert finding.evidence["accuracy_gap"] == pytest.approx(known[-1] - 0.61)


def test_a_run_that_goes_on_is_not_judged_by_its_first_half() -> None:
    known = [0.95, 0.97, 0.99, 1.0]
    severities = [getattr(found(sixty_rows(known, total_steps)), "severity", None) for total_steps in (40, 60, 61, 200)]
    # Known by heart from step 10 to 40.
    assert severities == ["act", "act", "warning", "warning"]


def test_rows_known_by_heart_at_a_single_evaluation_do_not_need_action() -> None:
    facts = make_facts(label_counts={"train": [30, 30]})
    metrics = {"macro_f1": [0.6], "accuracy": [0.6]}
    trace = make_trace(
        TRAIN[:10], [0.72], held_in=[0.05], metrics=metrics, held_in_metrics={"accuracy": [1.0]}, facts=facts
    )
    finding = found(trace)
    assert finding is not None
    assert finding.severity == "warning"


def test_images_are_changed_as_images_are() -> None:
    facts = make_facts(task="image-classification", label_counts={"train": [30, 30]})
    trace = make_trace(
        TRAIN[:10],
        [0.72],
        held_in=[0.05],
        metrics={"macro_f1": [0.6], "accuracy": [0.6]},
        held_in_metrics={"accuracy": [1.0]},
        facts=facts,
    )
    finding = found(trace)
    assert finding is not None
    assert set(finding.change) == {"augmentation.horizontal_flip", "augmentation.random_resized_crop"}


def test_an_ordinary_gap_says_nothing() -> None:
    trace = make_trace(
        TRAIN[:30],
        [0.60, 0.50, 0.50],
        held_in=[0.55, 0.30, 0.20],
        metrics={"macro_f1": [0.7, 0.8, 0.82], "accuracy": [0.7, 0.8, 0.82]},
        held_in_metrics={"accuracy": [0.75, 0.90, 0.95]},
    )
    assert found(trace) is None


def test_foreign_run_that_ends_no_better_than_it_began_needs_action() -> None:
    facts = make_facts(origin="csv", label_counts={}, metric="")
    finding = found(make_trace(TRAIN, [0.60, 0.40, 0.50, 0.60, 0.70, 0.80], facts=facts))
    assert finding is not None
    assert finding.severity == "act"
    assert finding.evidence["lowest_at_step"] == 20
    recovered = found(make_trace(TRAIN, [0.90, 0.40, 0.50, 0.55, 0.60, 0.65], facts=facts))
    assert recovered is not None
    assert recovered.severity == "warning"
