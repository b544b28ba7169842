"""Training rows whose label is probably wrong: how many, and which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say, together
from trimtab.monitor.conditions._fit import label_name
from trimtab.monitor.conditions._label_noise import (
    Noise,
    estimate_noise,
    outside_noise,
    suggested_labels,
    suspicion,
    usable_epochs,
)
from trimtab.monitor.conditions._outcome import learns_nothing_general
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import SEVERITIES, Finding, Severity
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace

# From within training, with two classes: estimated share of wrong labels, lower end of its 95 % interval, and
# log-likelihood above that of no wrong label. Calibrated by benchmarks/doctor: in sound runs of up to 1,200 rows that
# was 6.7 at most where the lower end was 0.04 or more. With more classes this view saw none of the planted labels, and
# took rows that are merely hard for wrong ones.
ACT_SHARE, ACT_LOW = 0.12, 0.08
WARN_SHARE, WARN_LOW, WARN_GAIN = 0.06, 0.04, 7.0
# From outside (a classifier of the other rows): lower ends for `act`, `warning` and `info`. Calibrated by
# benchmarks/doctor: without planted labels it was 0 in all runs of two classes (0.02 in one of eight with 1,200 rows),
# and 0.09 at most with more.
OUTSIDE_OF_TWO, OUTSIDE_OF_MORE = (0.10, 0.01, 0.01), (0.20, 0.12, 0.05)
GAIN_OUTSIDE = 2.0
LISTED = 100
EXCERPT = 160
SMOOTHING = 0.1


@CONDITIONS.register("suspect_labels")
class SuspectLabels(Condition):
    """Rows that the model contradicts however sure it is, before it knows them by heart."""

    title = "training rows with a wrong label"
    rule = (
        "the share of training rows that go against a classifier of the other rows (ridge regression left one out, on "
        "the features of the first epoch), however sure that is, has a 95 % interval above 0.20 (`act`), 0.12 "
        "(`warning`) or 0.05 (`info`), with two classes above 0.10 (`act`) or 0.01 (`warning`); or, with two classes, "
        "between the second and the sixth epoch, the share that go against the model itself is 0.12 or more, above "
        "0.08 in its interval and confirmed by another epoch (`act`), or 0.06 or more and above 0.04 (`warning`), with "
        "a log-likelihood of 7 or more above that of none"
    )
    source = (
        "area under the margin: Pleiss et al. 2020, arXiv 2001.10528; label noise by confident errors: Northcutt et "
        "al. 2021, arXiv 1911.00068; curve with a lapse rate: Wichmann & Hill 2001"
    )
    needs = ("rows",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding with the rows, where there are enough of them to tell."""
        if trace.rows is None or learns_nothing_general(trace) is not None:
            return
        inside, outside = estimate_noise(trace.rows), outside_noise(trace.rows)
        views = (("outside", outside, _from_outside(outside)), ("inside", inside, _from_inside(inside)))
        grades = [(grade, noise, view) for view, noise, grade in views if noise is not None and grade is not None]
        if not grades:
            return
        severity, noise, view = max(grades, key=lambda grade: SEVERITIES.index(grade[0]))
        count = max(1, round(noise.share * len(trace.rows.labels)))
        yield Finding(
            "suspect_labels",
            severity,
            together(
                say(
                    "{rows} seem to have a wrong label: they contradict what the other rows teach where that is sure, "
                    "too.",
                    rows=_how_many(noise),
                )
                if view == "outside"
                else say(
                    "{rows} seem to have a wrong label: they contradict the model where that is sure, too.",
                    rows=_how_many(noise),
                ),
                say("The {count} most suspect are listed.", count=min(count, LISTED)),
            ),
            _end_of(trace, noise.epoch),
            {
                "view": view,
                "share": noise.share,
                "low": noise.low,
                "high": noise.high,
                "is_bounded": noise.is_bounded,
                "suspects": count,
                "epoch": noise.epoch + 1,
                "against_share": noise.against,
                "rows": noise.rows,
                "confirmed": noise.confirmed,
            },
            say(
                "Look through the listed rows and correct or remove those that are wrong; until then, label smoothing "
                "keeps the model from learning them by heart."
            ),
            _change(trace.facts.recipe),
            # 1 - the likelihood of no wrong label at all over that of the estimate.
            confidence=1 - math.exp(-noise.gain),
            rows=tuple(_suspects(trace, trace.rows, count)),
        )


def _from_outside(noise: Noise | None) -> Severity | None:
    if noise is None or noise.gain < GAIN_OUTSIDE:
        return None
    act, warn, tell = OUTSIDE_OF_TWO if noise.classes == 2 else OUTSIDE_OF_MORE
    return "act" if noise.low >= act else "warning" if noise.low >= warn else "info" if noise.low >= tell else None


def _from_inside(noise: Noise | None) -> Severity | None:
    if noise is None or noise.classes > 2 or noise.gain < WARN_GAIN or noise.share < WARN_SHARE or noise.low < WARN_LOW:
        return None
    return "act" if noise.share >= ACT_SHARE and noise.low >= ACT_LOW and noise.confirmed else "warning"


def _how_many(noise: Noise) -> str:
    if noise.is_bounded:
        return say(
            "About {share:.0%} of the training rows (95 % interval {low:.1%} to {high:.0%})",
            share=noise.share,
            low=noise.low,
            high=noise.high,
        )
    return say(
        "{low:.0%} or more of the training rows (up to {high:.0%} can be told apart from hard rows)",
        low=noise.low,
        high=noise.high,
    )


def _end_of(trace: Trace, epoch: int) -> int:
    """The step at which an epoch (from 0) was over."""
    size = trace.facts.steps_per_epoch
    return min((epoch + 1) * size, trace.last_step) if size and trace.last_step else trace.last_step


def _change(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Label smoothing, which helps against wrong labels (Lukasik et al. 2020, arXiv 2003.02819), if it may be set."""
    if recipe.get("regularization.label_smoothing") or recipe.get("regularization.focal_gamma"):
        return {}
    return {"regularization.label_smoothing": SMOOTHING}


def _suspects(trace: Trace, record: RowRecord, count: int) -> Iterable[dict[str, Any]]:
    """The most suspect rows, each with its place among the training rows and what the model would call it."""
    epochs = usable_epochs(record)
    scores = suspicion(record, epochs)
    most = np.argsort(-scores, kind="stable")[: min(count, LISTED)]
    suggested = suggested_labels(record, epochs, most)
    certain = np.logical_and.accumulate((scores[most] > 0) & (suggested >= 0))
    most, suggested = most[certain], suggested[certain]
    table = trace.table("train")
    known: dict[int, dict[Any, Any]] = {}
    if table is not None:
        inside = most[most < len(table)]
        known = dict(zip(inside.tolist(), table.iloc[inside].to_dict("records"), strict=True))
    for index, label in zip(most.tolist(), suggested.tolist(), strict=True):
        row: dict[str, Any] = {
            "index": index,
            "split": "train",
            "label": label_name(trace, int(record.labels[index])),
            "suggested": label_name(trace, label),
            "score": round(float(scores[index]), 3),
        }
        found = known.get(index)
        if found is not None:
            row |= {"row": int(found["row"]), "source": str(found["source"])} if "row" in found else {}
            row["text"] = str(found["text"] if "text" in found else found.get("image", ""))[:EXCERPT]
        yield row
