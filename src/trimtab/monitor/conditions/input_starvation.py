"""The device waits for rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import finite, level, smoothed
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Share of the steps' time, and seconds in all below which it does not matter (our choice).
SHARE, SECONDS = 0.3, 2.0
# The first steps fill caches and start threads; of the others, so many are looked at.
FIRST, LAST, FEWEST = 5, 100, 10
SURE = 0.95


@CONDITIONS.register("input_starvation")
class InputStarvation(Condition):
    """The share of the steps' time in which the loop waited for batches."""

    title = "Data loader starving the device"
    rule = (
        "In the last 100 steps (10 or more, the first 5 left out), the loop surely waited for rows in more than 30 % "
        "of the time, and for 2 s in all."
    )
    source = "IOBottleneck of SageMaker Debugger; thresholds of our own"
    needs = ("times",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if the loop waits."""
        steps, seconds, waited = finite(trace.steps, trace.column("seconds"), trace.column("data_seconds"))
        kept = seconds > 0
        steps, seconds, waited = (column[kept][FIRST:][-LAST:] for column in (steps, seconds, waited))
        if len(steps) < FEWEST or waited.sum() < SECONDS:
            return
        shares = np.minimum(waited / seconds, 1.0)
        # Confidence that the mean share of a step is above the limit.
        confidence = level(shares).above(SHARE)
        total = float(waited.sum() / seconds.sum())
        if confidence < SURE or total < SHARE:
            return
        change, remedy = _remedy(trace)
        late = np.flatnonzero(smoothed(shares, 5) > SHARE)
        yield Finding(
            name=self.name,
            severity="warning",
            message=say(
                "The device waits for rows in {share:.0%} of the time of a step ({seconds:.0f} s in the last {steps} "
                "steps).",
                share=total,
                seconds=waited.sum(),
                steps=len(steps),
            ),
            since=int(steps[late[0]]) if len(late) else int(steps[0]),
            evidence={"share": total, "waited_seconds": float(waited.sum()), "seconds": float(seconds.sum())},
            remedy=remedy,
            change=change,
            series=(Curve(say("share of waiting"), steps.tolist(), shares.tolist()),),
            confidence=confidence,
        )


def _remedy(trace: Trace) -> tuple[dict[str, Any], str]:
    recipe = trace.facts.recipe
    if recipe.get("cache.enabled") is False:
        return {"cache.enabled": True}, say("Keep tokens and decoded images on disk: cache.enabled=true.")
    if recipe.get("task.cache_mib") == 0:
        return {"task.cache_mib": 2048}, say("Keep decoded images in memory: task.cache_mib=2048.")
    return {}, say(
        "Put the data and the cache (cache.folder) on a local disk, make images smaller beforehand, leave out costly "
        "augmentation, or free CPU cores: nothing in the recipe makes rows come faster."
    )
