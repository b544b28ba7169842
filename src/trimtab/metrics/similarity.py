"""How alike two sets of representations, or two rankings, are: pure NumPy and SciPy functions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import DataError

Floats = NDArray[np.floating[Any]]

CHUNK_ELEMENTS = 1 << 21


def linear_cka(first: Floats, second: Floats, *, debiased: bool = False) -> float:
    """Linear centred kernel alignment of two representations of the same rows.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv 1905.00414, equation 4 with
    the linear kernel, in its feature-space form: |Y'X|² / (|X'X| |Y'Y|) in Frobenius norms, columns centred. It does
    not change when a representation is rotated, scaled or shifted.

    With fewer rows than features the value is large for unrelated representations too (about d / (d + n) for noise).
    `debiased` takes the unbiased estimator of HSIC (Song et al. 2012, "Feature Selection via Dependence Maximization",
    equation 5; for CKA Nguyen et al. 2021, arXiv 2010.15327, equation 3), which is 0 on average for unrelated ones, and
    can fall slightly below 0.

    Args:
        first: `[rows, features]`.
        second: `[rows, other features]`.
        debiased: use the unbiased estimator of HSIC.

    Returns:
        1 for representations that are the same but for rotation, scale and shift. NaN where a representation is the
        same for all rows or holds NaN or infinity, with fewer than 2 rows (4 debiased), or where the estimated
        variance is not positive.

    Raises:
        DataError: the numbers of rows differ.
    """
    if len(first) != len(second):
        raise DataError(
            f"Representations of {len(first)} and of {len(second)} rows cannot be compared.",
            remedy="Give representations of the same rows, in the same order.",
        )
    if len(first) < (4 if debiased else 2) or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    # Asked of the values themselves: rounding leaves a constant column something after centring.
    if not (np.ptp(first, axis=0).any() and np.ptp(second, axis=0).any()):
        return float("nan")
    x, y = _centred(first), _centred(second)
    between, within_x, within_y = (_hsic(a, b, debiased) for a, b in ((x, y), (x, x), (y, y)))
    if min(within_x, within_y) <= 0:
        return float("nan")
    return float(between / np.sqrt(within_x * within_y))


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank.

    Args:
        first: `[n]`.
        second: `[n]`.

    Returns:
        A value in [-1, 1]; NaN with fewer than 2 rows, where all values are equal, or where one is not finite.

    Raises:
        DataError: the lengths differ.
    """
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} and {len(second)} values cannot be ranked against each other.",
            remedy="Give a value of both for each row.",
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    ranks = (_ranks(np.asarray(values, np.float64)) for values in (first, second))
    return float(_pearson(*ranks)) if len(first) > 1 else float("nan")


def _ranks(values: Any, axis: int | None = None) -> Floats:
    """Ranks from 1, ties sharing their mean."""
    from scipy.stats import rankdata  # half a second to import: not before it is needed

    ranks: Floats = rankdata(values, axis=axis)
    return ranks


def resample_spearman(
    target: Floats, predictions: dict[str, Floats], samples: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Spearman's correlation of several predictions with a target, on the same resamples of the rows.

    Args:
        target: `[n]`.
        predictions: name -> values, `[n]`.
        samples: number of resamples, each of n rows drawn with replacement.
        rng: source of randomness.

    Returns:
        Name -> float64 `[samples]`; NaN where the rows drawn have all the same value, or without rows.
    """
    rows = len(target)
    values = {name: np.full(samples, np.nan) for name in predictions}
    step = max(1, CHUNK_ELEMENTS // max(rows, 1))
    for start in range(0, samples if rows else 0, step):
        drawn = rng.integers(rows, size=(min(step, samples - start), rows))
        goal = _ranks(np.asarray(target)[drawn], axis=1)
        for name, prediction in predictions.items():
            ranks = _ranks(np.asarray(prediction)[drawn], axis=1)
            values[name][start : start + len(drawn)] = _pearson(goal, ranks)
    return values


def cosines(vectors: Floats) -> Floats:
    """Cosine of every two rows, row by row above the diagonal, float64 `[n (n − 1) / 2]`; 0 with a row of zeros.

    Args:
        vectors: `[n, features]`.
    """
    directions = _directions(vectors)
    return (directions @ directions.T)[np.triu_indices(len(directions), k=1)]


def paired_cosines(first: Floats, second: Floats) -> Floats:
    """Cosine of each row of one with the same row of the other, float64 `[n]`; 0 with a row of zeros.

    Args:
        first: `[n, features]`.
        second: `[n, features]`.
    """
    return np.einsum("ij,ij->i", _directions(first), _directions(second))


def resample_agreement(first: Floats, second: Floats, rows: int, samples: int, rng: np.random.Generator) -> Floats:
    """Spearman's correlation of two lists of pairwise similarities, on resamples of the rows that make the pairs.

    Pairs share rows, so that drawing pairs would give too narrow an interval. A pair counts as often as the product of
    the times that its two rows were drawn; a row is not paired with itself. Ranks are those among all pairs, which
    makes the correlation a quadratic form in these times.

    Args:
        first: as `cosines` gives them, `[rows (rows − 1) / 2]`.
        second: the same of another model.
        rows: number of rows.
        samples: number of resamples.
        rng: source of randomness.

    Returns:
        Float64 `[samples]`; NaN where the pairs drawn are all alike.
    """
    one, other = (_ranks(values) for values in (first, second))
    # Centred, or the sums of squares of large ranks would lose their digits.
    one, other = one - one.mean(), other - other.mean()
    times = rng.multinomial(rows, np.full(rows, 1 / rows), size=samples).astype(np.float64)
    features = (np.ones_like(one), one, other, one * one, other * other, one * other)
    total, a, b, aa, bb, ab = (_over_pairs(values, times) for values in features)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement: Floats = (ab - a * b / total) / np.sqrt((aa - a * a / total) * (bb - b * b / total))
    return agreement


def _over_pairs(values: Floats, times: Floats) -> Floats:
    """Sum of a value over the pairs of rows, each weighted by how often both rows were drawn; `[samples]`."""
    rows = times.shape[1]
    matrix = np.zeros((rows, rows))
    matrix[np.triu_indices(rows, k=1)] = values
    return np.einsum("ij,ij->i", times @ matrix, times)


def _centred(values: Floats) -> Floats:
    double = np.asarray(values, dtype=np.float64)
    return double - double.mean(axis=0, keepdims=True)


def _hsic(x: Floats, y: Floats, debiased: bool) -> float:
    """HSIC with linear kernels, up to a factor that CKA cancels; x and y `[rows, features]`, centred.

    Debiased: the estimator of Song et al. without its n × n matrices, as in the code that Kornblith et al. published.
    """
    value = float(np.linalg.norm(y.T @ x) ** 2)
    if not debiased:
        return value
    n = len(x)
    rows_x, rows_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    return value - n / (n - 2) * float(rows_x @ rows_y) + float(rows_x.sum() * rows_y.sum()) / ((n - 1) * (n - 2))


def _directions(vectors: Floats) -> Floats:
    double = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(double, axis=1, keepdims=True)
    return np.divide(double, lengths, out=np.zeros_like(double), where=lengths > 0)


def _pearson(first: Floats, second: Floats) -> Floats:
    """Pearson's correlation along the last axis; NaN where one does not vary."""
    x = first - first.mean(axis=-1, keepdims=True)
    y = second - second.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return value
