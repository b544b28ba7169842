"""The batch is too small: the gradient's noise outweighs the gradient by far."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Floats, finite, level, median, slope
from trimtab.monitor.conditions._training import TrainingCurve, training_curve
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Times the rows of a step that the scale must be. Calibrated by benchmarks/doctor: 4.2 at most in healthy runs.
FAR = 5.0
# Standard errors by which |G|² is raised before it is divided by: its estimates are wide, and may be negative.
ERRORS = 2.0
FEWEST_SAMPLES, FEWEST_STEPS = 8, 20
# So few rows have no usable estimate of noise within a step; then the losses alone speak (our choice).
FEW_ROWS = 4
# Share of the starting loss: what is left to learn, and what losses scatter by (our choice).
LEFT, SCATTER = 0.3, 0.3
SURE = 0.9
# A step is made larger by no more at once.
MOST_TIMES = 16


@CONDITIONS.register("small_batch")
class SmallBatch(Condition):
    """Gradient noise scale at the head's last layer, and whether the training loss still gets anywhere."""

    title = "Batch too small"
    rule = (
        "The gradient noise scale, measured at the head's last linear layer and taken at the low end of its interval, "
        "is above 5 times the rows of a step, or a step has at most 4 rows and losses scatter by 0.3 of the first. A "
        "warning where the loss of the second half of the steps no longer surely falls and is above 0.3 of the first, "
        "or a step that noisy has at most 4 rows; else good to know."
    )
    source = "Gradient noise scale: McCandlish et al. 2018, arXiv 1812.06162; thresholds of our own"
    needs = ("steps", "batch_rows")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The finding, if noise outweighs the gradient."""
        curve = training_curve(trace)
        rows = median(trace.column("weight"))
        if len(curve) < FEWEST_STEPS or not rows >= 1 or curve.start <= 0:
            return
        scale, lowest = noise_scale(trace)
        noisy = math.isfinite(lowest) and lowest > FAR * rows
        jumps = bool(rows <= FEW_ROWS and curve.noise > SCATTER * curve.start)
        if not (noisy or jumps):
            return
        half = len(curve) // 2
        falls = slope(curve.steps[half:], curve.losses[half:]).below(0.0)
        stands = falls < SURE and curve.end.above(LEFT * curve.start) > SURE
        if jumps and not noisy and not stands:
            return
        yield _finding(trace, curve, rows, scale, lowest, noisy, stands or (noisy and rows <= FEW_ROWS), falls)


def noise_scale(trace: Trace) -> tuple[float, float]:
    """B = mean tr Σ / mean |G|² over the sampled steps, and the low end of its interval; NaN where it is not known.

    Negative estimates of |G|² count, so that their mean has no bias; a mean below 0 leaves B itself unknown.
    """
    found = [signal["noise"] for signal in trace.signals if signal.get("noise")]
    variances = np.asarray([number(noise.get("variance")) for noise in found], np.float64)
    squares = np.asarray([number(noise.get("squared_norm")) for noise in found], np.float64)
    variances, squares = finite(variances, squares)
    if len(squares) < FEWEST_SAMPLES:
        return math.nan, math.nan
    variance, square = float(variances.mean()), level(squares)
    highest = square.value + ERRORS * square.error
    return (
        variance / square.value if square.value > 0 else math.nan,
        variance / highest if highest > 0 else math.nan,
    )


def _finding(
    trace: Trace,
    curve: TrainingCurve,
    rows: float,
    scale: float,
    lowest: float,
    noisy: bool,
    stands: bool,
    falls: float,
) -> Finding:
    accumulation = int(trace.facts.recipe.get("training.gradient_accumulation_steps") or 1)
    wanted = lowest / (FAR * rows) if noisy else 32 / rows
    times = min(MOST_TIMES, max(2, 2 ** round(math.log2(max(1.0, wanted)))))
    why = (
        say("the gradient's noise, measured at the head alone, asks for {rows:.0f} rows or more", rows=lowest)
        if noisy
        else say("losses of single steps scatter by {scatter:.2f}", scatter=curve.noise)
    )
    return Finding(
        name="small_batch",
        severity="warning" if stands else "info",
        message=say(
            "Steps of {rows:.0f} rows are small: {why}, and the loss no longer surely falls.", rows=rows, why=why
        )
        if falls < SURE
        else say("Steps of {rows:.0f} rows are small: {why}; the loss falls all the same.", rows=rows, why=why),
        since=int(curve.steps[len(curve) // 2]),
        evidence={
            "noise_scale": scale,
            "noise_scale_low": lowest,
            "rows": rows,
            "loss_scatter": curve.noise,
            "last_loss": curve.end.value,
            "measured_at": "the head's last linear layer",
        },
        remedy=say(
            "Make steps {times} times as large: training.gradient_accumulation_steps={accumulation}.",
            times=times,
            accumulation=accumulation * times,
        ),
        change={"training.gradient_accumulation_steps": accumulation * times}
        if trace.facts.origin == "trimtab"
        else {},
        series=(*curve.curves(), *_plot(trace)),
        # The interval's low end is 2 standard errors away; of the warning also that no fall was seen.
        confidence=min(0.975, 1 - falls / 2) if stands else 0.975,
    )


def _plot(trace: Trace) -> tuple[Curve, ...]:
    found = [signal for signal in trace.signals if signal.get("noise")]
    if not found:
        return ()
    steps = [float(signal["step"]) for signal in found]
    deviations: Floats = np.sqrt(np.maximum([number(signal["noise"].get("variance")) for signal in found], 0.0))
    return (Curve(say("gradient noise of a row"), steps, deviations.tolist()),)
