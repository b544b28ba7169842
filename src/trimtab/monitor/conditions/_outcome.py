"""Whether a run learnt anything that holds beyond its training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trimtab.monitor.conditions._fit import share_error, validation_rows
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.trace import Evaluation, Trace, number

# Mean recall over the classes that a run must not be able to have had, above chance and as a share of what there is
# above it: it is ruled out with this certainty. Our choice.
LEAST_LEARNT = 0.20
SURE = 0.975
# Recall on training rows above that on validation rows, from which on rows were learnt by heart.
BY_HEART = 0.15
SURE_BY_HEART = 0.999


@dataclass(frozen=True)
class Nothing:
    """A run that learnt nothing general.

    Args:
        best: the highest mean recall on validation, with its standard error.
        chance: that of guessing.
        step: of the first evaluation at which rows were known by heart.
        held_in: accuracy on training rows there.
        accuracy: accuracy on validation rows there.
        sure: certainty that the best is below what counts as having learnt.
    """

    best: Estimate
    chance: float
    step: int
    held_in: float
    accuracy: float
    sure: float


def learns_nothing_general(trace: Trace) -> Nothing | None:
    """What shows that training rows are known by heart while validation stays at chance; None where that is not so."""
    recalls = [(evaluation, _mean_recall(evaluation)) for evaluation in trace.evaluations]
    known = [(evaluation, recall) for evaluation, recall in recalls if recall[0].known]
    if not known:
        return None
    best, classes = max((recall for _, recall in known), key=lambda recall: recall[0].value)
    if classes < 2:
        return None
    chance = 1 / classes
    sure = best.below(chance + LEAST_LEARNT * (1 - chance))
    if sure < SURE or best.below(chance + 3 * best.error) < 0.5:
        return None
    for evaluation, _ in known:
        value, held_in = evaluation.values.get("accuracy", math.nan), evaluation.held_in.get("accuracy", math.nan)
        rows, sample = validation_rows(trace, evaluation), number(evaluation.held_in.get("rows"))
        validation = Estimate(value, share_error(value, rows))
        gap = Estimate(held_in, share_error(held_in, sample)).minus(validation)
        if gap.value >= BY_HEART and gap.above(0.0) >= SURE_BY_HEART:
            return Nothing(best, chance, evaluation.step, held_in, value, sure)
    return None


def _mean_recall(evaluation: Evaluation) -> tuple[Estimate, int]:
    """Mean recall over the classes that have rows, with its standard error, and how many they are."""
    recall = evaluation.detail.get("recall") or []
    rows = [number(count) for count in evaluation.detail.get("label_rows") or []]
    pairs = [(number(share), count) for share, count in zip(recall, rows, strict=False) if count > 0]
    pairs = [(share, count) for share, count in pairs if math.isfinite(share)]
    if not pairs:
        return Estimate(math.nan, math.nan), 0
    # The classes' own shares are not known well with few rows: the pooled one gives the errors.
    pooled = sum(share * count for share, count in pairs) / sum(count for _, count in pairs)
    variances = [max(pooled * (1 - pooled), 0.01) / count for _, count in pairs]
    value = float(np.mean([share for share, _ in pairs]))
    return Estimate(value, math.sqrt(sum(variances)) / len(pairs)), len(pairs)
