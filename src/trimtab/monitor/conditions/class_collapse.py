"""Class collapse: nearly all rows are predicted as one class, or classes are never predicted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say, together
from trimtab.monitor.conditions._fit import delivered_index, evaluation_losses, has_ended, label_name, wilson
from trimtab.monitor.conditions._series import since
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Evaluation, Trace, number

# Share of the planned steps before which a healthy run may still predict one class (seen at up to 30 % in small runs).
EARLY, LATE = 0.4, 0.6
# Predictions of one class from which on it counts as a collapse, and the share of rows that it may hold itself.
COLLAPSED, LARGEST_SHARE = 0.95, 0.90
# Rows in all, and of a class that is never predicted, below which nothing is said.
FEWEST_ROWS, FEWEST_OF_CLASS = 20, 5
# A class with fewer training rows than this share of the mean is rare, and a matter of `class_imbalance`.
RARE = 0.5
# The training loss as a share of that of guessing, above which a collapsed model has learned nothing (our choice).
NOT_LEARNED = 0.9
# The same, below which the training rows are fitted, so that a class that is left out is news (our choice).
FITTED = 0.6
SURE = 0.95


@CONDITIONS.register("class_collapse")
class ClassCollapse(Condition):
    """The model predicts one class for nearly all rows, or never predicts some that are not rare."""

    title = "Class collapse and majority-class prediction"
    rule = (
        "From 60 % of the planned steps on (`info` from 40 %), 95 % of the validation rows are predicted as one class "
        "that holds at most 90 % of them (`act` where it was so at the evaluation before, too, or at the end, and the "
        "loss on training rows is above 90 % of that of guessing; `info` where that loss is lower and still falls); "
        "or, from 60 % on, a class with at least half the mean number of training rows and 5 validation rows is never "
        "predicted (`info` where the training rows are not fitted either)."
    )
    source = "Our rule; entropy of predictions as in SageMaker Debugger's ClassImbalance"
    needs = ("classes",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding, from the newest evaluation."""
        last = trace.evaluations[-1] if trace.evaluations else None
        total = trace.facts.total_steps
        ended = has_ended(trace)
        share = 1.0 if ended or not total else last.step / total if last else 0.0
        if last is None or share < EARLY or sum(_counts(last, "predicted")) < FEWEST_ROWS:
            return
        if _is_collapsed(last):
            yield _collapse(trace, last, late=share >= LATE, ended=ended)
        elif share >= LATE:
            never = _never_predicted(trace, last)
            if never:
                yield _unpredicted(trace, last, never)


def _collapse(trace: Trace, last: Evaluation, *, late: bool, ended: bool) -> Finding:
    predicted, rows = _counts(last, "predicted"), _counts(last, "label_rows")
    top = int(np.argmax(predicted))
    share, true_share = predicted[top] / sum(predicted), rows[top] / max(1.0, sum(rows))
    start = since(
        np.asarray([evaluation.step for evaluation in trace.evaluations], np.float64),
        [_is_collapsed(evaluation) for evaluation in trace.evaluations],
    )
    learned = _has_learned(trace, len(trace.evaluations) - 1)
    learning = learned and _still_falls(trace)
    again = len(trace.evaluations) > 1 and _is_collapsed(trace.evaluations[-2])
    delivered = delivered_index(trace)
    spared = (
        delivered is not None and not _is_collapsed(trace.evaluations[delivered]) and _has_learned(trace, delivered)
    )
    grave = late and (again or ended) and not learned and not spared
    return Finding(
        "class_collapse",
        "act" if grave else "info" if learning or not late else "warning",
        together(
            say(
                "At step {step:,}, {share:.0%} of the validation rows are predicted as {label!r}, which only "
                "{true_share:.0%} of them are{learning}.",
                step=last.step,
                share=share,
                label=label_name(trace, top),
                true_share=true_share,
                learning=say(", but the loss on training rows is still falling") if learning else "",
            ),
            say("The weights that are kept are of an evaluation before that.") if spared else "",
        ),
        since=start if start is not None else last.step,
        evidence={
            "class": label_name(trace, top),
            "predicted_share": share,
            "true_share": true_share,
            "rows": int(sum(predicted)),
            "predicted_entropy": number(last.detail.get("predicted_entropy")),
            "still_learning": learning,
        },
        remedy=say("Train longer.") if learning else say("Lower the learning rate and lengthen the warm-up."),
        change=_longer(trace) if learning else _gentler(trace),
        series=(_top_share(trace),),
        # That more than the class's own share of rows is predicted as it: by Wilson's interval of the predictions.
        confidence=SURE if wilson(predicted[top], sum(predicted))[0] > true_share else 0.5,
    )


def _unpredicted(trace: Trace, last: Evaluation, never: list[int]) -> Finding:
    rows = _counts(last, "label_rows")
    named = ", ".join(f"{label_name(trace, index)!r}" for index in never[:5]) + (" …" if len(never) > 5 else "")
    missed = sum(rows[index] for index in never)
    losses, chance = evaluation_losses(trace), trace.facts.chance
    # A model that does not fit its training rows either has a larger fault, which `underfitting` tells.
    fitted = not chance or not len(losses) or not losses.fitted[-1] >= FITTED * chance
    return Finding(
        "class_collapse",
        "warning" if fitted else "info",
        say(
            "At step {step:,}, {never} of {classes} classes ({named}) are predicted for no validation row, though "
            "{missed:.0f} of {rows:.0f} rows belong to them and they are not rare in training.",
            step=last.step,
            never=len(never),
            classes=len(rows),
            named=named,
            missed=missed,
            rows=sum(rows),
        ),
        since=last.step,
        evidence={
            "never_predicted": {label_name(trace, index): int(rows[index]) for index in never},
            "rows": int(sum(rows)),
            "predicted_entropy": number(last.detail.get("predicted_entropy")),
        },
        remedy=say("Train longer; if the classes stay out, look whether their rows can be told from others."),
        change=_longer(trace),
        series=(_top_share(trace),),
        # Chance that a class predicted as often as it occurs is drawn for none of the rows: exp(-rows).
        confidence=1 - math.exp(-missed),
    )


def _is_collapsed(evaluation: Evaluation) -> bool:
    predicted, rows = _counts(evaluation, "predicted"), _counts(evaluation, "label_rows")
    if not sum(predicted) or len(predicted) != len(rows) or len(rows) < 2 or not sum(rows):
        return False
    top = int(np.argmax(predicted))
    return predicted[top] / sum(predicted) >= COLLAPSED and rows[top] / sum(rows) <= LARGEST_SHARE


def _never_predicted(trace: Trace, last: Evaluation) -> list[int]:
    predicted, rows = _counts(last, "predicted"), _counts(last, "label_rows")
    train: list[float] = [float(count) for count in trace.facts.label_counts.get("train", ())]
    if len(predicted) != len(rows) or len(train) != len(rows):
        return []
    usual = RARE * sum(train) / max(1, len(train))
    return [
        index
        for index, count in enumerate(predicted)
        if count == 0 and rows[index] >= FEWEST_OF_CLASS and train[index] >= usual
    ]


def _has_learned(trace: Trace, index: int) -> bool:
    """Whether the loss on training rows was well below that of guessing; not where it is not known."""
    losses, chance = evaluation_losses(trace), trace.facts.chance
    if not chance or index not in losses.index:
        return False
    return bool(losses.fitted[losses.index.index(index)] < NOT_LEARNED * chance)


def _still_falls(trace: Trace) -> bool:
    """Whether the loss on training rows fell beyond noise since the evaluation before."""
    losses = evaluation_losses(trace)
    return len(losses) > 1 and losses.fall(len(losses) - 2, len(losses) - 1).above() >= SURE


def _counts(evaluation: Evaluation, name: str) -> list[float]:
    found = [number(count) for count in evaluation.detail.get(name) or ()]
    return [count if math.isfinite(count) else 0.0 for count in found]


def _top_share(trace: Trace) -> Curve:
    steps: list[float] = [evaluation.step for evaluation in trace.evaluations]
    counts = [_counts(evaluation, "predicted") for evaluation in trace.evaluations]
    shares = [max(found) / sum(found) if sum(found) else math.nan for found in counts]
    return Curve(say("share of the class predicted most"), steps, shares)


def _longer(trace: Trace) -> dict[str, Any]:
    epochs = trace.facts.num_epochs
    return {"training.num_epochs": max(2, math.ceil(2 * epochs))} if epochs else {}


def _gentler(trace: Trace) -> dict[str, Any]:
    rate = trace.facts.learning_rate
    return {"optimizer.learning_rate": float(f"{rate / 3:.2g}")} if rate else {}
