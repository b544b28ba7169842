"""Metrics of single-label classification: pure NumPy functions, without I/O or state.

Everything that depends on predictions alone comes from a confusion matrix, or from its diagonal and its two margins,
with any leading dimensions, so that thousands of bootstrap resamples are judged in one call. The conventions are those
of scikit-learn with `zero_division=0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import DataError, UnknownNameError, nearest

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Metric:
    """A metric that can be reported, chosen, or set as a target.

    Args:
        name: as written in recipes and results.
        higher_is_better: False for losses and errors.
        description: one line for help and reports.
        minimum, maximum: the range of possible values.
        from_confusion: whether predictions alone decide it (no probabilities needed).
        in_points: whether differences are told in points (hundredths).
    """

    name: str
    higher_is_better: bool
    description: str
    minimum: float = 0.0
    maximum: float = 1.0
    from_confusion: bool = True
    in_points: bool = True


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, "Share of rows predicted right."),
        Metric("macro_f1", True, "F1 averaged over classes, each counting the same, however rare."),
        Metric("weighted_f1", True, "F1 averaged over classes, each weighted by its rows."),
        Metric("balanced_accuracy", True, "Recall averaged over the classes that have rows."),
        Metric("mcc", True, "Matthews correlation: 1 perfect, 0 no better than chance.", -1.0, in_points=False),
        Metric(
            "log_loss",
            False,
            "Mean negative log-probability of the true class, in nats.",
            maximum=float("inf"),
            from_confusion=False,
            in_points=False,
        ),
        Metric(
            "ece",
            False,
            f"Expected calibration error: mean gap of confidence and accuracy over {CALIBRATION_BINS} bins.",
            from_confusion=False,
        ),
    )
}


def get_metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        UnknownNameError: there is none; the message offers the nearest.
    """
    if name not in METRICS:
        raise UnknownNameError(
            f"No metric is called {name!r}.{nearest(name, METRICS)}", remedy=f"Known: {', '.join(METRICS)}."
        )
    return METRICS[name]


def confusion_matrix(labels: Ints, predictions: Ints, num_classes: int) -> NDArray[np.int64]:
    """Count rows by true and predicted class.

    Args:
        labels: true class ids, int [n], in [0, num_classes).
        predictions: predicted class ids, int [n], in the same range.
        num_classes: k.

    Returns:
        Counts [k, k]; row = true class, column = predicted class. Zeros when n is 0.

    Raises:
        DataError: the lengths differ, or an id lies outside the range.
    """
    labels, predictions = class_ids(labels, num_classes), class_ids(predictions, num_classes)
    if labels.shape != predictions.shape:
        raise DataError(f"{len(labels)} labels and {len(predictions)} predictions cannot be compared.")
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return np.asarray(cells, np.int64).reshape(num_classes, num_classes)


def class_ids(values: Ints, num_classes: int) -> NDArray[np.int64]:
    """`values` as an int64 vector [n] of class ids.

    Raises:
        DataError: not a vector of whole numbers, or one lies outside [0, num_classes).
    """
    ids = np.asarray(values)
    if ids.size == 0:
        return np.zeros(0, np.int64)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(f"Class ids must be a vector of integers; found {ids.dtype} of shape {list(ids.shape)}.")
    if ids.min() < 0 or ids.max() >= num_classes:
        raise DataError(f"Class ids must lie in 0 … {num_classes - 1}; found {ids.min()} … {ids.max()}.")
    return np.asarray(ids, np.int64)


def classification_metrics(confusion: NDArray[Any]) -> dict[str, Floats]:
    """Accuracy, F1s, balanced accuracy and MCC of confusion matrices.

    Args:
        confusion: counts [..., k, k], row = true class.

    Returns:
        Metric name -> values [...]; see `margin_metrics`.
    """
    confusion = np.asarray(confusion)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return margin_metrics(hits, confusion.sum(axis=-1), confusion.sum(axis=-2))


def margin_metrics(hits: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any]) -> dict[str, Floats]:
    """The metrics of `classification_metrics` from the diagonal and the margins of a confusion matrix.

    Equal to scikit-learn's functions with `zero_division=0`: macro F1 averages over the classes that occur in labels or
    predictions, balanced accuracy over those that occur in labels, and MCC (Gorodkin 2004, "Comparing two K-category
    assignments by a K-category correlation coefficient", eq. 8) is 0 where labels or predictions are constant.

    Args:
        hits: rows predicted right, by class [..., k].
        support: rows by true class [..., k].
        predicted: rows by predicted class [..., k].

    Returns:
        Metric name -> float64 values [...]; NaN for all where there are no rows.
    """
    hits, support, predicted = (np.asarray(counts, np.float64) for counts in (hits, support, predicted))
    rows = support.sum(axis=-1)
    right = hits.sum(axis=-1)
    occurring = support + predicted > 0
    f1 = _ratio(2 * hits, support + predicted)
    chance = (support * predicted).sum(axis=-1)
    spread = (rows**2 - (predicted**2).sum(axis=-1)) * (rows**2 - (support**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        metrics = {
            "accuracy": right / rows,
            "macro_f1": f1.sum(axis=-1) / occurring.sum(axis=-1),
            "weighted_f1": (support * f1).sum(axis=-1) / rows,
            "balanced_accuracy": _ratio(hits, support).sum(axis=-1) / (support > 0).sum(axis=-1),
            "mcc": _ratio(right * rows - chance, np.sqrt(spread)),
        }
    return {name: np.where(rows > 0, value, np.nan) for name, value in metrics.items()}


def per_class_metrics(confusion: NDArray[Any]) -> dict[str, Floats]:
    """Precision, recall and F1 of each class, 0 where the denominator is 0.

    Args:
        confusion: counts [k, k], row = true class.

    Returns:
        `rows`, `precision`, `recall`, `f1`, each float64 [k].
    """
    confusion = np.asarray(confusion, np.float64)
    hits, support, predicted = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "rows": support,
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
    }


def row_log_losses(labels: Ints, probabilities: Floats) -> Floats:
    """Negative log-probability of the true class, a row each, in nats.

    Probabilities are clipped to [eps, 1 - eps] of their own type, as scikit-learn does, so that a single zero does not
    make the mean infinite.

    Args:
        labels: true class ids, int [n].
        probabilities: float [n, k], rows sum to 1.

    Returns:
        float64 [n]; NaN where the probability is NaN.
    """
    probabilities = _probabilities(labels, probabilities)
    if not len(probabilities):
        return np.zeros(0)
    return log_losses_of(probabilities[np.arange(len(probabilities)), class_ids(labels, probabilities.shape[1])])


def log_losses_of(true_probabilities: Floats) -> Floats:
    """`row_log_losses` from the probability of the true class of each row, float [n]."""
    own = _as_floats(true_probabilities)
    epsilon = np.finfo(own.dtype).eps
    return np.asarray(-np.log(np.clip(own, epsilon, 1 - epsilon).astype(np.float64)))


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Mean negative log-probability of the true class, in nats. NaN when n is 0 or a probability used is NaN.

    Args:
        labels: true class ids, int [n].
        probabilities: float [n, k], rows sum to 1.
    """
    losses = row_log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else float("nan")


def calibration_gaps(
    labels: Ints, probabilities: Floats, bins: int = CALIBRATION_BINS
) -> tuple[NDArray[np.int64], Floats]:
    """The bin of each row's confidence, and the gap between hit (0 or 1) and confidence.

    Bins are equal-width and open below, (0, 1/bins], (1/bins, 2/bins], …, as in Guo et al. 2017, "On Calibration of
    Modern Neural Networks".

    Args:
        labels: true class ids, int [n].
        probabilities: float [n, k], without NaN.
        bins: number of bins.

    Returns:
        Bin index int64 [n] and hit − confidence float64 [n].
    """
    probabilities = _probabilities(labels, probabilities)
    if not len(probabilities):
        return np.zeros(0, np.int64), np.zeros(0)
    hit = probabilities.argmax(axis=1) == class_ids(labels, probabilities.shape[1])
    return calibration_gaps_of(hit, probabilities.max(axis=1), bins)


def calibration_gaps_of(
    hits: NDArray[np.bool_], confidence: Floats, bins: int = CALIBRATION_BINS
) -> tuple[NDArray[np.int64], Floats]:
    """`calibration_gaps` from whether each row was predicted right, bool [n], and its confidence, float [n]."""
    confidence = np.asarray(confidence, np.float64)
    # A NaN falls into the lowest bin; the gap stays NaN.
    index = np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(np.int64) - 1, 0, bins - 1)
    return index, hits - confidence


def expected_calibration_error(labels: Ints, probabilities: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Gap between confidence and accuracy, averaged over confidence bins weighted by their rows (Guo et al. 2017).

    Args:
        labels: true class ids, int [n].
        probabilities: float [n, k], rows sum to 1.
        bins: number of equal-width bins.

    Returns:
        A value in [0, 1]; NaN when n is 0 or a probability is NaN.
    """
    if not len(labels) or np.isnan(probabilities).any():
        return float("nan")
    index, gap = calibration_gaps(labels, probabilities, bins)
    return float(np.abs(np.bincount(index, weights=gap, minlength=bins)).sum() / len(gap))


def _probabilities(labels: Ints, probabilities: Floats) -> Floats:
    """`probabilities` as float32 or float64 [n, k], one row for each label."""
    values = np.asarray(probabilities)
    if values.ndim != 2 or len(values) != len(labels):
        raise DataError(f"{len(labels)} labels need probabilities [{len(labels)}, k]; found {list(values.shape)}.")
    return _as_floats(values)


def _as_floats(values: Floats) -> Floats:
    """`values` as float32 or float64."""
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float32 if values.dtype.itemsize < 4 else float)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Element-wise quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator, np.float64), where=denominator > 0)
