"""Divergence: losses or gradients that are not finite, or a loss that rose far and stays there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Floats, level, scatter, since
from trimtab.monitor.conditions._training import CONSEQUENCES, FEWEST_STEPS, TrainingCurve, rate_change, training_curve
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding, Severity
from trimtab.monitor.trace import Trace

# One bad batch in a long run may be a bad row; so many, or a share, are not (our choice).
MANY_SKIPPED, SHARE_SKIPPED = 3, 0.02
MOST_ROWS, EXCERPT = 10, 120
# Loss of the last steps over that of an untrained model (our choice; healthy runs end below 1).
FAR_ABOVE = 1.5
# A run that had come below this share of its start, and is back above the other, has lost what it had learnt (ours).
LEARNT, LOST = 0.6, 0.95
SURE = 0.99
# Why steps were skipped, as the record tells it, at the beginning of a sentence.
REASONS = {
    "the loss is NaN": say("The loss is NaN"),
    "the loss is infinite": say("The loss is infinite"),
    "the gradient is NaN": say("The gradient is NaN"),
    "the gradient is infinite": say("The gradient is infinite"),
}


@CONDITIONS.register("divergence")
class Divergence(Condition):
    """NaN or infinite values, with the batch in which they came; or a loss that left where it was and stays away."""

    title = "Divergence and non-finite values"
    rule = (
        "A step with a NaN or infinite loss or gradient (three of them, two in a row, or 2 % call for action); or the "
        "mean loss of the last steps surely above 1.5 times that of the untrained model, or above 0.95 of it after the "
        "run had been below 0.6."
    )
    source = "TerminateOnNaN of Keras; AUTOTRAINER (Zhang et al. 2021, ICSE); thresholds of our own"
    needs = ("steps",)
    explains = ("learning_rate_too_high", *CONSEQUENCES)
    urgent = True

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding of each kind."""
        if trace.skipped:
            yield _skipped(trace)
        else:
            yield from _not_finite(trace)
        yield from _risen(trace)


def _skipped(trace: Trace) -> Finding:
    steps = sorted(trace.skipped)
    first = steps[0]
    reason = trace.skipped[first][0]
    count, taken = len(steps), max(1, len(trace.steps))
    in_row = any(later - earlier == 1 for earlier, later in pairwise(steps))
    severity: Severity = "act" if in_row or count >= MANY_SKIPPED or count / taken > SHARE_SKIPPED else "warning"
    precision = trace.facts.recipe.get("training.precision")
    change, rate = rate_change(trace, 0.1)
    if severity == "warning":
        change, remedy = {}, say("Look at the rows of that batch for empty, huge or broken values.")
    elif precision == "bf16":
        change = {"training.precision": "fp32"}
        remedy = say("Train in fp32; if that does not help, lower the rate by a factor of 10, and look at the rows.")
    else:
        remedy = say(
            "Lower the peak learning rate by a factor of 10{to}, and look at the rows.",
            to=say(", to {rate}", rate=rate) if rate else "",
        )
    others = (
        say(", and in {count} further steps up to step {last}", count=count - 1, last=steps[-1]) if count > 1 else ""
    )
    return Finding(
        name="divergence",
        severity=severity,
        message=say(
            "{reason} in step {step}{others}; the weights were left as they were.",
            reason=REASONS.get(reason, reason[:1].upper() + reason[1:]),
            step=first,
            others=others,
        ),
        since=first,
        evidence={"skipped_steps": steps[:100], "reason": reason, "skipped": count, "steps": taken},
        remedy=remedy,
        change=change,
        series=_plot(trace),
        rows=tuple(_row(trace, index, first) for index in _suspects(trace, steps)),
        confidence=1.0,  # A value is finite or it is not.
    )


def _suspects(trace: Trace, steps: list[int]) -> list[int]:
    """Rows of the bad batches; those that stand in most of them first."""
    met: dict[int, int] = {}
    for step in steps:
        for row in trace.skipped[step][1]:
            met[row] = met.get(row, 0) + 1
    return sorted(met, key=lambda row: -met[row])[:MOST_ROWS]


def _row(trace: Trace, index: int, step: int) -> Mapping[str, Any]:
    told: dict[str, Any] = {"split": "train", "index": index, "step": step}
    table = trace.table("train")
    if table is None or not 0 <= index < len(table):
        return told
    found = table.iloc[index]
    content = next((str(found[name]) for name in ("text", "image") if name in table.columns), "")
    where = {name: _plain(found[name]) for name in ("row", "source", "label") if name in table.columns}
    return {**told, **where, "text": content[:EXCERPT]}


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _not_finite(trace: Trace) -> Iterable[Finding]:
    """Records without `skipped`: of other programs, which go on with weights that are NaN."""
    steps, losses, norms = trace.steps, trace.column("loss"), trace.column("grad_norm")
    measured = np.isfinite(norms)
    # The HF Trainer logs a loss of 0 with a gradient that is NaN once the weights are.
    bad = ~np.isfinite(losses) | ((losses == 0) & ~measured & measured.any())
    first = since(steps, bad) if len(steps) > 1 else None
    if first is None or int((steps >= first).sum()) < 2:
        values = trace.evaluated("loss")
        seen = [at for at, found in zip(trace.evaluations, values[1], strict=True) if "loss" in at.values]
        broken = [at.step for at in seen if not math.isfinite(at.values["loss"])]
        if not seen or math.isfinite(seen[-1].values["loss"]):
            return
        first = broken[0]
    change, rate = rate_change(trace, 0.1)
    yield Finding(
        name="divergence",
        severity="act",
        message=say("Since step {step} the loss is NaN or infinite: the weights can no longer be used.", step=first),
        since=first,
        evidence={"first_step": first, "steps": int((steps >= first).sum())},
        remedy=say(
            "Go back to a checkpoint before that step and lower the peak learning rate by a factor of 10{to}.",
            to=say(", to {rate}", rate=rate) if rate else "",
        ),
        change=change,
        series=_plot(trace),
        confidence=1.0,  # A value is finite or it is not.
    )


def _risen(trace: Trace) -> Iterable[Finding]:
    curve = training_curve(trace)
    if len(curve) < FEWEST_STEPS or curve.start <= 0:
        return
    if curve.end.value <= min(FAR_ABOVE, LOST) * curve.start:
        return
    far = curve.end.above(FAR_ABOVE * curve.start)
    smooth = curve.smooth
    lowest = float(np.nanmin(smooth[curve.window - 1 :]))
    lost = curve.end.above(LOST * curve.start) if lowest < LEARNT * curve.start else 0.0
    confidence = max(far, lost)  # That the mean of the last steps is above the limit.
    if confidence < SURE:
        return
    limit = (FAR_ABOVE if far >= lost else LOST) * curve.start
    first = since(curve.steps, smooth > limit)
    first = int(curve.steps[-min(len(curve), curve.window)]) if first is None else first
    change, rate = rate_change(trace, 0.1)
    before = _level_before(curve, first)
    yield Finding(
        name="divergence",
        severity="act",
        message=say(
            "The training loss rose from {before:.2f} to {last:.2f} and stays there since step {step}; an untrained "
            "model loses {start:.2f}.",
            before=before,
            last=curve.end.value,
            step=first,
            start=curve.start,
        ),
        since=first,
        evidence={
            "last_loss": curve.end.value,
            "last_loss_error": curve.end.error,
            "start_loss": curve.start,
            "lowest_loss": lowest,
            "noise": scatter(curve.losses),
        },
        remedy=say(
            "Go back to the best checkpoint before that step and lower the peak learning rate by a factor of 10{to}.",
            to=say(", to {rate}", rate=rate) if rate else "",
        ),
        change=change,
        series=curve.curves(),
        confidence=confidence,
    )


def _level_before(curve: TrainingCurve, step: int) -> float:
    before: Floats = curve.losses[curve.steps < step][-curve.window :]
    found = level(before).value
    return found if math.isfinite(found) else curve.start


def _plot(trace: Trace) -> tuple[Curve, ...]:
    steps = trace.steps.tolist()
    return (
        Curve(say("training loss"), steps, trace.column("loss").tolist()),
        Curve(say("gradient norm"), steps, trace.column("grad_norm").tolist()),
    )
