"""Overconfidence: the model is surer of its predictions than it is right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._fit import delivered_index, has_ended, share_error, validation_rows
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Evaluation, Trace, number

# Mean confidence less accuracy, beyond two standard errors, for `info` and `warning` (our choice). A model that is less
# sure than right, as after few steps, has a large calibration error too, and is none of this.
INFO, WARN = 0.03, 0.15
# Calibration error that has to be there as well, and the confidence on errors that makes it a warning (our choice).
LEAST_ECE, SURE_OF_ERRORS = 0.08, 0.85
# Share of the planned steps before which nothing is said.
EARLY = 0.4


@CONDITIONS.register("overconfidence")
class Overconfidence(Condition):
    """Probabilities say more than they know."""

    title = "Overconfidence (calibration)"
    rule = (
        "From 40 % of the planned steps on, where the delivered weights stand, the mean confidence is above the "
        "accuracy by 0.03 beyond two standard errors, with a calibration error of 0.08 or more (`warning`: by 0.15, "
        "with a mean confidence of 0.85 on errors)."
    )
    source = "Guo et al. 2017, On Calibration of Modern Neural Networks; thresholds: our choice"
    needs = ("confidence",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding."""
        delivered, total = delivered_index(trace), trace.facts.total_steps
        if delivered is None or (total and not has_ended(trace) and trace.evaluations[-1].step / total < EARLY):
            return
        evaluation = trace.evaluations[delivered]
        excess, ece = _excess(trace, evaluation), evaluation.values.get("ece", math.nan)
        least = excess.value - 2 * excess.error
        if not (least >= INFO and ece >= LEAST_ECE):
            return
        on_errors = number(evaluation.detail.get("error_confidence"))
        severity: Any = "warning" if least >= WARN and on_errors >= SURE_OF_ERRORS else "info"
        accuracy, confidence = evaluation.values["accuracy"], number(evaluation.detail.get("confidence"))
        yield Finding(
            "overconfidence",
            severity,
            say(
                "The model is sure of its predictions by {confidence:.2f} on average and right in {accuracy:.2f} of "
                "the validation rows (calibration error {ece:.2f}){on_errors}.",
                confidence=confidence,
                accuracy=accuracy,
                ece=ece,
                on_errors=say("; where it is wrong, it is sure by {confidence:.2f}", confidence=on_errors)
                if math.isfinite(on_errors)
                else "",
            ),
            since=evaluation.step,
            evidence={
                "confidence": confidence,
                "accuracy": accuracy,
                "excess": excess.value,
                "excess_error": excess.error,
                "ece": ece,
                "confidence_on_errors": on_errors,
            },
            remedy=say("Smooth the labels if probabilities are used; predicted classes hardly change."),
            change=_change(trace),
            series=_curves(trace),
            confidence=excess.above(),  # that confidence is above accuracy, by the binomial error of the accuracy
        )


def _excess(trace: Trace, evaluation: Evaluation) -> Estimate:
    """Mean confidence less accuracy; its error is that of the accuracy, beside which that of the mean is small."""
    accuracy = evaluation.values.get("accuracy", math.nan)
    return Estimate(
        number(evaluation.detail.get("confidence")) - accuracy,
        share_error(accuracy, validation_rows(trace, evaluation)),
    )


def _change(trace: Trace) -> dict[str, Any]:
    recipe = trace.facts.recipe
    clashes = recipe.get("regularization.label_smoothing") or recipe.get("regularization.focal_gamma")
    return {} if clashes else {"regularization.label_smoothing": 0.1}


def _curves(trace: Trace) -> tuple[Curve, ...]:
    steps: list[float] = [evaluation.step for evaluation in trace.evaluations]
    confidence = [number(evaluation.detail.get("confidence")) for evaluation in trace.evaluations]
    return (
        Curve(say("confidence"), steps, confidence),
        Curve(say("accuracy"), steps, [found.values.get("accuracy", math.nan) for found in trace.evaluations]),
        Curve(say("calibration error"), steps, [found.values.get("ece", math.nan) for found in trace.evaluations]),
    )
