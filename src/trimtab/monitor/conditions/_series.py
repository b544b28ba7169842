"""Statistics of short, noisy series, which several conditions share.

Losses of single steps are noisy and sometimes heavy-tailed, fall steeply at first, and there may be twenty of them.
Hence medians in place of means where one value must not decide, scatter from neighbouring differences so that a trend
does not count as noise, and a standard error with every level and slope. What is not finite is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The standard deviation of a normal variable over its median absolute deviation.
MAD_TO_SD = 1.4826
# Points from which on a standard error means anything.
FEWEST_POINTS = 3


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error; both NaN where the points are too few.

    Args:
        value: the estimate.
        error: its standard error.
        freedom: degrees of freedom behind the error.
    """

    value: float
    error: float
    freedom: float = math.inf

    @property
    def known(self) -> bool:
        """Whether both are finite."""
        return math.isfinite(self.value) and math.isfinite(self.error)

    def above(self, threshold: float = 0.0) -> float:
        """Confidence in [0, 1] that the true value is above a threshold: 1 - p of a one-sided t test; 0 if unknown."""
        if not self.known:
            return 0.0
        if self.error <= 0:
            return 1.0 if self.value > threshold else 0.0
        return t_probability((self.value - threshold) / self.error, self.freedom)

    def below(self, threshold: float = 0.0) -> float:
        """Confidence in [0, 1] that the true value is below a threshold; 0 if unknown."""
        return Estimate(-self.value, self.error, self.freedom).above(-threshold)

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two independent estimates; freedom by Welch and Satterthwaite."""
        variances = (self.error**2, other.error**2)
        total = sum(variances)
        shares = sum(
            variance**2 / freedom
            for variance, freedom in zip(variances, (self.freedom, other.freedom), strict=True)
            if math.isfinite(freedom)
        )
        freedom = total**2 / shares if shares > 0 else math.inf
        return Estimate(self.value - other.value, math.sqrt(total), freedom)


UNKNOWN = Estimate(math.nan, math.nan)


def t_probability(t: float, freedom: float = math.inf) -> float:
    """P(T <= t) of Student's t; of the normal distribution where `freedom` is infinite."""
    if not math.isfinite(freedom):
        return 0.5 * math.erfc(-t / math.sqrt(2))
    from scipy.special import stdtr  # not before it is needed: a tenth of a second to import

    return float(stdtr(max(freedom, 1.0), t))


def finite(*columns: Floats) -> tuple[Floats, ...]:
    """The columns without the places at which any of them is not finite."""
    kept = np.logical_and.reduce([np.isfinite(column) for column in columns])
    return tuple(np.asarray(column, np.float64)[kept] for column in columns)


def median(values: Floats) -> float:
    """Median of the finite values; NaN of none."""
    (kept,) = finite(values)
    return _middle(kept) if len(kept) else math.nan


def _middle(values: Floats) -> float:
    """The median of finite values, a sixth of the time of `np.median`, which most of a look at a run went into."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half]) if len(ordered) % 2 else float(ordered[half - 1] + ordered[half]) / 2


def spread(values: Floats) -> float:
    """Robust standard deviation about the median, 1.4826 x MAD; NaN of fewer than three values."""
    (kept,) = finite(values)
    if len(kept) < FEWEST_POINTS:
        return math.nan
    return MAD_TO_SD * _middle(np.abs(kept - _middle(kept)))


def scatter(values: Floats) -> float:
    """Robust standard deviation about the trend, from differences of neighbours; NaN of fewer than four values.

    A difference of two independent values has √2 times their deviation. Where neighbours depend on each other, it is
    too small.
    """
    (kept,) = finite(values)
    if len(kept) < FEWEST_POINTS + 1:
        return math.nan
    return spread(np.diff(kept)) / math.sqrt(2)


def level(values: Floats) -> Estimate:
    """Mean of the finite values with its standard error.

    Where neighbours are alike (a trend, or slow waves), the values count for fewer: n (1 - r) / (1 + r) with the
    autocorrelation r at lag one, where r is above 0.
    """
    (kept,) = finite(values)
    count = len(kept)
    if count < FEWEST_POINTS:
        return UNKNOWN
    effective = count * _independent_share(kept - kept.mean())
    error = float(kept.std(ddof=1)) / math.sqrt(effective)
    return Estimate(float(kept.mean()), error, max(1.0, effective - 1))


def slope(steps: Floats, values: Floats) -> Estimate:
    """Change of the values per step by least squares, with a standard error that minds autocorrelation.

    The error is that of independent residuals over √((1 - r) / (1 + r)), with r the residuals' autocorrelation at lag
    one where that is above 0.
    """
    steps, values = finite(np.asarray(steps, np.float64), np.asarray(values, np.float64))
    if len(steps) < FEWEST_POINTS:
        return UNKNOWN
    centred = steps - steps.mean()
    width = float((centred**2).sum())
    if width == 0:
        return UNKNOWN
    value = float((centred * values).sum()) / width
    residuals = values - values.mean() - value * centred
    freedom = len(steps) - 2
    share = _independent_share(residuals)
    error = math.sqrt(float((residuals**2).sum()) / freedom / width / share)
    return Estimate(value, error, max(1.0, share * len(steps) - 2))


def smoothed(values: Floats, window: int) -> Floats:
    """Median of each value and the `window` - 1 before it, `[n]`; NaN where none of them is finite."""
    rolling = pd.Series(np.where(np.isfinite(values), values, np.nan)).rolling(window, min_periods=1)
    return rolling.median().to_numpy(np.float64)


def averaged(values: Floats, decay: float) -> Floats:
    """Exponential moving average from the first finite value on, `[n]`; NaN before it. NaN values change nothing."""
    known = pd.Series(np.where(np.isfinite(values), values, np.nan))
    return known.ewm(alpha=1 - decay, adjust=False, ignore_na=True).mean().to_numpy(np.float64)


def since(steps: Floats, holds: Sequence[bool] | NDArray[np.bool_]) -> int | None:
    """The first step from which on something holds to the end; None where it does not hold at the end."""
    flags = np.asarray(holds, bool)
    if not len(flags) or not flags[-1]:
        return None
    broken = np.flatnonzero(~flags)
    return int(steps[broken[-1] + 1 if len(broken) else 0])


def window_of(count: int, share: float = 0.2, *, least: int = 5, most: int = 100) -> int:
    """Points to look at together: a share of all, within limits, and never more than there are."""
    return max(0, min(count, most, max(least, round(share * count))))


def _independent_share(residuals: Floats) -> float:
    """How many independent values each value is worth, in (0, 1], by the autocorrelation at lag one."""
    total = float((residuals**2).sum())
    if total <= 0 or len(residuals) < FEWEST_POINTS:
        return 1.0
    correlation = float((residuals[1:] * residuals[:-1]).sum()) / total
    share = (1 - correlation) / (1 + correlation) if correlation > 0 else 1.0
    return max(share, 1.0 / len(residuals), 0.02)
