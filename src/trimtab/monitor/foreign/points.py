"""From logged numbers, step by step, to a trace."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trimtab.monitor.facts import Facts
from trimtab.monitor.foreign.names import METRICS, main_metric
from trimtab.monitor.trace import Trace

# Scalars that loggers put among the metrics, and that measure the machine.
_NOT_METRICS = ("runtime", "_per_second", "preparation_time", "jit_compilation_time", "num_tokens", "mem_")


@dataclass
class Point:
    """What was logged after one step.

    Args:
        step: optimizer steps taken.
        epoch: passes over the data done; NaN where it was not logged.
        train: `loss`, `learning_rate` and `grad_norm`, those that were logged. One that is there and not finite was not
            finite in the run; a step without a loss is none to us.
        validation: `loss` and metrics on the validation rows.
        held_in: the same on training rows, in evaluation mode.
        rows: number of validation rows; 0 where it is not known.
    """

    step: int
    epoch: float = math.nan
    train: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    held_in: dict[str, float] = field(default_factory=dict)
    rows: int = 0

    def put(self, part: str, name: str, value: float) -> None:
        """Take note of a value; part and name as in `names.Meaning`."""
        values: dict[str, float] = getattr(self, part)
        values[name] = value


def events_of(point: Point) -> Iterator[dict[str, Any]]:
    """The events that a run of ours would have written for this point."""
    epoch = point.epoch if math.isfinite(point.epoch) else None
    train = point.train
    if "loss" in train:
        rate = train.get("learning_rate", math.nan)
        # No `skipped`, even where the loss is NaN: other programs go on with whatever weights that gave.
        yield {
            "type": "step",
            "step": point.step,
            "epoch": epoch,
            "loss": train["loss"],
            "grad_norm": train.get("grad_norm"),
            "learning_rates": {"all": rate} if math.isfinite(rate) else {},
        }
    validation = {name: value for name, value in point.validation.items() if is_metric(name)}
    if validation:
        held_in = {name: value for name, value in point.held_in.items() if is_metric(name)}
        yield {
            "type": "evaluation",
            "step": point.step,
            "epoch": epoch,
            "split": "validation",
            "metrics": validation,
            **({"held_in": held_in} if held_in else {}),
            **({"detail": {"rows": point.rows}} if point.rows else {}),
        }


def is_metric(name: str) -> bool:
    """Whether a name beside the validation rows is that of a measure of quality."""
    return name in METRICS or not any(part in name for part in _NOT_METRICS)


def mend_hidden(points: Sequence[Point]) -> None:
    """Losses of exactly 0 that stand for NaN become NaN.

    The Trainer of transformers leaves losses that are not finite out of the mean that it logs; where all of a stretch
    are, it logs `loss: 0.0`. The gradient norm, or the next validation loss, tells.
    """
    then_bad = False
    for point in reversed(points):
        if "loss" in point.validation:
            then_bad = not math.isfinite(point.validation["loss"])
        bad = then_bad or not math.isfinite(point.train.get("grad_norm", 0.0))
        if bad and point.train.get("loss") == 0.0:
            point.train["loss"] = math.nan


def trace_of(points: Sequence[Point], facts: Facts) -> Trace:
    """The trace of logged points, with facts that follow from them.

    Args:
        points: in the order in which they were logged.
        facts: what is known besides; the metric, the learning rate and the warm-up are worked out where they are not.
    """
    events = itertools.chain.from_iterable(events_of(point) for point in points)
    return Trace.from_events(events, with_inferred(facts, points))


def with_inferred(facts: Facts, points: Sequence[Point]) -> Facts:
    """`facts` with what the points show: metric, peak rate, length of the warm-up."""
    found: dict[str, Any] = {}
    if not facts.metric:
        logged = {name for point in points for name in point.validation if is_metric(name)}
        found["metric"], found["higher_is_better"] = main_metric(logged)
    rates = [(point.step, point.train["learning_rate"]) for point in points if "learning_rate" in point.train]
    rates = [(step, rate) for step, rate in rates if math.isfinite(rate)]
    if rates and facts.learning_rate is None:
        peak = max(rate for _, rate in rates)
        found["learning_rate"] = peak
        first = next(index for index, (_, rate) in enumerate(rates) if rate == peak)
        # The rate rose, and it has been seen not to rise any more.
        if 0 < first < len(rates) - 1 and not facts.warmup_steps:
            found["warmup_steps"] = rates[first][0]
    return replace(facts, **found)


def merged(points: Iterable[Point]) -> list[Point]:
    """Points one after the other with the same step as one; what was logged later holds."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1].step == point.step:
            last = kept[-1]
            last.epoch = last.epoch if math.isnan(point.epoch) else point.epoch
            for part in ("train", "validation", "held_in"):
                getattr(last, part).update(getattr(point, part))
        else:
            kept.append(point)
    return kept


def finite(value: Any) -> float | None:
    """`value` as a float, whatever it is, NaN and infinity too; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
