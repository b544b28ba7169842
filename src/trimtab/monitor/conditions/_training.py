"""The losses of the steps against where they began, and the size of updates: what conditions of training share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.core.said import say
from trimtab.monitor.conditions._series import (
    UNKNOWN,
    Estimate,
    Floats,
    finite,
    level,
    median,
    scatter,
    smoothed,
    window_of,
)
from trimtab.monitor.findings import Curve, round_significant
from trimtab.monitor.trace import Trace

# Steps from which on a training curve is judged.
FEWEST_STEPS = 10
# A row that a trained classifier gets wrong costs about so many nats (our choice): the mean of n rows with mean loss L,
# nearly all of it from few such rows, then has the variance COST · L / n.
COST = 4.0
# Standard error of the loss of a step before anything is learnt, as a share of it (our choice).
LEAST_ERROR = 0.03
# Update over weight of a step, at the peak of the run. 1e-3 is the usual yardstick (Karpathy, CS231n notes, "Neural
# Networks Part 3"); a new head and adapters are small and move more. Ours, on short runs of the starter model at rates
# that work: blocks 1.3e-3 to 2.6e-3, a head that trains alone 5e-2, LoRA 6e-2.
TYPICAL_RATIO = {"blocks": 1.5e-3, "head": 5e-2, "adapters": 5e-2}
# Strategies that train small new or added tensors within the blocks.
ADAPTERS = ("adalora", "bitfit", "ia3", "lora", "oft", "prefix", "prompt", "vera")

# Conditions that follow where a model was blown up by its own steps.
CONSEQUENCES = (
    "underfitting",
    "class_collapse",
    "class_imbalance",
    "plateau",
    "loss_spikes",
    "vanishing_gradients",
    "exploding_gradients",
    "dead_units",
)


@dataclass(frozen=True)
class TrainingCurve:
    """The finite losses of the steps.

    Args:
        steps, losses: `[n]`.
        start: what an untrained model loses: the first loss, or chance level where that is more.
        start_error: standard error of a step's loss at that level.
        noise: robust standard deviation of a step's loss about the trend.
        window: steps that are averaged.
    """

    steps: Floats
    losses: Floats
    start: float
    start_error: float
    noise: float
    window: int

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def end(self) -> Estimate:
        """Mean loss of the last fifth of the steps."""
        return level(self.losses[-window_of(len(self), 0.2) :]) if len(self) else UNKNOWN

    @property
    def smooth(self) -> Floats:
        """Running median of the losses, `[n]`."""
        return smoothed(self.losses, self.window)

    def curves(self) -> tuple[Curve, ...]:
        """What to plot: the losses, and their running median."""
        steps = self.steps.tolist()
        return (
            Curve(say("training loss"), steps, self.losses.tolist()),
            Curve(say("running median"), steps, self.smooth.tolist()),
        )


def training_curve(trace: Trace) -> TrainingCurve:
    """The training curve of a run; of length 0 where no loss is known."""
    steps, losses = finite(trace.steps, trace.column("loss"))
    if not len(losses):
        return TrainingCurve(steps, losses, math.nan, math.nan, math.nan, 0)
    start = max(float(losses[0]), trace.facts.chance or 0.0)
    rows = median(trace.column("weight"))
    rows = rows if math.isfinite(rows) and rows >= 1 else float(trace.facts.batch_size or 8)
    # At chance level each row loses about the same. Elsewhere the first losses tell, and those of a trained classifier
    # with as many mistakes are the most that can be expected.
    error = LEAST_ERROR * start
    if not trace.facts.chance or start > 1.1 * trace.facts.chance:
        seen = scatter(losses[:6])
        error = min(math.sqrt(COST * max(start, 0.0) / rows), max(error, seen if math.isfinite(seen) else math.inf))
    window = window_of(len(losses), 0.1, least=5, most=50)
    return TrainingCurve(steps, losses, start, error, scatter(losses), window)


@dataclass(frozen=True)
class UpdateSize:
    """How far steps move the weights.

    Args:
        steps: sampled steps, `[s]`.
        ratios: ‖Δw‖ / ‖w‖ of each, the median over the blocks that train, or of the head where it trains alone,
            `[s]`.
        part: `blocks`, `adapters` or `head`.
    """

    steps: Floats
    ratios: Floats
    part: str

    @property
    def peak(self) -> float:
        """The largest of them; NaN where none is known."""
        return float(self.ratios.max()) if len(self.ratios) else math.nan

    @property
    def typical(self) -> float:
        """What is usual for the part."""
        return TYPICAL_RATIO[self.part]

    def curve(self) -> Curve:
        """What to plot."""
        return Curve(say("update / weight"), self.steps.tolist(), self.ratios.tolist())


def update_size(trace: Trace) -> UpdateSize:
    """The size of updates in a run; empty where signals were not recorded."""
    steps, ratios = trace.block_signal("update_ratio")
    body = [values for block, values in ratios.items() if block not in ("embeddings", "head")]
    if not body:
        part = say("head")
    else:
        part = say("adapters") if trace.facts.strategy in ADAPTERS else say("blocks")
    chosen = body or [values for block, values in ratios.items() if block == "head"]
    if not chosen:
        return UpdateSize(np.empty(0), np.empty(0), part)
    middle = np.asarray([median(column) for column in np.asarray(chosen).T], np.float64)
    steps, middle = finite(steps, middle)
    return UpdateSize(steps, middle, part)


def peak_rate(trace: Trace) -> float | None:
    """The recipe's peak learning rate, else the largest that was recorded."""
    if trace.facts.learning_rate:
        return trace.facts.learning_rate
    (rates,) = finite(trace.column("learning_rate"))
    return float(rates.max()) if len(rates) and rates.max() > 0 else None


def rate_change(trace: Trace, factor: float) -> tuple[dict[str, Any], str]:
    """The change of the recipe that multiplies the peak rate, and the new rate in words; ({}, "") where it is unknown.

    Of a run that is not ours there is no recipe to change, only a rate to name.
    """
    rate = peak_rate(trace)
    if rate is None:
        return {}, ""
    wanted = round_significant(rate * factor, 1)
    change = {"optimizer.learning_rate": wanted} if trace.facts.origin == "trimtab" else {}
    return change, f"{wanted:g}"
