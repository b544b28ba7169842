"""Our metrics against scikit-learn's, on random and on degenerate labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics as reference

from trimtab.metrics.classification import (
    classification_metrics,
    confusion_matrix,
    log_loss,
    per_class_metrics,
)

K = 5
RANDOM = np.random.default_rng(7)
CASES = {
    "random": (RANDOM.integers(K, size=200), RANDOM.integers(K, size=200)),
    "mostly right": (labels := RANDOM.integers(K, size=300), np.where(RANDOM.random(300) < 0.9, labels, 0)),
    "perfect": (np.arange(K), np.arange(K)),
    "all wrong": (np.zeros(4, int), np.ones(4, int)),
    "class absent in labels": (np.array([0, 1, 1, 3]), np.array([0, 2, 1, 3])),
    "class absent in predictions": (np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1])),
    "single class": (np.zeros(6, int), np.zeros(6, int)),
    "constant predictions": (np.array([0, 1, 2, 3, 4, 4]), np.full(6, 4)),
    "one row": (np.array([3]), np.array([1])),
}


@pytest.mark.parametrize("case", CASES)
def test_metrics_equal_sklearn(case: str) -> None:
    labels, predictions = CASES[case]
    found = classification_metrics(confusion_matrix(labels, predictions, K))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": reference.accuracy_score(labels, predictions),
            "macro_f1": reference.f1_score(labels, predictions, average="macro", zero_division=0),
            "weighted_f1": reference.f1_score(labels, predictions, average="weighted", zero_division=0),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, predictions),
            "mcc": reference.matthews_corrcoef(labels, predictions),
        }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_confusion_and_per_class_equal_sklearn(case: str) -> None:
    labels, predictions = CASES[case]
    confusion = confusion_matrix(labels, predictions, K)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(labels, predictions, labels=range(K)))
    precision, recall, f1, rows = reference.precision_recall_fscore_support(
        labels, predictions, labels=range(K), zero_division=0
    )
    found = per_class_metrics(confusion)
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "rows": rows}.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_equals_sklearn(dtype: type) -> None:
    labels = RANDOM.integers(K, size=100)
    probabilities = RANDOM.dirichlet(np.ones(K), 100).astype(dtype)
    probabilities[:3] = np.eye(K, dtype=dtype)[labels[:3]]
    probabilities[3] = np.eye(K, dtype=dtype)[(labels[3] + 1) % K]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.log_loss(labels, probabilities, labels=range(K))
    assert log_loss(labels, probabilities) == pytest.approx(expected, rel=1e-6)
