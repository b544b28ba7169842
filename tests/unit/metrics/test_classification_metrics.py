"""Metrics: hand-worked values, empty and wrong input, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.errors import DataError, UnknownNameError
from trimtab.metrics.classification import (
    METRICS,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    get_metric,
    log_loss,
    margin_metrics,
)

K = 4
pairs = st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), min_size=1, max_size=40)


def metrics_of(rows: list[tuple[int, int]], k: int = K) -> dict[str, float]:
    labels, predictions = np.array(rows).T
    return {name: float(v) for name, v in classification_metrics(confusion_matrix(labels, predictions, k)).items()}


def test_hand_worked_binary_case() -> None:
    found = classification_metrics(np.array([[3, 1], [2, 4]]))
    assert found["accuracy"] == pytest.approx(0.7)
    assert found["macro_f1"] == pytest.approx((6 / 9 + 8 / 11) / 2)
    assert found["weighted_f1"] == pytest.approx(0.4 * 6 / 9 + 0.6 * 8 / 11)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert found["mcc"] == pytest.approx((3 * 4 - 1 * 2) / math.sqrt(5 * 5 * 4 * 6))


def test_leading_dimensions_are_kept() -> None:
    confusions = np.random.default_rng(0).integers(9, size=(3, 2, K, K))
    stacked = classification_metrics(confusions)
    for name, values in stacked.items():
        assert values.shape == (3, 2)
        assert values[2, 1] == classification_metrics(confusions[2, 1])[name]


def test_no_rows_give_nan_for_each_metric() -> None:
    empty = np.array([], int)
    found = classification_metrics(confusion_matrix(empty, empty, 3))
    assert set(found) == {"accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc"}
    assert all(np.isnan(value) for value in found.values())
    assert math.isnan(log_loss(empty, np.zeros((0, 3))))
    assert math.isnan(expected_calibration_error(empty, np.zeros((0, 3))))


def test_nan_probability_is_not_hidden() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, np.nan]])
    assert math.isnan(log_loss(np.array([0, 1]), probabilities))
    assert math.isnan(expected_calibration_error(np.array([0, 1]), probabilities))


def test_log_loss_of_a_certain_mistake_is_large_and_finite() -> None:
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(np.finfo(float).eps))


def test_calibration_error_by_hand() -> None:
    # Two rows at confidence 0.95, one right: gap 0.45. Two at 0.65, both right: gap 0.35. The mean is 0.4.
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35]])
    assert expected_calibration_error(np.array([0, 1, 0, 0]), probabilities) == pytest.approx(0.4)


def test_calibration_bins_are_closed_above() -> None:
    # With 2 bins 0.5 belongs to the lower one; in one bin with 0.6 the gaps of −0.5 and +0.4 would cancel to 0.05.
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])
    assert expected_calibration_error(np.array([1, 0]), probabilities, bins=2) == pytest.approx(0.45)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_ids_that_are_no_class_are_refused(labels: list) -> None:
    with pytest.raises(DataError, match="Class ids must"):
        confusion_matrix(np.array(labels), np.array([0, 1]), 3)


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="2 labels and 3 predictions"):
        confusion_matrix(np.array([0, 1]), np.array([0, 1, 1]), 2)
    with pytest.raises(DataError, match=r"found \[3, 2\]"):
        log_loss(np.array([0, 1]), np.full((3, 2), 0.5))


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'macro_f1'"):
        get_metric("macrof1")
    assert get_metric("log_loss").higher_is_better is False
    assert all(name == metric.name for name, metric in METRICS.items())


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_metrics_lie_in_their_range(rows: list[tuple[int, int]]) -> None:
    for name, value in metrics_of(rows).items():
        assert METRICS[name].minimum - 1e-12 <= value <= METRICS[name].maximum + 1e-12


@given(pairs, st.permutations(range(K)))
@settings(max_examples=60, deadline=None)
def test_renaming_classes_changes_nothing(rows: list[tuple[int, int]], names: list[int]) -> None:
    renamed = [(names[label], names[prediction]) for label, prediction in rows]
    assert metrics_of(renamed) == pytest.approx(metrics_of(rows), abs=1e-12)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_repeating_every_row_and_unused_classes_change_nothing(rows: list[tuple[int, int]]) -> None:
    assert metrics_of(rows * 3) == pytest.approx(metrics_of(rows), abs=1e-12)
    assert metrics_of(rows, k=K + 3) == pytest.approx(metrics_of(rows), abs=1e-12)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_margins_carry_all_that_is_needed(rows: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(rows).T
    confusion = confusion_matrix(labels, predictions, K)
    by_margins = margin_metrics(
        np.diag(confusion), np.bincount(labels, minlength=K), np.bincount(predictions, minlength=K)
    )
    assert {name: float(value) for name, value in by_margins.items()} == metrics_of(rows)
