"""The learning rate is too low: the loss hardly moves because the weights hardly do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import slope
from trimtab.monitor.conditions._training import FEWEST_STEPS, rate_change, training_curve, update_size
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

# Update over weight at the peak of the run, as a share of the typical. Calibrated on short runs of the starter model:
# a tenth of the rate that works gave 0.1, a hundredth 0.01, of blocks, of a head and of LoRA alike.
LOW = 0.15
# Share of the starting loss that is still there (a tenth of the rate left 0.96, a hundredth 0.98).
LEFT = 0.9
SURE = 0.95
# Part of the run after which a loss that has not moved says something.
SETTLED = 0.5
# The rate is not multiplied by more, whatever the ratio says.
MOST = 100.0


@CONDITIONS.register("learning_rate_too_low")
class LearningRateTooLow(Condition):
    """A loss near its start although gradients arrive, with updates far smaller than usual.

    A run with updates of the usual size that has not learnt yet is short of steps or of capacity, not of rate.
    """

    title = "Learning rate too low"
    rule = (
        "After half of the run, the mean loss of the last steps is surely above 0.9 of the first, gradients are not 0, "
        "and no sampled step moved the weights by more than 0.15 of the usual share (1.5e-3 of the blocks, 5e-2 of "
        "adapters and of a head that trains alone)."
    )
    source = "Update ratio: Karpathy, CS231n notes (about 1e-3); thresholds of our own"
    needs = ("steps", "blocks")
    explains = ("underfitting", "class_collapse", "class_imbalance", "plateau")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if the loss is flat and the updates are tiny."""
        curve, updates = training_curve(trace), update_size(trace)
        norms = trace.column("grad_norm")
        moves = bool((norms[np.isfinite(norms)] > 0).any()) and updates.peak > 0
        if len(curve) < FEWEST_STEPS or trace.progress < SETTLED or not moves or curve.start <= 0:
            return
        # Confidence that more of the starting loss is left than should be.
        flat = curve.end.above(LEFT * curve.start)
        if flat < SURE or updates.peak > LOW * updates.typical:
            return
        factor = min(MOST, updates.typical / updates.peak)
        change, rate = rate_change(trace, factor)
        fall = slope(curve.steps, curve.losses)
        yield Finding(
            name=self.name,
            severity="act",
            message=say(
                "The learning rate is too low: the training loss went from {start:.3f} to {last:.3f}, and no step "
                "moved the {part} by more than {most:.1e} of their size, where {typical:.0e} is usual.",
                start=curve.start,
                last=curve.end.value,
                part=updates.part,
                most=updates.peak,
                typical=updates.typical,
            ),
            since=int(curve.steps[0]),
            evidence={
                "start_loss": curve.start,
                "last_loss": curve.end.value,
                "update_ratio": updates.peak,
                "usual_update_ratio": updates.typical,
                "slope_per_step": fall.value,
                "slope_error": fall.error,
            },
            remedy=say(
                "Raise the peak learning rate by a factor of {factor:.0f}{to}; `trimtab lr-find` measures a range.",
                factor=factor,
                to=say(", to {rate}", rate=rate) if rate else "",
            ),
            change=change,
            series=(*curve.curves(), updates.curve()),
            confidence=flat,
        )
