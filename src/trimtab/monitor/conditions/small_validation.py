"""A validation set that is too small to tell: its interval is wider than the differences that are acted upon."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._fit import (
    Z95,
    best_index,
    chosen_metric,
    has_ended,
    metric_change,
    metric_value,
    validation_rows,
)
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Rows below which it is always said: an accuracy of 0.8 is then known to ± 0.11 at best (our choice).
FEWEST_ROWS = 50
# Half width of the 95 % interval from which on it is a warning, and below which nothing is said (our choice).
WIDE, NARROW = 0.12, 0.05
# Rows to aim at, and the largest share of the rows to give for it.
WANTED_ROWS, LARGEST_FRACTION = 200, 0.3
SURE = 0.95
# The part of the run before which the best evaluation has to lie for its choice to be worth a word (our choice).
EARLIER = 0.67


@CONDITIONS.register("small_validation")
class SmallValidation(Condition):
    """Choices are made by differences that so few validation rows cannot show."""

    title = "Validation set too small to tell"
    rule = (
        "Fewer than 50 validation rows, or a 95 % interval of the metric of ± 0.12 or wider (`warning`); or at the end "
        "± 0.05 or wider where training was stopped early or weights of the first two thirds are kept, while best "
        "and last differ by less than their noise (`info`)."
    )
    source = "Binomial interval (Agresti and Coull 1998); thresholds: our choice"
    needs = ("evaluations", "validation_rows")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding."""
        chosen, best = chosen_metric(trace), best_index(trace)
        rows = validation_rows(trace, trace.evaluations[-1] if trace.evaluations else None)
        if chosen is None or best is None or not math.isfinite(rows) or rows <= 0 or chosen[0] in ("loss", "log_loss"):
            return
        half = Z95 * metric_value(trace, best, chosen[0]).error
        if not math.isfinite(half):
            return
        if rows < FEWEST_ROWS or half >= WIDE:
            yield _finding(trace, chosen[0], best, rows, half, "warning")
        elif half >= NARROW and has_ended(trace) and _chosen_by_noise(trace, chosen, best):
            yield _finding(trace, chosen[0], best, rows, half, "info")


def _chosen_by_noise(trace: Trace, chosen: tuple[str, bool], best: int) -> bool:
    """Whether the end of the run or its weights were chosen by a difference within noise."""
    last = len(trace.evaluations) - 1
    stopped = any(action.get("action") == "early_stop" for action in trace.actions)
    if not stopped and trace.evaluations[best].step > EARLIER * trace.evaluations[last].step:
        return False
    change = metric_change(trace, chosen[0], best, last)
    return (change.below() if chosen[1] else change.above()) < SURE


def _finding(trace: Trace, metric: str, best: int, rows: float, half: float, severity: Any) -> Finding:
    value = trace.evaluations[best].values[metric]
    last = trace.evaluations[-1]
    evidence: dict[str, Any] = {"rows": int(rows), "metric": metric, "best": value, "half_width": half}
    choice = ""
    if severity == "info":
        evidence |= {"last": last.values.get(metric, math.nan), "best_step": trace.evaluations[best].step}
        choice = say(
            ", and the weights of step {best:,} were chosen over those of step {last:,} with {value:.3f}, a difference "
            "within noise",
            best=trace.evaluations[best].step,
            last=last.step,
            value=evidence["last"],
        )
    return Finding(
        "small_validation",
        severity,
        say(
            "The validation {metric} of {value:.3f} is known to ± {half:.3f} only, from {rows:,.0f} rows (95 % "
            "interval){choice}: which weights or which settings are better cannot be told by smaller differences.",
            metric=metric,
            value=value,
            half=half,
            rows=rows,
            choice=choice,
        ),
        since=0,
        evidence=evidence,
        remedy=say("Hold out more rows for validation, or compare by the mean of several seeds."),
        change=_change(trace, rows),
        series=tuple(
            Curve(name, list(steps), list(values + shift))
            for steps, values in (trace.evaluated(metric),)
            for name, shift in ((metric, 0.0), (say("lower end"), -half), (say("upper end"), half))
        ),
        confidence=SURE,  # the level of the interval
    )


def _change(trace: Trace, rows: float) -> dict[str, Any]:
    """A larger share for validation, where we cut it ourselves."""
    recipe = trace.facts.recipe
    fraction = recipe.get("data.validation_fraction")
    if recipe.get("data.validation") is not None or not isinstance(fraction, float | int):
        return {}
    wanted = min(LARGEST_FRACTION, math.ceil(100 * fraction * WANTED_ROWS / rows) / 100)
    return {"data.validation_fraction": wanted} if wanted > fraction else {}
