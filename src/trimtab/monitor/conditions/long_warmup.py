"""A warm-up that takes much of the run, or never ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import finite
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Share of the run (our choice; 0.06 to 0.1 is usual in fine-tuning: RoBERTa, arXiv 1907.11692, table 10).
LONG, USUAL = 1 / 3, 0.1
# Steps of a record without a plan that are needed to see a warm-up in it.
FEWEST_STEPS = 20
# Shapes that rise by themselves: the option that says how long, its default, and the first value that is too long.
RISES = {"one_cycle": ("pct_start", 0.3, 0.5), "slanted_triangular": ("cut_frac", 0.1, LONG)}


@CONDITIONS.register("long_warmup")
class LongWarmup(Condition):
    """The share of the planned steps in which the rate still rises."""

    title = "Over-long warm-up"
    rule = (
        "The rate rises for more than a third of the planned steps (`one_cycle`: more than half); where there is no "
        "plan, of the recorded ones."
    )
    source = "Usual warm-ups: RoBERTa (arXiv 1907.11692); threshold of our own"
    needs = ("plan",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, known before the first step where the plan is."""
        warmup, total, limit = _warmup(trace)
        if not total or warmup <= limit * total or warmup < 2:
            return
        change, setting = _change(trace, total)
        yield Finding(
            name=self.name,
            severity="warning",
            message=say("The warm-up takes {warmup} of {steps} steps.", warmup=warmup, steps=total)
            if warmup < total
            else say(
                "The warm-up takes {warmup} of {steps} steps: the learning rate never leaves it.",
                warmup=warmup,
                steps=total,
            ),
            since=0,
            evidence={"warmup_steps": warmup, "total_steps": total, "share": warmup / total},
            remedy=say("Shorten the warm-up to about a tenth of the run: {setting}.", setting=setting)
            if setting
            else say("Shorten the warm-up to about a tenth of the run."),
            change=change,
            series=(Curve(say("learning rate"), trace.steps.tolist(), trace.column("learning_rate").tolist()),),
            confidence=1.0,  # The schedule is known exactly.
        )


def _warmup(trace: Trace) -> tuple[int, int, float]:
    """Steps of the warm-up, of the run, and the share from which on it is long."""
    facts = trace.facts
    shape = str(facts.recipe.get("schedule.name", ""))
    if facts.origin == "trimtab":
        total = facts.total_steps or 0
        if shape in RISES:
            option, default, limit = RISES[shape]
            given = facts.recipe.get(f"schedule.{option}")
            return round(float(default if given is None else given) * total), total, limit
        return facts.warmup_steps, total, LONG
    steps, rates = finite(trace.steps, trace.column("learning_rate"))
    if len(steps) < FEWEST_STEPS or rates.max() <= 0 or rates[0] > 0.5 * rates.max():
        return 0, 0, LONG
    peak = int(np.argmax(rates >= 0.99 * rates.max()))
    # Without a plan, a rise up to the newest step may be the beginning of a long run.
    if facts.total_steps is None and peak >= len(rates) - 1 and not trace.end:
        return 0, 0, LONG
    rising = bool(np.all(np.diff(rates[: peak + 1]) >= 0))
    return (int(steps[peak]) if rising else 0), int(facts.total_steps or steps[-1]), LONG


def _change(trace: Trace, total: int) -> tuple[dict[str, Any], str]:
    if trace.facts.origin != "trimtab":
        return {}, ""
    recipe = trace.facts.recipe
    shape = str(recipe.get("schedule.name", ""))
    if shape in RISES:
        change: dict[str, Any] = {f"schedule.{RISES[shape][0]}": RISES[shape][1]}
    elif recipe.get("schedule.warmup_steps") is not None:
        change = {"schedule.warmup_steps": max(1, round(USUAL * total))}
    else:
        change = {"schedule.warmup_ratio": USUAL}
    return change, ", ".join(f"{key}={value}" for key, value in change.items())
