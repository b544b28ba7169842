"""Memory near its limit, or already beyond it once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Share of the memory that is there for us (our choice: a step of longer rows takes more).
NEAR = 0.9
# One sampled step may have met the moment at which another program held much.
FEWEST = 2


@CONDITIONS.register("memory_near_limit")
class MemoryNearLimit(Condition):
    """Memory in use against what there is, and budgets that had to shrink."""

    title = "Memory near the limit"
    rule = "Two or more sampled steps used 90 % of the memory or more; or the token budget was halved for lack of it."
    source = "Our own"
    needs = ("memory",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if there is hardly any room."""
        shrunk = [action for action in trace.actions if action.get("action") == "shrink_token_budget"]
        used = [
            (int(signal["step"]), number(signal.get("memory_mib")), number(signal.get("memory_total_mib")))
            for signal in trace.signals
        ]
        known = [(step, mib / total) for step, mib, total in used if math.isfinite(mib) and total > 0]
        near = [(step, share) for step, share in known if share >= NEAR]
        if not shrunk and len(near) < FEWEST:
            return
        first = min([int(action.get("step", 0)) for action in shrunk] + [step for step, _ in near])
        most = max((share for _, share in known), default=math.nan)
        change, remedy = _remedy(trace, shrunk)
        yield Finding(
            name=self.name,
            severity="info" if shrunk and len(near) < FEWEST else "warning",
            message=_message(shrunk, most),
            since=first,
            evidence={
                "highest_share": most,
                "samples_near": len(near),
                "budgets": [number(action.get("after")) for action in shrunk],
            },
            remedy=remedy,
            change=change,
            series=(Curve(say("share of memory"), [step for step, _ in known], [share for _, share in known]),),
            confidence=1.0,  # Both are counted, not estimated.
        )


def _message(shrunk: list[dict[str, Any]], most: float) -> str:
    if not shrunk:
        return say("Up to {share:.0%} of the memory is in use: a batch of longer rows may not fit.", share=most)
    return say(
        "Memory ran out {times}; the token budget is now {budget:.0f}, and steps went on without any loss.",
        times=say("{count} times", count=len(shrunk)) if len(shrunk) > 1 else say("once"),
        budget=number(shrunk[-1].get("after")),
    )


def _remedy(trace: Trace, shrunk: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    recipe = trace.facts.recipe
    if trace.facts.origin != "trimtab":
        return {}, say("Take smaller batches with more accumulation, or gradient checkpointing.")
    if shrunk and number(shrunk[-1].get("after")) >= 1:
        fits = int(number(shrunk[-1].get("after")))
        return (
            {"training.max_tokens_per_batch": fits},
            say("Start with the budget that fits: training.max_tokens_per_batch={budget}.", budget=fits),
        )
    budget = number(recipe.get("training.max_tokens_per_batch"))
    if math.isfinite(budget) and budget >= 2:
        half = int(budget) // 2
        return (
            {"training.max_tokens_per_batch": half},
            say(
                "Cut batches in smaller pieces, which changes no step: training.max_tokens_per_batch={budget}.",
                budget=half,
            ),
        )
    if recipe.get("training.gradient_checkpointing") is False:
        return (
            {"training.gradient_checkpointing": True},
            say("Recompute activations: training.gradient_checkpointing=true."),
        )
    return {}, say("Take a smaller model, or a strategy that trains less (--strategy lora).")
