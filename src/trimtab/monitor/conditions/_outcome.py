"""Whether a run learnt anything that holds beyond its training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trimtab.monitor.conditions._fit import evaluation_losses, share_error, validation_rows
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.trace import Evaluation, Trace, number

# Mean recall over the classes, as a share of the way from chance to 1, below which the run must be with this certainty.
# Our choice.
LEAST_LEARNT = 0.30
SURE = 0.975
# Certainty that the validation loss was once below that of guessing, from which on something was learnt. Our choice.
SURE_OF_LOSS = 0.95
# Recall on training rows above that on validation rows, from which on rows were learnt by heart.
BY_HEART = 0.15
SURE_BY_HEART = 0.999
# Training rows from which on anything is proved; and standard errors of the share of the largest class by which a
# classifier of the other rows must be better to show a relation. Our choice.
FEWEST_ROWS = 150
RELATED_ERRORS = 2.0


@dataclass(frozen=True)
class Nothing:
    """A run that learnt nothing general.

    Args:
        recall: mean recall on validation rows from there on, over classes and evaluations, with its standard error.
        chance: that of guessing.
        step: of the first evaluation at which rows were known by heart.
        held_in: accuracy on training rows there.
        accuracy: accuracy on validation rows there.
        sure: certainty that it is below what counts as having learnt.
    """

    recall: Estimate
    chance: float
    step: int
    held_in: float
    accuracy: float
    sure: float


def learns_nothing_general(trace: Trace) -> Nothing | None:
    """What shows that training rows are known by heart while validation stays at chance; None where that is not so."""
    known = [(evaluation, *_mean_recall(evaluation)) for evaluation in trace.evaluations]
    known = [found for found in known if found[1].known and found[2] >= 2]
    if not _may_be_unrelated(trace):
        return None
    first = next((place for place, found in enumerate(known) if _by_heart(trace, found[0])), None)
    if first is None or _below_guessing(trace) >= SURE_OF_LOSS:
        return None
    later = known[first:]
    # All are of the same rows: their errors do not average out.
    recall = Estimate(
        float(np.mean([found[1].value for found in later])), float(np.mean([found[1].error for found in later]))
    )
    evaluation, _, classes = later[0]
    chance = 1 / classes
    sure = recall.below(chance + LEAST_LEARNT * (1 - chance))
    if sure < SURE or recall.value > chance + 3 * recall.error:
        return None
    held_in, accuracy = evaluation.held_in["accuracy"], evaluation.values["accuracy"]
    return Nothing(recall, chance, evaluation.step, held_in, accuracy, sure)


def _may_be_unrelated(trace: Trace) -> bool:
    """Whether the labels may have no relation to the rows: a classifier of the other rows does not find one.

    Few rows are no proof: a weak model learns them by heart, too.
    """
    rows = trace.rows
    if (trace.facts.rows.get("train") or 0) < FEWEST_ROWS:
        return False
    known = np.zeros(0, bool) if rows is None else np.isfinite(rows.outside[0])
    if rows is None or not known.any():
        return True
    hits = float((rows.outside[0][known] > 0).mean())
    majority = float(np.bincount(rows.labels[known]).max() / known.sum())
    return hits <= majority + RELATED_ERRORS * share_error(majority, float(known.sum()))


def _by_heart(trace: Trace, evaluation: Evaluation) -> bool:
    """Whether the accuracy on training rows is far above that on validation rows."""
    value, held_in = evaluation.values.get("accuracy", math.nan), evaluation.held_in.get("accuracy", math.nan)
    rows, sample = validation_rows(trace, evaluation), number(evaluation.held_in.get("rows"))
    gap = Estimate(held_in, share_error(held_in, sample)).minus(Estimate(value, share_error(value, rows)))
    return gap.value >= BY_HEART and gap.above(0.0) >= SURE_BY_HEART


def _below_guessing(trace: Trace) -> float:
    """Certainty that some evaluation's validation loss is below that of guessing; 0 where losses are not known."""
    losses, guessing = evaluation_losses(trace), trace.facts.chance
    if guessing is None or not len(losses):
        return 0.0
    lowest = int(losses.validation.argmin())
    return Estimate(float(losses.validation[lowest]), float(losses.validation_error[lowest])).below(guessing)


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
