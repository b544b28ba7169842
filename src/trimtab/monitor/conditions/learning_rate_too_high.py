"""The learning rate is too high: losses above where they began, or stuck there after large steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._training import (
    CONSEQUENCES,
    FEWEST_STEPS,
    TrainingCurve,
    UpdateSize,
    rate_change,
    training_curve,
    update_size,
)
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding, Severity
from trimtab.monitor.trace import Trace

# Calibrated on short runs of the starter model: at rates that work, at most 2 % of the losses lay more than a tenth
# above the start; at 5 and 10 times the rate 9 and 10 %, at 30 times 21 %.
ABOVE = 1.1
USUAL_SHARE = 0.02
SHARE, SHARE_WITHOUT_SIGNALS = 0.05, 0.1
FEWEST_ABOVE = 3
SURE = 0.99
SURE_STUCK = 0.9
# Update over weight, as multiples of the typical: 5 times the rate that works gave blocks 8e-3.
HIGH = 3.0
# Share of chance level, else of the starting loss, from which on nothing was learnt (our choice).
STUCK = 0.93
# Part of the run after which being stuck says something.
SETTLED = 0.4


@CONDITIONS.register("learning_rate_too_high")
class LearningRateTooHigh(Condition):
    """Losses well above that of the untrained model, or no fall at all although the steps are large."""

    title = "Learning rate too high"
    rule = (
        "At least 5 % of the steps (3 or more, surely beyond 2 %) lost over 1.1 times what the untrained model did, "
        "with updates above 3 times the usual share of the weights, or 10 % of the steps where updates are not "
        "known; or such updates and, after 40 % of the run, a loss still above 0.93 of chance level. It calls for "
        "action where the loss is still up there."
    )
    source = "Symptoms of AUTOTRAINER (Zhang et al. 2021, ICSE); update ratio: CS231n notes; thresholds of our own"
    needs = ("steps",)
    explains = (*CONSEQUENCES, "overconfidence")
    urgent = True

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if the losses and updates show it."""
        curve, updates = training_curve(trace), update_size(trace)
        if len(curve) < FEWEST_STEPS or curve.start <= 0:
            return
        limit = max(ABOVE * curve.start, curve.start + 3 * curve.start_error)
        above = curve.losses > limit
        known = bool(len(updates.ratios))
        large = known and updates.peak > HIGH * updates.typical
        needed = SHARE if large else SHARE_WITHOUT_SIGNALS
        rose = int(above.sum()) >= FEWEST_ABOVE and above.mean() >= needed and (large or not known)
        surety = 1 - binomial_tail(int(above.sum()), len(above), USUAL_SHARE)
        # Knowing the classes' shares alone is no progress.
        stuck = curve.end.above(STUCK * (trace.facts.chance or curve.start))
        settled = trace.progress >= SETTLED and stuck >= SURE_STUCK
        if not ((rose and surety >= SURE) or (large and settled)):
            return
        # Where the losses rose, the surety that they did so more often than in a run that learns; else that the loss
        # has not come down.
        yield _finding(trace, curve, updates, above, large, stuck, surety if rose else stuck)


def _finding(
    trace: Trace,
    curve: TrainingCurve,
    updates: UpdateSize,
    above: NDArray[np.bool_],
    large: bool,
    stuck: float,
    confidence: float,
) -> Finding:
    severity: Severity = "act" if stuck >= SURE_STUCK and trace.progress >= SETTLED else "warning"
    smaller = min(30.0, max(3.0, updates.peak / updates.typical)) if large else (10.0 if severity == "act" else 3.0)
    change, rate = rate_change(trace, 1 / smaller)
    share = float(above.mean())
    clipped = _clipped_share(trace)
    evidence: dict[str, Any] = {
        "start_loss": curve.start,
        "highest_loss": float(curve.losses.max()),
        "last_loss": curve.end.value,
        "share_above_start": share,
        "update_ratio": updates.peak,
        "usual_update_ratio": updates.typical,
        "clipped_share": clipped,
    }
    first = int(curve.steps[int(np.argmax(above))]) if above.any() else int(_first_large(updates, curve))
    return Finding(
        name="learning_rate_too_high",
        severity=severity,
        message=_message(curve, _moved(updates) if large else "", share, severity == "act"),
        since=first,
        evidence=evidence,
        remedy=say(
            "Lower the peak learning rate by a factor of {factor:.0f}{to}.",
            factor=smaller,
            to=say(", to {rate}", rate=rate) if rate else "",
        ),
        change=change,
        series=(*curve.curves(), *((updates.curve(),) if large else ()), _start(curve)),
        confidence=confidence,
    )


def _message(curve: TrainingCurve, moved: str, share: float, is_still_there: bool) -> str:
    """What is seen of it.

    Args:
        curve: of the training loss.
        moved: how far steps moved the weights, as a part of a sentence; empty where that is not too far or not known.
        share: of the steps, those that lost more than an untrained model.
        is_still_there: whether the loss has not come down since.
    """
    if not share:
        return say(
            "The learning rate is too high: the loss stays at that of the untrained model ({start:.2f}){moved}.",
            start=curve.start,
            moved=moved,
        )
    return say(
        "The learning rate is too high: {share:.0%} of the steps lost over 1.1 times as much as the untrained model "
        "({start:.2f}){moved}; the loss went up to {highest:.2f} {outcome}.",
        share=share,
        start=curve.start,
        moved=moved,
        highest=float(curve.losses.max()),
        outcome=say("and is still there")
        if is_still_there
        else say("and has since come to {loss:.2f}", loss=curve.end.value),
    )


def _moved(updates: UpdateSize) -> str:
    return say(", and steps moved the {part} by up to {share:.1%} of their size", part=updates.part, share=updates.peak)


def binomial_tail(hits: int, trials: int, share: float) -> float:
    """P(at least so many hits) if each trial is one with the given probability."""
    from scipy.special import bdtrc

    return float(bdtrc(hits - 1, trials, share)) if hits > 0 else 1.0


def _first_large(updates: UpdateSize, curve: TrainingCurve) -> float:
    large = updates.steps[updates.ratios > HIGH * updates.typical]
    return float(large[0]) if len(large) else float(curve.steps[0])


def _clipped_share(trace: Trace) -> float:
    limit, norms = trace.facts.max_grad_norm, trace.column("grad_norm")
    norms = norms[np.isfinite(norms)]
    return float((norms > limit).mean()) if limit and len(norms) else math.nan


def _start(curve: TrainingCurve) -> Curve:
    ends = [float(curve.steps[0]), float(curve.steps[-1])]
    return Curve(say("start"), ends, [curve.start, curve.start])
