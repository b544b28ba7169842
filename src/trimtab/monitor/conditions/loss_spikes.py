"""Loss spikes: single steps far above the level of those before them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Floats, averaged, median, spread
from trimtab.monitor.conditions._training import COST, FEWEST_STEPS, LEAST_ERROR, TrainingCurve, training_curve
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

WINDOW = 25
# Robust z score of a spike. ZClip (arXiv 2504.02507) clips gradients from 2.5 on; an alarm must be rarer (our choice).
SCORE = 6.0
# ZClip's decay of the running mean and deviation, and its threshold: a spike's gradient must stand out too.
DECAY, GRADIENT_SCORE = 0.97, 2.5
# A spike also reaches this share of the untrained model's loss above the level, and that loss itself (our choice).
RISE = 0.25
# Steps in which a spike should be gone.
RECOVERY = 10
# Several spikes, and this share of all steps, cost quality; so does one that stays (our choice).
MANY, SHARE = 3, 0.01


@CONDITIONS.register("loss_spikes")
class LossSpikes(Condition):
    """Which steps jumped, and whether the loss came back."""

    title = "Loss spikes"
    rule = (
        "A step's loss is above that of the untrained model and over 6 robust deviations above the median of the 25 "
        "steps before it, and its gradient norm, where recorded, over 2.5 deviations above its running mean. One that "
        "is gone within 10 steps is good to know; three that make 1 % of the steps, or one that stays, are a warning."
    )
    source = "ZClip (Kumar et al. 2025, arXiv 2504.02507); median and MAD on the loss, thresholds of our own"
    needs = ("steps",)
    urgent = True

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if there are spikes."""
        curve = training_curve(trace)
        if len(curve) < FEWEST_STEPS or curve.start <= 0:
            return
        scores = _scores(trace, curve)
        if not (scores > SCORE).any():
            return
        spikes = np.flatnonzero((scores > SCORE) & _gradient_stands_out(trace, curve))
        if not len(spikes):
            return
        gone = [_recovered(curve, int(index)) for index in spikes]
        stays = [int(curve.steps[index]) for index, back in zip(spikes, gone, strict=True) if back is False]
        grave = bool(stays) or (len(spikes) >= MANY and len(spikes) / len(curve) >= SHARE)
        steps = [int(curve.steps[index]) for index in spikes]
        worst = int(spikes[int(np.argmax(curve.losses[spikes]))])
        clips = trace.facts.max_grad_norm
        tighter = clips / 2 if clips else 1.0
        # The chance that a normal variable stays below the smallest of the scores, in each of the steps.
        surety = 1 - 0.5 * math.erfc(float(scores[spikes].min()) / math.sqrt(2)) * len(curve)
        yield Finding(
            name=self.name,
            severity="warning" if grave else "info",
            message=say(
                "The loss jumped in {steps}, the worst in step {worst} to {loss:.2f}; {outcome}.",
                steps=say("{count} steps", count=len(steps)) if len(steps) > 1 else say("1 step"),
                worst=int(curve.steps[worst]),
                loss=curve.losses[worst],
                outcome=say("it did not come back after step {step}", step=stays[0]) if stays else say("it came back"),
            ),
            since=steps[0],
            evidence={
                "steps": steps[:100],
                "losses": [float(curve.losses[index]) for index in spikes[:100]],
                "scores": [float(scores[index]) for index in spikes[:100]],
                "not_recovered": stays[:100],
            },
            remedy=say(
                "Clip gradients at {norm:g}; if spikes come again, lower the learning rate, and look at the rows of "
                "these steps.",
                norm=tighter,
            )
            if grave
            else say("Nothing need be done; look at the rows of these steps if it happens often."),
            change={"training.max_grad_norm": tighter} if grave and trace.facts.origin == "trimtab" else {},
            series=(curve.curves()[0], Curve(say("spikes"), steps, [float(curve.losses[index]) for index in spikes])),
            confidence=max(0.0, surety),
        )


def _scores(trace: Trace, curve: TrainingCurve) -> Floats:
    """How many deviations each loss is above the median of those before it; 0 where it is below the start."""
    weights = trace.column("weight")
    rows = median(weights)
    rows = rows if math.isfinite(rows) and rows >= 1 else float(trace.facts.batch_size or 8)
    scores = np.zeros(len(curve))
    high = np.flatnonzero(curve.losses > curve.start + 2 * curve.start_error)
    for index in high[high >= 5].tolist():
        before = curve.losses[max(0, index - WINDOW) : index]
        middle = max(float(np.median(before)), 0.0)
        # A mean over few rows, of which one in a while is wrong, is no normal variable: at least that variance.
        deviation = max(spread(before), math.sqrt(COST * middle / rows), LEAST_ERROR * curve.start)
        rise = curve.losses[index] - middle
        if rise > RISE * curve.start:
            scores[index] = rise / deviation
    return scores


def _gradient_stands_out(trace: Trace, curve: TrainingCurve) -> NDArray[np.bool_]:
    """Whether each step's gradient norm is far above its running mean; True where norms were not recorded."""
    norms = trace.column("grad_norm")[np.isin(trace.steps, curve.steps)]
    if not np.isfinite(norms).any():
        return np.ones(len(curve), bool)
    mean = averaged(norms, DECAY)
    deviation = np.sqrt(np.maximum(averaged((norms - mean) ** 2, DECAY), 0.0))
    before, spread_before = np.roll(mean, 1), np.roll(deviation, 1)
    with np.errstate(invalid="ignore"):
        out = norms > before + GRADIENT_SCORE * spread_before
    return out | ~np.isfinite(norms)


def _recovered(curve: TrainingCurve, index: int) -> bool | None:
    """Whether the loss came back within so many steps; None where they have not been taken."""
    before = curve.losses[max(0, index - WINDOW) : index]
    after = curve.losses[index + 1 : index + 1 + RECOVERY]
    if len(after) < RECOVERY:
        return None
    middle = max(float(np.median(before)), 0.0)
    halfway = middle + 0.5 * (float(curve.losses[index]) - middle)
    return bool(np.median(after[-RECOVERY // 2 :]) <= halfway)
