"""The figures of a run's events, step by step, under the names by which trackers group them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

BLOCK_FIGURES = ("update_ratio", "gradient_norm", "weight_norm", "dead_units", "drift", "attention_entropy")
"""Figures that there are for each block, as `<figure>/<block>`."""
_SIGNALS = {"update_ratio": "update_ratio", "grad_norm": "gradient_norm", "weight_norm": "weight_norm"}
_INSPECTED = ("dead_units", "drift", "attention_entropy")


@dataclass
class Row:
    """All figures of one step.

    Args:
        step: optimizer steps taken.
        time: seconds since the epoch.
        values: name (`train/loss`, `validation/accuracy`, `learning_rate/head`, …) -> figure; a loss that was not
            finite is NaN.
        is_plain: whether it is one of the many steps of which nothing but the step itself was recorded.
    """

    step: int
    time: float
    values: dict[str, float] = field(default_factory=dict)
    is_plain: bool = True


@dataclass(frozen=True)
class Back:
    """The run went back, or is resumed: what was told of steps above `step` did not happen."""

    step: int


class Timeline:
    """Follows the events of a run in order, and gives each step's row when the step is over."""

    def __init__(self) -> None:
        self._row: Row | None = None
        self._last: dict[str, int] = {}

    def follow(self, event: Mapping[str, Any]) -> Iterator[Row | Back]:
        """Take the next event; yield what it completes or voids."""
        kind, step = event.get("type"), event.get("step")
        if not isinstance(step, int):
            return
        if kind == "action" and event.get("action") == "resume":
            yield from self._go_back(step)
        elif kind in ("step", "signals"):
            if step <= self._last.get(str(kind), -1):
                yield from self._go_back(step - 1)
            self._last[str(kind)] = step
        values = figures(event)
        if not values:
            return
        if self._row is not None and self._row.step != step:
            yield self._row
            self._row = None
        if self._row is None:
            self._row = Row(step, float(event.get("time") or 0.0))
        self._row.values.update(values)
        self._row.is_plain = self._row.is_plain and kind == "step"

    def rest(self) -> Iterator[Row]:
        """Yield the row of the last step, which no later event has completed."""
        if self._row is not None:
            yield self._row
            self._row = None

    def _go_back(self, step: int) -> Iterator[Row | Back]:
        if self._row is not None and self._row.step <= step:
            yield self._row
        self._row = None
        self._last = {kind: min(last, step) for kind, last in self._last.items()}
        yield Back(step)


def rows_of(events: Iterable[Mapping[str, Any]], above: int, upto: int) -> list[Row]:
    """The rows of the steps from `above` + 1 to `upto` that hold, in order."""
    timeline, kept = Timeline(), list[Row]()
    for event in events:
        for item in timeline.follow(event):
            if isinstance(item, Row):
                kept += [item] if above < item.step <= upto else []
            else:
                while kept and kept[-1].step > item.step:
                    kept.pop()
    return [*kept, *(row for row in timeline.rest() if above < row.step <= upto)]


def figures(event: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one event by name; none for events that have none."""
    reader = _READERS.get(str(event.get("type")))
    return {} if reader is None else {name: value for name, value in reader(event) if value is not None}


def _step(event: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "epoch", _number(event.get("epoch"))
    for name in ("loss", "grad_norm"):
        if name in event:
            yield f"train/{name}", _finite_or_nan(event[name])
    for name in ("samples_per_second", "padding_share"):
        yield f"train/{name}", _number(event.get(name))
    tokens, seconds = _number(event.get("tokens")), _number(event.get("seconds"))
    yield "train/tokens_per_second", tokens / seconds if tokens and seconds else None
    for group, rate in _pairs(event.get("learning_rates")):
        yield f"learning_rate/{group}", _number(rate)
    for name, value in _pairs(event.get("extras")):
        yield f"extras/{name}", _number(value)


def _evaluation(event: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "epoch", _number(event.get("epoch"))
    for part, values in (("validation", event.get("metrics")), ("held_in", event.get("held_in"))):
        for name, value in _pairs(values):
            if part == "validation" or not name.startswith(("rows", "loss_error")):
                yield f"{part}/{name}", _finite_or_nan(value) if name == "loss" else _number(value)


def _signals(event: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for block, signals in _pairs(event.get("blocks")):
        for name, value in _pairs(signals):
            if name in _SIGNALS:
                yield f"{_SIGNALS[name]}/{block}", _number(value)
    yield "memory/mib", _number(event.get("memory_mib"))
    noise = dict(_pairs(event.get("noise")))
    variance, square = _number(noise.get("variance")), _number(noise.get("squared_norm"))
    # tr Σ / |G|², McCandlish et al. 2018, arXiv 1812.06162; a sample's |G|² may come out below 0, and tells nothing.
    yield "train/noise_scale", variance / square if variance is not None and square and square > 0 else None


def _inspection(event: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name in _INSPECTED:
        for block, value in _pairs(event.get(name)):
            yield f"{name}/{block}", _number(value)


_READERS = {"step": _step, "evaluation": _evaluation, "signals": _signals, "inspection": _inspection}


def results(judged: Mapping[str, Any]) -> dict[str, float]:
    """The final metrics of `evaluation.json` with the ends of their intervals: `test/accuracy`, `test/accuracy_low`."""
    split, found = str(judged.get("split") or "test"), {}
    for name, interval in _pairs(judged.get("metrics")):
        for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            value = _number(interval.get(end)) if isinstance(interval, Mapping) else None
            if value is not None:
                found[f"{split}/{name}{suffix}"] = value
    return found


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _finite_or_nan(value: Any) -> float:
    """What a record holds as null was not finite."""
    number = _number(value)
    return math.nan if number is None else number
