"""Training rows whose label is probably wrong: how many, and which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.conditions._fit import evaluation_losses, label_name
from trimtab.monitor.conditions._label_noise import (
    Noise,
    estimate_noise,
    suggested_labels,
    suspicion,
    usable_epochs,
)
from trimtab.monitor.conditions._outcome import learns_nothing_general
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding, Severity
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace

# Estimated share of wrong labels, and lower end of its 95 % interval. In a few trial runs of the starter on clean sets
# of 300 to 400 rows the share was 0.08 at most, and the lower end 0.005. Our choice.
ACT_SHARE, ACT_LOW = 0.08, 0.05
WARN_SHARE, WARN_LOW = 0.04, 0.01
INFO_LOW = 0.005
# Where the training rows cost more than the validation rows, although the model was trained on them, less is needed.
ACT_LOW_HARDER, SURE_HARDER = 0.015, 0.95
# Epochs after which the training rows cost less in a healthy run.
TRAINED = 1.5
LISTED = 100
EXCERPT = 160
SMOOTHING = 0.1


@CONDITIONS.register("suspect_labels")
class SuspectLabels(Condition):
    """Rows that the model contradicts however sure it is, before it knows them by heart."""

    title = "training rows with a wrong label"
    rule = (
        "between the second and the sixth epoch, the share of training rows that go against the model however sure it "
        "is has a 95 % interval above 0.05 and is 0.08 or more (`act`; with more than two classes in two epochs; from "
        "0.015 on where the training rows cost more than the validation rows), above 0.01 and is 0.04 or more "
        "(`warning`), or above 0.005 (`info`)"
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
        noise = estimate_noise(trace.rows)
        if noise is None or noise.low < INFO_LOW:
            return
        harder = _harder_than_validation(trace)
        count = max(1, round(noise.share * len(trace.rows.labels)))
        yield Finding(
            "suspect_labels",
            _severity(noise, harder),
            f"About {noise.share:.0%} of the training rows (95 % interval {noise.low:.1%} to {noise.high:.0%}) seem to "
            f"have a wrong label: the model contradicts them however sure it is. The {min(count, LISTED)} most suspect "
            "are listed.",
            _end_of(trace, noise.epoch),
            {
                "share": noise.share,
                "low": noise.low,
                "high": noise.high,
                "suspects": count,
                "epoch": noise.epoch + 1,
                "against_share": noise.against,
                "rows": noise.rows,
                "confirmed": noise.confirmed,
                "harder_than_validation": harder,
            },
            "Look through the listed rows and correct or remove those that are wrong; until then, label smoothing "
            "keeps the model from learning them by heart.",
            _change(trace.facts.recipe),
            # 1 - the likelihood of no wrong label at all over that of the estimate.
            confidence=1 - math.exp(-noise.gain),
            rows=tuple(_suspects(trace, trace.rows, count)),
        )


def _severity(noise: Noise, harder: float) -> Severity:
    by_itself = noise.low >= ACT_LOW and noise.confirmed
    if noise.share >= ACT_SHARE and (by_itself or (noise.low >= ACT_LOW_HARDER and harder >= SURE_HARDER)):
        return "act"
    return "warning" if noise.share >= WARN_SHARE and noise.low >= WARN_LOW else "info"


def _harder_than_validation(trace: Trace) -> float:
    """Certainty that training rows cost more than validation rows after the model was trained on them; 0 if unknown."""
    losses = evaluation_losses(trace)
    if not losses.like_with_like:
        return 0.0
    later = [place for place, index in enumerate(losses.index) if trace.evaluations[index].epoch >= TRAINED]
    return max((losses.gap(place).below(0.0) for place in later), default=0.0)


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
    scores, suggested = suspicion(record, epochs), suggested_labels(record, epochs)
    table = trace.table("train")
    for index in np.argsort(-scores, kind="stable")[: min(count, LISTED)].tolist():
        if scores[index] <= 0 or suggested[index] < 0:
            return
        row: dict[str, Any] = {
            "index": index,
            "split": "train",
            "label": label_name(trace, int(record.labels[index])),
            "suggested": label_name(trace, int(suggested[index])),
            "score": round(float(scores[index]), 3),
        }
        if table is not None and index < len(table):
            found = table.iloc[index]
            row |= {"row": int(found["row"]), "source": str(found["source"])} if "row" in found else {}
            row["text"] = str(found["text"] if "text" in found else found.get("image", ""))[:EXCERPT]
        yield row
