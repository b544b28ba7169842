"""Vanishing gradients: hardly anything of the gradient reaches the first blocks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._depth import depth_gradients, last_half, sign_confidence
from trimtab.monitor.conditions._training import rate_change, training_curve, update_size
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

# AUTOTRAINER's β1 and β2, as its code has them: the first layer's gradient over the last one's, and its norm.
RATIO, NORM = 1e-3, 1e-4
# Share of the start that is left of the loss where the blocks' standing still costs something (our choice).
LEFT = 0.5
# Three samples of three that lie on one side give 0.875.
SURE = 0.85


@CONDITIONS.register("vanishing_gradients")
class VanishingGradients(Condition):
    """The first block's gradient against the last one's, in the second half of the sampled steps."""

    title = "Vanishing gradients"
    rule = (
        "In the second half of the sampled steps, the median of the first trained block's gradient norm is below 1e-4 "
        "and below 1e-3 of the last block's. Good to know where the loss has halved, else a warning."
    )
    source = "AUTOTRAINER (Zhang et al. 2021, ICSE), its thresholds for first and last layer"
    needs = ("blocks",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if the gradient is lost on its way."""
        found = depth_gradients(trace)
        if found is None:
            return
        lost = (found.ratios < RATIO) & (found.norms[:, 0] < NORM)
        ratios, norms, flags = last_half(found.ratios), last_half(found.norms[:, 0]), last_half(lost.astype(np.float64))
        # Confidence that the gradient is lost in more than half of the steps.
        confidence = sign_confidence(int(flags.sum()), len(flags))
        if not len(ratios) or np.median(ratios) >= RATIO or np.median(norms) >= NORM or confidence < SURE:
            return
        curve, updates = training_curve(trace), update_size(trace)
        learnt = len(curve) > 0 and curve.end.known and curve.end.value < LEFT * curve.start
        # Updates far beyond the usual have broken the blocks; else it is how the model is built.
        broken = updates.peak > 3 * updates.typical
        factor = max(3.0, min(30.0, updates.peak / updates.typical)) if broken else 1.0
        change, rate = rate_change(trace, 1 / factor) if broken else ({}, "")
        yield Finding(
            name=self.name,
            severity="info" if learnt else "warning",
            message=say(
                "Hardly any gradient reaches {first}: its norm is {norm:.1e}, {ratio:.1e} of that of {last}.",
                first=found.names[0],
                norm=np.median(norms),
                ratio=np.median(ratios),
                last=found.names[-1],
            ),
            since=found.since(lost),
            evidence={
                "ratio": float(np.median(ratios)),
                "first_norm": float(np.median(norms)),
                "first_block": found.names[0],
                "last_block": found.names[-1],
                "samples": len(ratios),
            },
            remedy=say(
                "Lower the peak learning rate to {rate}: large steps have put the blocks out of work.", rate=rate
            )
            if broken and rate
            else say(
                "Train the upper blocks only (--strategy partial), which loses nothing here; or take a model with "
                "residual connections and normalisation."
            ),
            change=change,
            series=found.curves(),
            confidence=confidence,
        )
