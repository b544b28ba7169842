"""Percentile bootstrap of classification metrics (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", 13.3).

A resample draws n rows with replacement. Metrics of predictions depend on how often each combination (label,
prediction, predictions of the baselines) was drawn, and not on which of its rows: drawing rows uniformly makes these
counts multinomial, with the combinations' shares as probabilities. So the counts are drawn at once, a number a
combination instead of a number a row, and model and baselines are judged on the same resamples, which pairs them.

Log loss and calibration error depend on the single row, and get the row counts themselves. Work goes in chunks of
resamples, so that memory stays bounded whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import DataError
from trimtab.evaluation.result import Interval
from trimtab.metrics.classification import Floats, Ints, margin_metrics

CHUNK_ELEMENTS = 1 << 21


def resample_predictions(
    labels: Ints, predictions: dict[str, Ints], num_classes: int, samples: int, rng: np.random.Generator
) -> dict[str, dict[str, Floats]]:
    """Metrics of several predictors on the same resamples of the rows.

    Args:
        labels: true class ids, int [n].
        predictions: predictor name -> predicted class ids, int [n].
        num_classes: k.
        samples: number of resamples.
        rng: source of randomness.

    Returns:
        Predictor name -> metric name -> float64 [samples], in the same order of resamples for every predictor.

    Raises:
        DataError: there are no rows.
    """
    columns, counts = _joint_cells([labels, *predictions.values()], num_classes)
    truth, *guesses = columns
    parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in predictions}
    rows = int(counts.sum())
    for size in _chunks(samples, max(len(counts), num_classes)):
        drawn = rng.multinomial(rows, counts / rows, size=size)
        support = _sum_by_class(drawn, truth, num_classes)
        for name, guess in zip(predictions, guesses, strict=True):
            right = truth == guess
            hits = _sum_by_class(drawn[:, right], truth[right], num_classes)
            parts[name].append(margin_metrics(hits, support, _sum_by_class(drawn, guess, num_classes)))
    return {
        name: {metric: np.concatenate([chunk[metric] for chunk in chunks]) for metric in chunks[0]}
        for name, chunks in parts.items()
    }


def resample_probabilities(
    losses: Floats, bins: Ints, gaps: Floats, samples: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Log loss and expected calibration error on resamples of the rows.

    Both are linear in how often each row was drawn, up to the absolute value of each bin's sum.

    Args:
        losses: negative log-probability of the true class, float [n].
        bins: confidence bin of each row, int [n].
        gaps: hit − confidence of each row, float [n].
        samples: number of resamples.
        rng: source of randomness.

    Returns:
        `log_loss` and `ece`, each float64 [samples].

    Raises:
        DataError: there are no rows.
    """
    rows = len(losses)
    if not rows:
        raise _no_rows()
    members = [np.flatnonzero(bins == index) for index in np.unique(bins)]
    sums: dict[str, list[Floats]] = {"log_loss": [], "ece": []}
    for size in _chunks(samples, rows):
        draws = rng.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        times = np.bincount(draws.ravel(), minlength=size * rows).reshape(size, rows)
        sums["log_loss"].append(times @ losses)
        # Bin by bin, so that no table of rows × bins is held.
        sums["ece"].append(sum((np.abs(times[:, chosen] @ gaps[chosen]) for chosen in members), np.zeros(size)))
    return {name: np.concatenate(parts) / rows for name, parts in sums.items()}


def percentile_interval(value: float, resampled: Floats, confidence: float) -> Interval:
    """The central `confidence` share of the resampled values, stretched where needed to hold `value`.

    The calibration error of a resample is larger than that of the rows on average, because an absolute value never
    cancels: its interval may begin above the estimate, and is then stretched down to it, which leaves it too wide
    rather than too narrow.

    Args:
        value: the estimate on all rows.
        resampled: the estimate on each resample [samples]; NaN ones are left out.
        confidence: level in (0, 1).
    """
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(min(low, value)), float(max(high, value)))


def difference_interval(value: float, resampled: Floats, rows: int, confidence: float) -> Interval:
    """The interval of a difference of two predictors on the same rows.

    Where every row came out the same way (one of the two always right, the other never), resampling sees no spread. The
    share of such rows is then at least q, the exact bound, and the rest can at worst count the other way: 2q − 1.

    Args:
        value: the difference on all rows.
        resampled: the difference on each resample [samples].
        rows: n.
        confidence: level in (0, 1).
    """
    interval = percentile_interval(value, resampled, confidence)
    if value and interval.low == interval.high:
        kept = value * (2 * all_alike_bound(rows, confidence) - 1)
        interval = Interval(value, min(value, kept), max(value, kept))
    return interval


def all_alike_bound(rows: int, confidence: float) -> float:
    """Lower end of the exact binomial interval when all of `rows` rows came out the same way.

    Clopper and Pearson 1934: (alpha/2)^(1/n). Resampling cannot see an outcome that the rows do not hold, so its
    interval would have no width however few the rows.
    """
    return float(((1 - confidence) / 2) ** (1 / rows))


def _joint_cells(columns: list[Ints], num_classes: int) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
    """The distinct combinations of the columns (one array [cells] a column) and the rows of each [cells]."""
    rows = len(columns[0])
    if not rows:
        raise _no_rows()
    code = np.zeros(rows, np.int64)
    for column in columns:
        # Compacting at each column keeps codes below rows × classes, so that they cannot overflow.
        code = np.unique(code * num_classes + column, return_inverse=True)[1]
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return [np.asarray(column)[first] for column in columns], counts


def _sum_by_class(drawn: NDArray[Any], classes: NDArray[Any], num_classes: int) -> NDArray[Any]:
    """Sum the cells' counts [samples, cells] over cells of equal class -> [samples, k]."""
    totals = np.zeros((len(drawn), num_classes), np.int64)
    if len(classes):
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        totals[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return totals


def _chunks(samples: int, width: int) -> Iterator[int]:
    """Sizes of the chunks of resamples, each of at most `CHUNK_ELEMENTS` numbers."""
    step = max(1, CHUNK_ELEMENTS // max(width, 1))
    for start in range(0, samples, step):
        yield min(step, samples - start)


def _no_rows() -> DataError:
    return DataError(
        "There are no rows to evaluate on.",
        remedy="Check that the evaluation data are not empty and that their text and label columns are filled.",
    )
