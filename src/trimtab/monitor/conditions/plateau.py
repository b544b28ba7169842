"""Plateau: the loss and the metric have stopped moving, long before the end and at a high rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Estimate, Floats, finite, slope
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Evaluations that make a plateau, and the least share of the run that they span (our choice).
EVALUATIONS, SHARE = 5, 0.25
# LossNotDecreasing of SageMaker Debugger compares losses so many steps apart; evaluations are fewer and farther apart,
# so that here the whole stretch counts: of the loss, and of a metric between 0 and 1 (our choice).
LOSS_MOVES, METRIC_MOVES = 0.02, 0.01
# Share of the peak rate that is still high (our choice); below it, a schedule is settling the weights.
HIGH_RATE = 0.3
# Loss on training rows, as a share of the first, below which nothing is left to learn (our choice).
LEARNT = 0.1
SURE = 0.9
# Options that belong to one shape only: the schedule is not changed where any is set.
SHAPE_OPTIONS = ("cycles", "timescale", "plateau_factor", "plateau_patience", "plateau_min_change", "pct_start")


@CONDITIONS.register("plateau")
class Plateau(Condition):
    """Evaluations in a row that are the same within a narrow band, while the rate is far from its end."""

    title = "Plateau"
    rule = (
        "Over the last 5 or more evaluations and a quarter of the run, the loss on training rows (else on validation "
        "rows) surely moves by less than 2 % of the first and the metric by less than 0.01, at a rate above 0.3 of the "
        "peak, with a tenth of the run or more to come. Good to know where hardly any loss is left, else a warning."
    )
    source = "LossNotDecreasing of SageMaker Debugger; thresholds of our own"
    needs = ("evaluations",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if nothing moves."""
        held_in = trace.evaluated("loss", held_in=True)
        own = bool(np.isfinite(held_in[1]).any())
        steps, losses = finite(*(held_in if own else trace.evaluated("loss")))
        count = len(losses)
        if count <= EVALUATIONS or losses[0] <= 0:
            return
        first = _first_of_plateau(trace, steps, losses)
        if first is None or not _rate_is_high(trace, steps[first]):
            return
        moved = _moved(steps[first:], losses[first:])
        done = own and losses[-1] < LEARNT * losses[0]
        change, remedy = _remedy(trace, count - first, bool(done))
        yield Finding(
            name=self.name,
            severity="info" if done else "warning",
            message=say(
                "Since step {step} nothing moves: the loss on {rows} stays at {loss:.3f} over {evaluations} "
                "evaluations.",
                step=int(steps[first]),
                rows=say("training rows") if own else say("validation rows"),
                loss=np.mean(losses[first:]),
                evaluations=count - first,
            ),
            since=int(steps[first]),
            evidence={
                "evaluations": count - first,
                "loss_change": moved.value,
                "loss_change_error": moved.error,
                "last_loss": float(losses[-1]),
                "first_loss": float(losses[0]),
            },
            remedy=remedy,
            change=change,
            series=_plot(trace),
            # That the loss moved by less than the band, either way.
            confidence=_surely_within(moved, LOSS_MOVES * float(losses[0])),
        )


def _first_of_plateau(trace: Trace, steps: Floats, losses: Floats) -> int | None:
    """Where the longest stretch up to now begins in which neither loss nor metric moves; None where there is none."""
    total = trace.facts.total_steps or trace.last_step
    name = trace.facts.metric
    metric = trace.evaluated(name)
    for first in range(1, len(losses) - EVALUATIONS + 1):
        if steps[-1] - steps[first] < SHARE * total:
            return None
        if _surely_within(_moved(steps[first:], losses[first:]), LOSS_MOVES * float(losses[0])) < SURE:
            continue
        at, values = finite(*metric)
        kept = at >= steps[first]
        # A change beyond its noise; a metric that is merely noisy is no sign of learning.
        change = _moved(at[kept], values[kept])
        if name == "loss" or not change.known or abs(change.value) < max(METRIC_MOVES, 2 * change.error):
            return first
    return None


def _moved(steps: Floats, values: Floats) -> Estimate:
    found = slope(steps, values)
    width = float(steps[-1] - steps[0]) if len(steps) else 0.0
    return Estimate(found.value * width, found.error * width, found.freedom)


def _surely_within(moved: Estimate, band: float) -> float:
    return min(moved.below(band), moved.above(-band))


def _rate_is_high(trace: Trace, first: float) -> bool:
    """Whether the rate is still high, the warm-up over when the plateau began, and there is much of the run to come."""
    if trace.progress > 0.9 and (trace.facts.total_steps or trace.end):
        return False
    (rates,) = finite(trace.column("learning_rate"))
    if first <= trace.facts.warmup_steps:
        return False
    return not len(rates) or rates.max() <= 0 or bool(rates[-1] >= HIGH_RATE * rates.max())


def _remedy(trace: Trace, evaluations: int, done: bool) -> tuple[Mapping[str, Any], str]:
    ours, recipe = trace.facts.origin == "trimtab", trace.facts.recipe
    shape = str(recipe.get("schedule.name", ""))
    fixed = any(recipe.get(f"schedule.{option}") is not None for option in SHAPE_OPTIONS)
    free = str(recipe.get("optimizer.name", "")).startswith("schedule_free")
    if not done and ours and shape in ("constant", "inverse_sqrt", "cyclical") and not fixed and not free:
        return {"schedule.name": "cosine"}, say("Let the learning rate fall: schedule.name=cosine.")
    if ours and recipe.get("regularization.early_stopping_patience") is None:
        patience = max(3, math.ceil(evaluations / 2))
        return (
            {"regularization.early_stopping_patience": patience},
            say("Stop when {patience} evaluations in a row bring nothing better.", patience=patience),
        )
    return {}, say("Stop here, or let the learning rate fall.")


def _plot(trace: Trace) -> tuple[Curve, ...]:
    steps, validation = trace.evaluated("loss")
    held_in = trace.evaluated("loss", held_in=True)[1]
    return (
        Curve(say("validation loss"), steps.tolist(), validation.tolist()),
        Curve(say("loss on training rows"), steps.tolist(), held_in.tolist()),
    )
