"""The few numbers a row give the figures of all probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_engine

from trimtab.core.errors import DataError
from trimtab.metrics.classification import expected_calibration_error, log_loss
from trimtab.metrics.scores import Scores, as_scores, score_metrics

ROWS, CLASSES = 500, 30


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=ROWS)
    logits = (
        rng.normal(size=(ROWS, CLASSES))
        + 3 * (np.arange(CLASSES) == labels[:, None]) * (rng.random(ROWS) < 0.7)[:, None]
    )
    exponents = np.exp(logits)
    return labels, (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


def filled(labels: np.ndarray, probabilities: np.ndarray, keep_bytes: int | None) -> Scores:
    """Scores put together batch by batch, in a shuffled order."""
    found = Scores.empty(ROWS, CLASSES, labelled=True, keep_bytes=keep_bytes)
    for rows in np.array_split(np.random.default_rng(1).permutation(ROWS), 13):
        found.put(rows, Scores.of(probabilities[rows], labels[rows]))
    return found


def test_parts_put_together_are_the_scores_of_the_whole(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = data
    whole, found = Scores.of(probabilities, labels), filled(labels, probabilities, None)
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    np.testing.assert_array_equal(found.top_ids[:, 0], found.predicted)
    np.testing.assert_array_equal(found.top_probabilities, -np.sort(-probabilities, axis=1)[:, :5])
    np.testing.assert_array_equal(found.take(np.array([7, 3])).predicted, whole.predicted[[7, 3]])


def test_all_probabilities_are_kept_up_to_the_limit_and_not_beyond(data: tuple[np.ndarray, np.ndarray]) -> None:
    size = ROWS * CLASSES * 4
    assert filled(*data, keep_bytes=size).probabilities is not None
    assert filled(*data, keep_bytes=size - 1).probabilities is None


def test_reduced_scores_give_the_same_metrics(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = data
    expected = tiny_engine.make_task().__class__.metrics(
        type("Task", (), {"labels": range(CLASSES)})(), labels, probabilities
    )
    found = score_metrics(labels, filled(labels, probabilities, keep_bytes=0))
    assert found == expected
    assert found["log_loss"] == log_loss(labels, probabilities)
    assert found["ece"] == pytest.approx(expected_calibration_error(labels, probabilities), abs=1e-15)


def test_margins_and_a_single_class() -> None:
    scores = Scores.of(np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
    np.testing.assert_allclose(scores.margins, [0.2, 0.0])
    assert scores.predicted.tolist() == [1, 0]
    assert scores.top_ids.tolist() == [[1, 2, 0], [0, 2, 1]]
    assert np.isinf(Scores.of(np.ones((2, 1))).margins).all()


def test_a_row_with_nan_is_known() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, 0.5]])
    assert Scores.of(probabilities).finite.tolist() == [True, False]
    assert np.isnan(score_metrics(np.array([0, 0]), Scores.of(probabilities, np.array([0, 0])))["ece"])


def test_no_rows_and_unlabelled_rows() -> None:
    empty = Scores.of(np.zeros((0, 3)), np.zeros(0, int))
    assert len(empty) == 0 and np.isnan(score_metrics(np.zeros(0, int), empty)["log_loss"])
    unlabelled = Scores.of(np.full((2, 2), 0.5))
    assert unlabelled.true_probability is None
    assert as_scores(unlabelled, np.array([0, 1])).true_probability is not None
    with pytest.raises(DataError, match="made without labels"):
        as_scores(unlabelled.reduced(), np.array([0, 1]))
    with pytest.raises(DataError, match="no loss"):
        score_metrics(np.array([0, 1]), unlabelled)
