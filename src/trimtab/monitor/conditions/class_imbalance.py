"""Class imbalance that hurts: a class that is rare in training is found far less often than the others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say, together
from trimtab.monitor.conditions._fit import delivered_index, has_ended, label_name, share_error, wilson
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Evaluation, Trace, number

# A class with fewer training rows than this share of the mean counts as rare (our choice).
RARE = 0.5
# How far below the other classes' recall the upper end of its interval has to be (our choice).
LEAST_GAP = 0.2
# Validation rows of the class from which on something can be said.
FEWEST_ROWS = 2
# `act`: this many rows, and an upper end of the interval below this recall (our choice).
ACT_ROWS, ACT_RECALL = 10, 0.35
# Share of the planned steps before which a healthy run may still leave rare classes out.
EARLY = 0.4
# Rows of the mean class over those of the rarest from which on the inverse of the shares is too strong a weight.
STRONG = 20.0


@CONDITIONS.register("class_imbalance")
class ClassImbalance(Condition):
    """A rare class is found far less often than the others."""

    title = "Class imbalance that hurts a class"
    rule = (
        "From 40 % of the planned steps on, for a class with fewer than half the mean number of training rows, the "
        "upper end of the 95 % interval (Wilson) of its validation recall is 0.2 or more below the mean recall of the "
        "classes that are not rare (`act`: with 10 validation rows and an upper end below 0.35)."
    )
    source = "Wilson 1927 for the interval; SageMaker Debugger's ClassImbalance; thresholds: our choice"
    needs = ("classes", "class_rows")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding for all the classes that are hurt."""
        delivered = delivered_index(trace)
        total = trace.facts.total_steps
        if delivered is None or (total and not has_ended(trace) and trace.evaluations[-1].step / total < EARLY):
            return
        evaluation = trace.evaluations[delivered]
        train = np.asarray(trace.facts.label_counts.get("train", ()), np.float64)
        recall = np.asarray([number(value) for value in evaluation.detail.get("recall") or ()], np.float64)
        rows = np.asarray([number(value) for value in evaluation.detail.get("label_rows") or ()], np.float64)
        if not len(train) or not train.sum() or len({len(train), len(recall), len(rows)}) > 1:
            return
        common = (train >= RARE * train.mean()) & (rows >= FEWEST_ROWS) & np.isfinite(recall)
        if not common.any():
            return
        usual = float(recall[common].mean())
        hurt = [
            index
            for index in np.flatnonzero((train < RARE * train.mean()) & (rows >= FEWEST_ROWS) & np.isfinite(recall))
            if wilson(recall[index] * rows[index], rows[index])[1] <= usual - LEAST_GAP
        ]
        if hurt:
            yield _finding(trace, evaluation, [int(index) for index in hurt], train, recall, rows, usual)


def _finding(
    trace: Trace,
    evaluation: Evaluation,
    hurt: list[int],
    train: Any,
    recall: Any,
    rows: Any,
    usual: float,
) -> Finding:
    intervals = {index: wilson(recall[index] * rows[index], rows[index]) for index in hurt}
    worst = min(hurt, key=lambda index: intervals[index][1])
    grave = any(rows[index] >= ACT_ROWS and intervals[index][1] < ACT_RECALL for index in hurt)
    low, high = intervals[worst]
    return Finding(
        "class_imbalance",
        "act" if grave else "warning",
        together(
            say(
                "Of the {rows:.0f} validation rows of {label!r}, which has {own:,.0f} of {total:,.0f} training rows, "
                "{recall:.0%} are found (95 % interval {low:.2f} to {high:.2f}), and {usual:.0%} of the classes that "
                "are not rare.",
                rows=rows[worst],
                label=label_name(trace, worst),
                own=train[worst],
                total=train.sum(),
                recall=recall[worst],
                low=low,
                high=high,
                usual=usual,
            ),
            say("{others} more rare classes are hurt likewise.", others=len(hurt) - 1) if len(hurt) > 1 else "",
        ),
        since=evaluation.step,
        evidence={
            "classes": {
                label_name(trace, index): {
                    "training_rows": int(train[index]),
                    "validation_rows": int(rows[index]),
                    "recall": float(recall[index]),
                    "low": intervals[index][0],
                    "high": intervals[index][1],
                }
                for index in hurt
            },
            "recall_of_others": usual,
        },
        remedy=_remedy(trace),
        change=_change(trace, train),
        series=tuple(_recall_curve(trace, index) for index in hurt[:5]),
        # That the class is found less often than the others, by the binomial error of its recall.
        confidence=Estimate(float(recall[worst]), share_error(float(recall[worst]), float(rows[worst]))).below(usual),
    )


def _remedy(trace: Trace) -> str:
    if trace.facts.recipe.get("regularization.class_weights"):
        return say("Add training rows of this class: its rows weigh more already.")
    return say(
        "Let rows of rare classes weigh more in the training loss, and judge by macro_f1; best, add rows of them."
    )


def _change(trace: Trace, train: Any) -> dict[str, Any]:
    recipe = trace.facts.recipe
    if recipe.get("regularization.class_weights"):
        return {}
    rarest = float(train[train > 0].min())
    change: dict[str, Any] = {"regularization.class_weights": "balanced" if train.mean() / rarest <= STRONG else "sqrt"}
    if trace.facts.metric == "accuracy":
        change["evaluation.metric"] = "macro_f1"
    return change


def _recall_curve(trace: Trace, index: int) -> Curve:
    values = [evaluation.detail.get("recall") or () for evaluation in trace.evaluations]
    steps: list[float] = [evaluation.step for evaluation in trace.evaluations]
    found = [number(shares[index]) if index < len(shares) else math.nan for shares in values]
    return Curve(f"recall of {label_name(trace, index)}", steps, found)
