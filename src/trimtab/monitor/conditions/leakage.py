"""Leakage: held-out rows that stand in train, a feature that gives the label away, a validation too good to be true."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import restored, say, together
from trimtab.monitor.conditions._fit import share_error, validation_rows, wilson
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace, number

# Share of the held-out rows that stand in train from which the score is not to be believed. Phrases of film reviews
# (SST-2) cut at random repeat by 3 to 4 %, and nearly repeat by 9 % more. Our choice.
ACT_EQUAL, ACT_SHARED = 0.05, 0.20
WARN_SHARED = 0.02
# Share of the errors of always naming the commonest class that one-feature rules take away: a word that a question is
# about ("how many") took away 0.07, markers planted in nine rows of ten 0.88 to 0.96. Our choice.
ACT_GAIN, WARN_GAIN = 0.80, 0.50
# Accuracy that is beyond what data usually allow so early, and how far a bag of words must stay below it. Our choice.
PERFECT = 0.99
BELOW = 0.10
BASELINE = "TF-IDF + logistic regression"
METRIC = "accuracy"


@CONDITIONS.register("leakage")
class Leakage(Condition):
    """The scores say more of the data than of the model."""

    title = "leakage between splits, or a feature that gives the label away"
    rule = (
        "held-out rows stand in train too (`act`: 5 % of the validation or test rows equal a training row, or 20 % at "
        "least nearly; `warning`: 2 %); or rules of one feature (a word, the length, one text of a pair) take away "
        "80 % of the errors of always naming the commonest class (`act`; `warning`: 50 %); or the first evaluation is "
        "right on more than 99 % of the rows, beyond its interval, and a bag of words stays 10 points below "
        "(`warning`)"
    )
    source = "Kaufman et al. 2012, Leakage in Data Mining (TKDD 6:15); thresholds: our rule"
    needs = ("data",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """A finding for each way in which something leaks."""
        for told in trace.data_finding("leakage"):
            yield from _shared(told)
        for told in trace.data_finding("giveaway"):
            yield from _giveaway(told)
        yield from _too_good(trace)


def _shared(told: Mapping[str, Any]) -> Iterable[Finding]:
    evidence = told.get("evidence") or {}
    rows, equal, near = (number(evidence.get(name)) for name in ("rows", "equal", "near"))
    if not rows > 0 or not equal + near > 0:
        return
    split, shared = evidence.get("split", say("held-out")), (equal + near) / rows
    grave = equal / rows >= ACT_EQUAL or shared >= ACT_SHARED
    yield Finding(
        "leakage",
        "act" if grave else "warning" if shared >= WARN_SHARED else "info",
        say(
            "{shared:.0f} of {rows:.0f} {split} rows ({share:.1%}) stand in train too, {equal:.0f} of them equal: the "
            "{split} score rewards memory, and is too high for rows that are new.",
            shared=equal + near,
            rows=rows,
            split=split,
            share=shared,
            equal=equal,
        ),
        0,
        {**{name: evidence.get(name) for name in ("split", "rows", "identical", "equal", "near")}, "share": shared},
        together(restored(told["remedy"], _said(told).get("remedy")))
        if told.get("remedy")
        else say("Remove these rows from train or from {split}, and train again.", split=split),
        # Counted, not estimated.
        confidence=1.0,
        rows=tuple(_pair(example) for example in evidence.get("examples") or ()),
    )


def _said(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the sentences of the data report were made of."""
    return told.get("said") or {}


def _pair(example: Mapping[str, Any]) -> dict[str, Any]:
    named = {"split": "split", "row": "row", "source": "source", "label": "label", "content": "text"}
    other = {"other_split": "equals_split", "other_row": "equals_row", "other_label": "equals_label"}
    return {new: example[old] for old, new in {**named, **other}.items() if old in example}


def _giveaway(told: Mapping[str, Any]) -> Iterable[Finding]:
    evidence = told.get("evidence") or {}
    gain, right, rows = (number(evidence.get(name)) for name in ("gain", "right", "rows"))
    if not math.isfinite(gain):
        return
    yield Finding(
        "leakage",
        "act" if gain >= ACT_GAIN else "warning" if gain >= WARN_GAIN else "info",
        together(restored(told["message"], _said(told).get("message")))
        if "message" in told
        else say("One feature gives the label away."),
        0,
        {name: evidence.get(name) for name in ("kind", "rules", "rows", "right", "majority", "gain", "held_out")},
        say(
            "See whether it will be there in use; if it comes from how the data were made, remove it from all rows and "
            "train again."
        ),
        # Half the width of the 95 % interval of the share that the rules put right.
        confidence=max(0.0, 1 - 1.96 * share_error(right, rows)) if rows > 0 else 0.5,
        rows=tuple({**row, "text": row.get("content", "")} for row in evidence.get("listed") or ()),
    )


def _too_good(trace: Trace) -> Iterable[Finding]:
    if not trace.evaluations:
        return
    first = trace.evaluations[0]
    value, rows = first.values.get(METRIC, math.nan), validation_rows(trace, first)
    if not value >= PERFECT or not rows > 0 or wilson(value * rows, rows)[0] < PERFECT:
        return
    plain = ((trace.final.get("baselines") or {}).get(BASELINE) or {}).get(METRIC) or {}
    high = number(plain.get("high"))
    if not high < value - BELOW:
        return
    yield Finding(
        "leakage",
        "warning",
        say(
            "After {step} steps {accuracy:.1%} of {rows:.0f} validation rows were right, while a bag of words gets "
            "{baseline:.1%} right: that is suspiciously good so early.",
            step=first.step,
            accuracy=value,
            rows=rows,
            baseline=number(plain.get("value")),
        ),
        first.step,
        {"accuracy": value, "rows": rows, "baseline": number(plain.get("value")), "baseline_high": high},
        say(
            "Look whether validation rows come from the same documents, users or templates as training rows; if so, "
            "give what belongs together one value in a column and name it with --group."
        ),
        # 1 - p that the model is no more than `BELOW` better than the upper end of the baseline's interval.
        confidence=Estimate(value - high, share_error(value, rows)).above(BELOW),
    )
