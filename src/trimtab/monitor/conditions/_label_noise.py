"""The share of wrong labels, from how often a model is surely wrong about training rows.

A row that is hard is one that the model is unsure of. Where p is how sure the model is that its choice is right, rows
that are hard, and labelled rightly, go against the model at a rate that falls to 0 as its sureness grows; rows whose
label is wrong go against it however sure it is. Hence the curve of psychophysics with a floor, there called the lapse
rate (Wichmann & Hill 2001, Perception & Psychophysics 63:1293):

    P(label is not the choice | x) = floor + (1 - floor · k / (k - 1)) · (k - 1) / (exp(slope · x) + k - 1)

with x the log of the odds of the choice among k classes. The slope takes up that networks are too sure or not sure
enough; the floor is the estimate. Rows that were learnt by heart lower it, so that the estimate is from below.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trimtab.monitor.conditions._series import Floats
from trimtab.monitor.rows import RowRecord

FLOORS = np.array([0.0, 0.0025, 0.005, *np.arange(0.01, 0.41, 0.01)])
SLOPES = np.exp(np.linspace(np.log(0.1), np.log(15.0), 24))
# Half of the 95 % quantile of chi-squared with one degree of freedom: how far the log-likelihood may fall.
FALL_95 = 1.92
# The step of float16 below 1: probabilities nearer to 1 are kept as 1.
SMALLEST_HALF = 5e-4
# Lower end of the interval of a second epoch that confirms the first (our choice).
CONFIRMED_LOW = 0.02
# Of more rows, so many groups of neighbours in sureness stand for all.
GROUPS = 500
FEWEST_ROWS = 50
# Epochs that are looked at, after the first: there the model has met each row once, and later it knows rows by heart.
MOST_EPOCHS = 5
# Share of the rows that go against their label above which the model has not learnt enough to say (more than two
# classes start far above), and below which it knows nearly all rows by heart. Our choice.
MOST_AGAINST, LEAST_AGAINST = 0.45, 0.02
MOST_AGAINST_OUTSIDE = 0.65


@dataclass(frozen=True)
class Noise:
    """An estimated share of wrong labels.

    Args:
        share: of the rows, in [0, 0.4].
        low, high: 95 % interval by profile likelihood.
        gain: log-likelihood above that of no wrong label at all.
        epoch: index of the epoch that it is from.
        against: share of the rows that went against their label in that epoch.
        rows: rows that it is from.
        classes: how many there are.
        confirmed: whether another epoch has its interval above `CONFIRMED_LOW` too: one epoch of a model that has just
            begun to learn can look like wrong labels.
    """

    share: float
    low: float
    high: float
    gain: float
    epoch: int
    against: float
    rows: int
    classes: int
    confirmed: bool = True

    @property
    def is_bounded(self) -> bool:
        """Whether the interval ends below the largest share that can be estimated; else the model may know too little
        of the rows to tell wrong labels from hard rows."""
        return bool(self.high < FLOORS[-1])


def sureness(rows: RowRecord, epoch: int) -> tuple[Floats, NDArray[np.bool_]]:
    """How sure the model was of its choice for each row that it met, and whether the row's label goes against it.

    Sureness is the log of the odds of the choice against a class of the others on average: 0 where all classes are
    equally likely. `[seen]` each.
    """
    margin, probability = (part[epoch].astype(np.float64) for part in (rows.margin, rows.probability))
    seen = np.isfinite(margin) & np.isfinite(probability)
    margin, probability = margin[seen], probability[seen]
    chosen = np.clip(probability * np.exp(np.clip(-margin, 0, 20)), 1e-6, 1 - SMALLEST_HALF)
    odds = np.log(chosen / (1 - chosen)) + math.log(max(1, _classes(rows) - 1))
    return np.maximum(odds, 0.0), margin < 0


def floor_of(sure: Floats, against: NDArray[np.bool_], classes: int) -> tuple[float, float, float, float]:
    """The floor of the curve: best value, 95 % interval, and the log-likelihood above that of floor 0.

    Args:
        sure: from `sureness`, `[n]`.
        against: whether the label is not what the model chose, `[n]`.
        classes: how many there are.
    """
    order = np.argsort(sure, kind="stable")
    starts = np.linspace(0, len(sure), min(len(sure), GROUPS), endpoint=False).astype(np.int64)
    counts = np.diff(starts, append=len(sure))
    scaled = np.add.reduceat(sure[order], starts) / counts / max(float(np.median(sure)), 1e-9)
    contrary = np.add.reduceat(against[order].astype(np.float64), starts)
    return _floor_of(scaled.tobytes(), contrary.tobytes(), (counts - contrary).tobytes(), classes)


# A run is looked at after each evaluation, and an epoch that is over says the same each time.
@lru_cache(maxsize=32)
def _floor_of(
    scaled_bytes: bytes, contrary_bytes: bytes, agreeing_bytes: bytes, classes: int
) -> tuple[float, float, float, float]:
    scaled, contrary, agreeing = (np.frombuffer(part) for part in (scaled_bytes, contrary_bytes, agreeing_bytes))
    others = max(1, classes - 1)
    # A wrong label agrees with a model that guesses as often as a right one.
    kept = 1 - FLOORS[:, None] * (1 + 1 / others)
    best = np.full(len(FLOORS), -np.inf)
    for slope in SLOPES:
        unsure = others / (np.exp(np.minimum(slope * scaled, 50.0)) + others)
        chance = np.clip(FLOORS[:, None] + kept * unsure, 1e-9, 1 - 1e-9)
        best = np.maximum(best, np.log(chance) @ contrary + np.log1p(-chance) @ agreeing)
    top = int(best.argmax())
    inside = np.flatnonzero(best >= best[top] - FALL_95)
    return float(FLOORS[top]), float(FLOORS[inside[0]]), float(FLOORS[inside[-1]]), float(best[top] - best[0])


def usable_epochs(rows: RowRecord) -> list[int]:
    """Epochs that say something of the labels: once the model has learnt, before it knows the rows by heart."""
    margin = rows.margin[: MOST_EPOCHS + 1].astype(np.float64)
    found = []
    for epoch in range(1, len(margin)):
        seen = np.isfinite(margin[epoch])
        if seen.sum() >= max(FEWEST_ROWS, 0.9 * len(seen)):
            against = float((margin[epoch][seen] < 0).mean())
            if LEAST_AGAINST <= against <= MOST_AGAINST:
                found.append(epoch)
    return found


def estimate_noise(rows: RowRecord) -> Noise | None:
    """The estimate of the latest epoch that shows wrong labels for sure; None where no epoch can say anything.

    Early epochs estimate too much where there are many classes, and late ones too little: of those whose lower end
    reaches at least half of the highest one, the latest is taken.
    """
    found = []
    for epoch in usable_epochs(rows):
        sure, against = sureness(rows, epoch)
        share, low, high, gain = floor_of(sure, against, _classes(rows))
        found.append(Noise(share, low, high, gain, epoch, float(against.mean()), len(sure), _classes(rows)))
    highest = max((noise.low for noise in found), default=0.0)
    certain = [noise for noise in found if highest > 0 and noise.low >= highest / 2]
    if not certain:
        return max(found, key=lambda noise: noise.share, default=None)
    others = [noise for noise in found if noise is not certain[-1] and noise.low >= CONFIRMED_LOW]
    return replace(certain[-1], confirmed=bool(others))


def outside_noise(rows: RowRecord) -> Noise | None:
    """The estimate from what a classifier of the other rows says of each; None where that is not known.

    None of its rows were learnt by heart. With many classes the choice is seldom sure, and the floor takes in some of
    the rows that are merely hard: it is too high by up to a tenth there.
    """
    margin, sure, _ = rows.outside.astype(np.float64)
    known = np.isfinite(margin)
    if known.sum() < FEWEST_ROWS:
        return None
    against = margin[known] < 0
    if float(against.mean()) > MOST_AGAINST_OUTSIDE:
        return None
    share, low, high, gain = floor_of(sure[known], against, _classes(rows))
    return Noise(share, low, high, gain, 0, float(against.mean()), int(known.sum()), _classes(rows))


def suspicion(rows: RowRecord, epochs: list[int]) -> NDArray[np.float64]:
    """How much each row's label goes against the model, `[rows]`: the larger, the more.

    Where the view from outside is known, minus its margin; besides, minus the mean margin over the epochs, which is the
    area under the margin (Pleiss et al. 2020, arXiv 2001.10528). Margins of one source are divided by their median
    size: those of training grow as it goes on.
    """
    sources = [rows.margin[epoch].astype(np.float64) for epoch in epochs]
    known = np.isfinite(rows.outside[0])
    if known.any():
        # As much as all epochs together.
        sources += [rows.outside[0].astype(np.float64)] * max(1, len(epochs))
    if not sources:
        return np.full(len(rows.labels), -5.0)
    margin = np.stack(sources)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scale = np.nanmedian(np.abs(margin), axis=1, keepdims=True)
        scaled = np.clip(margin / np.maximum(np.nan_to_num(scale, nan=1.0), 1e-9), -5, 5)
        return np.nan_to_num(-np.nanmean(scaled, axis=0), nan=-5.0)


def suggested_labels(rows: RowRecord, epochs: list[int], which: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class that the model chose most often beside the row's own, `[which]`; -1 where it never chose another.

    Args:
        rows: the record.
        epochs: that are looked at.
        which: indices of the rows that are asked for.
    """
    outside = np.nan_to_num(rows.outside[2:, which], nan=-1).astype(np.int32)
    choices = np.concatenate([rows.predicted[epochs][:, which], outside])
    predicted = np.where(choices == rows.labels[which], -1, choices).astype(np.int64)
    result = np.full(len(which), -1, np.int64)
    for row in np.flatnonzero((predicted >= 0).any(axis=0)).tolist():
        others = predicted[:, row]
        result[row] = np.bincount(others[others >= 0]).argmax()
    return result


def _classes(rows: RowRecord) -> int:
    return max(2, int(rows.labels.max(initial=0)) + 1, int(rows.predicted.max(initial=0)) + 1)
