"""What judging needs of class probabilities, a few numbers a row, so that memory does not grow with the classes.

Where rows × classes are few, the probabilities themselves are kept beside. All metrics are computed from the few
numbers in either case, so that both forms give the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import DataError
from trimtab.metrics.classification import (
    Floats,
    Ints,
    calibration_gaps_of,
    class_ids,
    classification_metrics,
    confusion_matrix,
    log_losses_of,
)

FULL_BYTES = 256 << 20
"""Most bytes of probabilities that are kept whole."""
TOP_CLASSES = 5


@dataclass(frozen=True)
class Scores:
    """A model's class probabilities for n rows, as far as they are needed to judge it and to write predictions.

    Args:
        num_classes: k.
        predicted: the likeliest class, the lowest id where several are, int64 [n].
        confidence: its probability, float [n].
        true_probability: probability of the true class, float [n]; None where the rows have no labels.
        finite: whether all probabilities of the row are finite, bool [n].
        top_ids: the likeliest classes, the likeliest first, int32 [n, min(5, k)].
        top_probabilities: their probabilities, float [n, min(5, k)].
        probabilities: all of them, float [n, k]; None where they are too many to keep.
    """

    num_classes: int
    predicted: NDArray[np.int64]
    confidence: Floats
    true_probability: Floats | None
    finite: NDArray[np.bool_]
    top_ids: NDArray[np.int32]
    top_probabilities: Floats
    probabilities: Floats | None

    def __len__(self) -> int:
        return len(self.predicted)

    @classmethod
    def of(cls, probabilities: Floats, labels: Ints | None = None) -> Scores:
        """The scores of probabilities [n, k]; the probabilities stay beside, not copied.

        Args:
            probabilities: float [n, k].
            labels: true class ids, int [n], in [0, k); None where they are not known.
        """
        values = np.asarray(probabilities)
        ids, top = _top(values)
        predicted = values.argmax(axis=1) if len(values) else np.zeros(0, np.int64)
        rows = np.arange(len(values))
        return cls(
            num_classes=values.shape[1],
            predicted=predicted.astype(np.int64),
            confidence=values[rows, predicted],
            true_probability=None if labels is None else values[rows, class_ids(labels, values.shape[1])],
            finite=np.asarray(np.isfinite(values).all(axis=1)),
            top_ids=ids,
            top_probabilities=top,
            probabilities=values,
        )

    @classmethod
    def empty(cls, rows: int, num_classes: int, *, labelled: bool, keep_bytes: int | None = FULL_BYTES) -> Scores:
        """Room for the scores of so many rows, to be filled with `put`, in float32.

        Args:
            rows: n.
            num_classes: k.
            labelled: whether the true classes are known.
            keep_bytes: all probabilities are kept where they take at most so many bytes; always when None.
        """
        top = min(TOP_CLASSES, num_classes)
        keep = keep_bytes is None or rows * num_classes * 4 <= keep_bytes
        return cls(
            num_classes=num_classes,
            predicted=np.zeros(rows, np.int64),
            confidence=np.zeros(rows, np.float32),
            true_probability=np.zeros(rows, np.float32) if labelled else None,
            finite=np.ones(rows, bool),
            top_ids=np.zeros((rows, top), np.int32),
            top_probabilities=np.zeros((rows, top), np.float32),
            probabilities=np.zeros((rows, num_classes), np.float32) if keep else None,
        )

    def put(self, rows: NDArray[Any], part: Scores) -> None:
        """Set the scores of the rows `rows` (int [m]) to those of `part` (m rows)."""
        for name, own in self._arrays().items():
            own[rows] = getattr(part, name)

    def take(self, rows: NDArray[Any]) -> Scores:
        """The scores of certain rows, int [m], in their order."""
        return replace(self, **{name: own[rows] for name, own in self._arrays().items()})

    def reduced(self) -> Scores:
        """The same without the probabilities of all classes."""
        return replace(self, probabilities=None)

    @property
    def margins(self) -> Floats:
        """How far the likeliest class is ahead of the next, float [n]; infinite where there is one class only."""
        if self.num_classes < 2:
            return np.full(len(self), np.inf, np.float32)
        return np.asarray(self.top_probabilities[:, 0] - self.top_probabilities[:, 1])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


def as_scores(given: Scores | Floats, labels: Ints | None = None) -> Scores:
    """`given` as scores that know the true classes, where `labels` names them.

    Args:
        given: scores, or probabilities [n, k].
        labels: true class ids, int [n].

    Raises:
        DataError: the scores were made without labels, and the probabilities are not kept; or an id is out of range.
    """
    if not isinstance(given, Scores):
        return Scores.of(given, labels)
    if labels is None or given.true_probability is not None:
        return given
    if given.probabilities is None:
        raise DataError("These scores were made without labels, so that nothing is known of the true classes.")
    return Scores.of(given.probabilities, labels)


def score_metrics(labels: Ints, scores: Scores) -> dict[str, float]:
    """All metrics of classification.

    Args:
        labels: true class ids, int [n], those that the scores were made with.
        scores: of the same n rows.

    Returns:
        Metric name -> value; NaN where there are no rows, and for loss and calibration where a probability is NaN.
    """
    confusion = confusion_matrix(labels, scores.predicted, scores.num_classes)
    values = {name: float(value) for name, value in classification_metrics(confusion).items()}
    losses, (bins, gaps) = score_log_losses(scores), score_calibration_gaps(labels, scores)
    values["log_loss"] = float(losses.mean()) if len(losses) else float("nan")
    usable = len(gaps) and not np.isnan(scores.confidence).any()
    values["ece"] = float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)) if usable else float("nan")
    return values


def score_log_losses(scores: Scores) -> Floats:
    """Negative log-probability of the true class, a row each, in nats, float64 [n]; see `row_log_losses`.

    Raises:
        DataError: the scores were made without labels.
    """
    if scores.true_probability is None:
        raise DataError("These scores were made without labels, so that they have no loss.")
    return log_losses_of(scores.true_probability)


def score_calibration_gaps(labels: Ints, scores: Scores) -> tuple[NDArray[np.int64], Floats]:
    """The bin of each row's confidence, and hit − confidence, each [n]; see `calibration_gaps`."""
    return calibration_gaps_of(scores.predicted == class_ids(labels, scores.num_classes), scores.confidence)


def _top(values: Floats) -> tuple[NDArray[np.int32], Floats]:
    """The likeliest classes of each row and their probabilities, the lowest id first among equals."""
    rows, count = np.arange(len(values)), min(TOP_CLASSES, values.shape[1])
    ids = np.zeros((len(values), count), np.int32)
    if not len(values):
        return ids, np.zeros((0, count), values.dtype)
    left = values.copy()
    for place in range(count):
        ids[:, place] = left.argmax(axis=1)
        left[rows, ids[:, place]] = -np.inf
    return ids, np.take_along_axis(values, ids.astype(np.int64), axis=1)
