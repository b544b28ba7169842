"""The order of the rows repeats from epoch to epoch, or goes class by class: seen in the losses of the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Estimate, Floats, level
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Steps of an epoch, epochs, and steps after the first epoch from which on a pattern can be told from chance: ours.
FEWEST_STEPS, FEWEST_EPOCHS, FEWEST_REPEATED = 10, 2, 20
# Mean correlation of the losses at the same place of two epochs in a row. Batches drawn anew give 0. Our choice, by
# simulated runs.
LEAST_CORRELATION = 0.5
SURE = 0.999
# Standard deviation of the repeated pattern, as a share of the mean loss and in nats, from which it looks like rows in
# the order of their classes: 0.5 and more in simulated runs, of rows in one mixed order 0.03 to 0.1. Our choice.
WIDE, WIDE_NATS = 0.30, 0.10


@CONDITIONS.register("unshuffled_order")
class UnshuffledOrder(Condition):
    """Rows are not drawn anew in each epoch."""

    title = "order of the rows that repeats"
    rule = (
        "about their falling trend, the losses at the same place of two epochs in a row correlate by 0.5 on average, "
        "with a certainty of 0.999 and more than at any other offset, over 10 steps an epoch and 20 repeated ones at "
        "the least (`warning`; `act` where the pattern varies by 30 % of the loss, as of rows sorted by class)"
    )
    source = "our rule, from simulated runs"
    needs = ("steps",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding where the pattern of the losses repeats."""
        epochs = _epochs(trace)
        if epochs is None or _cycles(trace):
            return
        first, residuals, mean_loss = epochs
        correlation, sure, offsets = _repeats(residuals)
        if not correlation >= LEAST_CORRELATION or sure < SURE or correlation < offsets.max(initial=-1.0):
            return
        pattern = residuals.mean(axis=0)
        spread = float(pattern.std()) / mean_loss if mean_loss > 0 else 0.0
        sorted_rows = spread >= WIDE and spread * mean_loss >= WIDE_NATS
        places = list(range(2, len(pattern) + 2))
        yield Finding(
            "unshuffled_order",
            "act" if sorted_rows else "warning",
            say(
                "The losses at the same place of two epochs correlate by {correlation:.2f}: the rows come in the same "
                "order in each epoch{sorting}.",
                correlation=correlation,
                sorting=say(", and by their looks class by class") if sorted_rows else "",
            ),
            first,
            {"correlation": correlation, "pattern_share": spread, "epochs": len(residuals)},
            say("Shuffle the rows anew in each epoch (a sampler with shuffle=True, or a larger shuffle buffer)."),
            series=tuple(
                Curve(f"epoch {index + 1}", places, residuals[index].tolist())
                for index in range(min(4, len(residuals)))
            ),
            # 1 - p of the mean correlation, by Fisher's transformation.
            confidence=sure,
            x_label=say("step of the epoch"),
        )


def _epochs(trace: Trace) -> tuple[int, Floats, float] | None:
    """Step at which the second epoch ends, losses less their falling trend `[epochs, places]`, and the mean loss.

    The first and the last place of an epoch are left out: loaders may begin with the longest rows, and end with few.
    """
    size, steps, losses = trace.facts.steps_per_epoch, trace.steps, trace.column("loss")
    if not size or size < FEWEST_STEPS + 2 or len(steps) < FEWEST_EPOCHS * size:
        return None
    whole = int(steps[-1]) // size
    table = np.full((whole, size), np.nan)
    inside = (steps >= 1) & (steps <= whole * size)
    place = steps[inside].astype(np.int64) - 1
    table[place // size, place % size] = losses[inside]
    if (whole - 1) * (size - 2) < FEWEST_REPEATED or np.isfinite(table).mean() < 0.95:
        return None
    flat = table.ravel()
    flat = np.where(np.isfinite(flat), flat, np.nanmedian(flat))
    residuals = (flat - _falling(flat)).reshape(whole, size)[:, 1:-1]
    residuals -= residuals.mean(axis=1, keepdims=True)
    if not (residuals.std(axis=1) > 0).all():
        return None
    return 2 * size, residuals, float(np.mean(flat))


def _falling(values: Floats) -> Floats:
    """The nearest series that never rises (isotonic regression), which any healthy fall of the loss is close to."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values, increasing=False).x, np.float64)


def _repeats(residuals: Floats) -> tuple[float, float, Floats]:
    """Mean correlation of neighbouring epochs, certainty that it is above 0, and the correlations at other offsets."""
    scaled = residuals / np.sqrt((residuals**2).sum(axis=1, keepdims=True))
    pairs = (scaled[1:] * scaled[:-1]).sum(axis=1)
    places = residuals.shape[1]
    others = np.array(
        [(scaled[1:] * np.roll(scaled[:-1], shift, axis=1)).sum(axis=1).mean() for shift in range(1, places)]
    )
    # Neighbouring steps may be alike, as in waves: then there are fewer independent places.
    worth = min(_independent(row) for row in residuals)
    error = 1 / math.sqrt(max(1.0, worth * places - 3) * len(pairs))
    z = float(np.arctanh(np.clip(pairs, -0.999, 0.999)).mean())
    return float(pairs.mean()), Estimate(z, error).above(), others


def _independent(values: Floats) -> float:
    """How many independent values each value is worth."""
    found = level(values)
    plain = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(np.clip((plain / found.error) ** 2, 0.0, 1.0)) if found.known and found.error > 0 else 1.0


def _cycles(trace: Trace) -> bool:
    """Whether the learning rate rises again after it has fallen: then the losses follow it."""
    rates = trace.column("learning_rate")
    changes = np.sign(np.diff(rates[np.isfinite(rates)]))
    turns = changes[changes != 0]
    return bool(((turns[1:] > 0) & (turns[:-1] < 0)).any())
