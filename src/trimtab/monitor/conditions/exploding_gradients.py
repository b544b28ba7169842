"""Exploding gradients: they grow from block to block on their way to the input."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._depth import depth_gradients, last_half, sign_confidence
from trimtab.monitor.conditions._training import rate_change
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

# AUTOTRAINER's β3, as its code has it: the first layer's gradient over the last one's.
RATIO = 70.0
# Three samples of three that lie on one side give 0.875.
SURE = 0.85


@CONDITIONS.register("exploding_gradients")
class ExplodingGradients(Condition):
    """The first block's gradient against the last one's, in the second half of the sampled steps."""

    title = "Exploding gradients"
    rule = (
        "In the second half of the sampled steps, the median of the first trained block's gradient norm over the last "
        "block's is above 70."
    )
    source = "AUTOTRAINER (Zhang et al. 2021, ICSE), its threshold for first and last layer"
    needs = ("blocks",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if gradients grow towards the input."""
        found = depth_gradients(trace)
        if found is None:
            return
        large = (found.ratios > RATIO) & (found.norms[:, -1] > 0)
        ratios, flags = last_half(found.ratios), last_half(large.astype(np.float64))
        # Confidence that gradients grow so much in more than half of the steps.
        confidence = sign_confidence(int(flags.sum()), len(flags))
        if not len(ratios) or np.median(ratios) <= RATIO or confidence < SURE:
            return
        clips, ours = trace.facts.max_grad_norm, trace.facts.origin == "trimtab"
        if clips is None:
            change, remedy = {"training.max_grad_norm": 1.0}, say("Clip gradients: training.max_grad_norm=1.")
        else:
            change, rate = rate_change(trace, 1 / 3)
            remedy = (
                say("Lower the peak learning rate to {rate}, or train the upper blocks.", rate=rate)
                if rate
                else say("Lower the peak learning rate, or train the upper blocks.")
            )
        yield Finding(
            name=self.name,
            severity="warning",
            message=say(
                "Gradients grow on their way to the input: that of {first} is {times:.0f} times that of {last}.",
                first=found.names[0],
                times=np.median(ratios),
                last=found.names[-1],
            ),
            since=found.since(large),
            evidence={
                "ratio": float(np.median(ratios)),
                "first_block": found.names[0],
                "last_block": found.names[-1],
                "samples": len(ratios),
                "max_grad_norm": clips,
            },
            remedy=remedy,
            change=change if ours else {},
            series=found.curves(),
            confidence=confidence,
        )
