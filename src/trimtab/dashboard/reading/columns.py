"""Numbers of a run as columns, a table for each kind of event, growing event by event.

Values are kept as float32, steps and times at full width: a run of 100,000 steps takes a few MB.
"""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.way import Way
from trimtab.dashboard.reading.plain import number, whole

TABLES = ("step", "evaluation", "signals", "inspection")
MOST_SERIES = 4000
"""More of them in one table are no record of training; further ones are left out."""
BLOCK_SIGNALS = ("update_ratio", "grad_norm", "weight_norm")
INSPECTED = ("dead_units", "drift", "attention_entropy")
DESCRIPTIONS = ("rows", "loss_error")
"""What stands beside the metrics of the held-in sample without being one."""


@dataclass(frozen=True)
class Columns:
    """Rows of a table as arrays.

    Args:
        step: int64 `[n]`, ascending.
        epoch: passes over the data done, float32 `[n]`.
        time: seconds since the epoch, float64 `[n]`; it may go backwards.
        series: name -> values, float32 `[n]`; NaN where there is none.
    """

    step: NDArray[np.int64]
    epoch: NDArray[np.float32]
    time: NDArray[np.float64]
    series: dict[str, NDArray[np.float32]]


class Table:
    """Rows by step, each step once; a later row takes the place of those at its step and beyond."""

    def __init__(self) -> None:
        self._steps = array("q")
        self._epochs = array("f")
        self._times = array("d")
        self._series: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def names(self) -> list[str]:
        """Names of the series, in the order in which they appeared."""
        return list(self._series)

    @property
    def last_step(self) -> int:
        """The newest step; -1 where there is none."""
        return self._steps[-1] if self._steps else -1

    @property
    def size(self) -> int:
        """Bytes that the rows take."""
        return sum(column.itemsize * len(column) for column in self._columns())

    def append(self, step: int, epoch: float, time: float, values: Iterable[tuple[str, float]]) -> None:
        """Add a row; the caller has cut the table at its step."""
        count = len(self._steps)
        self._steps.append(step)
        self._epochs.append(epoch)
        self._times.append(time)
        for name, value in values:
            column = self._filled(name, count)
            if column is not None and len(column) == count:  # else the row names it twice
                column.append(value)

    def extend(
        self, steps: list[int], epochs: list[float], times: list[float], series: Mapping[str, list[float]]
    ) -> None:
        """Add many rows at once; their steps ascend from the last one on.

        Args:
            steps, epochs, times: `[n]`.
            series: name -> values `[n]`; NaN where there is none.
        """
        count = len(self._steps)
        self._steps.extend(steps)
        self._epochs.extend(epochs)
        self._times.extend(times)
        for name, values in series.items():
            column = self._filled(name, count)
            if column is not None:
                column.extend(values)

    def put_back(self, rows: Columns) -> None:
        """Append rows that `columns` gave, whose steps ascend from the last one on."""
        series = {name: values.tolist() for name, values in rows.series.items()}
        self.extend(rows.step.tolist(), rows.epoch.tolist(), rows.time.tolist(), series)

    def _filled(self, name: str, count: int) -> array[float] | None:
        """The values of a series, with NaN up to the row `count`; None where there are too many series for one more."""
        column = self._series.get(name)
        if column is None:
            if len(self._series) >= MOST_SERIES:
                return None
            column = self._series[name] = array("f")
        if len(column) < count:
            column.extend([math.nan] * (count - len(column)))
        return column

    def cut(self, step: int) -> int | None:
        """Drop the rows at `step` and beyond; the first step that was dropped, None where none was."""
        if not self._steps or self._steps[-1] < step:
            return None
        place = bisect_left(self._steps, step)
        first = self._steps[place]
        for column in self._columns():
            del column[place:]
        return first

    def _columns(self) -> list[array[Any]]:
        return [self._steps, self._epochs, self._times, *self._series.values()]

    def row_after(self, step: int) -> int:
        """Index of the first row beyond `step`."""
        return bisect_right(self._steps, step)

    def columns(self, start: int = 0, stop: int | None = None) -> Columns:
        """A copy of the rows `start` to `stop`."""
        stop = len(self) if stop is None else min(stop, len(self))
        return Columns(
            step=np.array(self._steps[start:stop], np.int64),
            epoch=np.array(self._epochs[start:stop], np.float32),
            time=np.array(self._times[start:stop], np.float64),
            series={name: _filled(column[start:stop], stop - start) for name, column in self._series.items()},
        )


def _filled(column: array[float], count: int) -> NDArray[np.float32]:
    """The column, NaN where it ends early."""
    values = np.full(max(0, count), np.nan, np.float32)
    values[: len(column)] = column
    return values


class Tables:
    """The tables of a run.

    Attributes:
        by_name: the tables, by `TABLES`.
    """

    def __init__(self) -> None:
        self.by_name = {name: Table() for name in TABLES}
        self._dropped: int | None = None
        self._way = Way(self._take_out, self._put_back)

    @property
    def last_step(self) -> int:
        """The newest step of training; 0 before the first."""
        return max(0, self.by_name["step"].last_step, self.by_name["evaluation"].last_step)

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        return {name: len(table) for name, table in self.by_name.items()}

    @property
    def size(self) -> int:
        """Bytes that all rows take."""
        return sum(table.size for table in self.by_name.values())

    def take_cut(self) -> int | None:
        """The step above which rows have been dropped since the last call; None where none were."""
        dropped, self._dropped = self._dropped, None
        return None if dropped is None else dropped - 1

    def add_all(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take the numbers of events in their order: as `add` for each, and several times as fast."""
        place = 0
        while place < len(events):
            end = self._end_of_steps(events, place)
            if end > place + 1:
                self._add_steps(events[place:end])
                place = end
            else:
                self.add(events[place])
                place += 1

    def _end_of_steps(self, events: Sequence[Mapping[str, Any]], place: int) -> int:
        """Where the `step` events from `place` on end that follow each other, beyond all rows that there are."""
        last = max(table.last_step for table in self.by_name.values())
        while place < len(events) and events[place].get("type") == "step":
            step = whole(events[place].get("step"))
            if step is None or step <= last:
                break
            last = step
            place += 1
        return place

    def _add_steps(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.by_name["step"].extend(
            [event["step"] for event in events],
            _numbers(events, "epoch"),
            _numbers(events, "time"),
            _step_series(events),
        )

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the numbers of one event; what makes no sense in it is left out."""
        step, kind = whole(event.get("step")), event.get("type")
        if step is None:
            return
        if kind == "step":
            self._add_step(step, event)
        elif kind == "evaluation":
            if event.get("split", "validation") == "validation":
                self._add("evaluation", step, event, _evaluation_values(event))
        elif kind == "signals":
            self._add("signals", step, event, _signal_values(event))
        elif kind == "inspection":
            self._add("inspection", step, event, _inspection_values(event))
        elif kind in ("action", "control"):
            self._way.follow(event)

    def _add_step(self, step: int, event: Mapping[str, Any]) -> None:
        # After a resume, steps since the checkpoint appear again: the later ones hold, and what followed them is void.
        # The signals of a step are written before the step itself.
        for table in ("step", "evaluation", "inspection"):
            self._cut(table, step)
        self._cut("signals", step + 1)
        self._add_steps([event])

    def _add(self, table: str, step: int, event: Mapping[str, Any], values: list[tuple[str, float]]) -> None:
        self._cut(table, step)
        self.by_name[table].append(step, number(event.get("epoch")), number(event.get("time")), values)

    def _take_out(self, above: int) -> dict[str, Columns]:
        later = {name: table.columns(table.row_after(above)) for name, table in self.by_name.items()}
        for name in TABLES:
            self._cut(name, above + 1)
        return later

    def _put_back(self, later: Mapping[str, Columns]) -> None:
        for name, rows in later.items():
            self.by_name[name].put_back(rows)

    def _cut(self, table: str, step: int) -> None:
        first = self.by_name[table].cut(step)
        if first is not None:
            self._dropped = first if self._dropped is None else min(first, self._dropped)


def _numbers(events: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """A field of each event as a float; NaN where it is none."""
    found = [event.get(name) for event in events]
    return [value if type(value) is float else number(value) for value in found]


def _step_series(events: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The series of `step` events: name -> a value each."""
    series = {
        name: _numbers(events, name)
        for name in ("loss", "grad_norm", "samples_per_second", "padding_share")
        if any(name in event for event in events)
    }
    pairs = zip(_numbers(events, "tokens"), _numbers(events, "seconds"), strict=True)
    speeds = [tokens / seconds if seconds > 0 else math.nan for tokens, seconds in pairs]
    if not all(map(math.isnan, speeds)):
        series["tokens_per_second"] = speeds
    for field, prefix in (("learning_rates", "learning_rate"), ("extras", "extras")):
        found = [event.get(field) for event in events]
        parts = [part if type(part) is dict else {} for part in found]
        for name in dict.fromkeys(itertools.chain.from_iterable(parts)):
            series[f"{prefix}/{name}"] = _numbers(parts, name)
    return series


def _evaluation_values(event: Mapping[str, Any]) -> list[tuple[str, float]]:
    metrics, held_in = event.get("metrics"), event.get("held_in")
    values = [(f"validation/{name}", number(value)) for name, value in _pairs(metrics)]
    return values + [(f"held_in/{name}", number(value)) for name, value in _pairs(held_in) if name not in DESCRIPTIONS]


def _signal_values(event: Mapping[str, Any]) -> list[tuple[str, float]]:
    values = [
        (f"{name}/{block}", number(signals[name]))
        for block, signals in _pairs(event.get("blocks"))
        if isinstance(signals, dict)
        for name in BLOCK_SIGNALS
        if name in signals
    ]
    if "memory_mib" in event:
        values.append(("memory_mib", number(event["memory_mib"])))
    noise = event.get("noise")
    if isinstance(noise, dict):
        # tr Σ / |G|², McCandlish et al. 2018, arXiv 1812.06162. A sample's |G|² may come out below 0: it tells nothing.
        variance, square = number(noise.get("variance")), number(noise.get("squared_norm"))
        values.append(("noise_scale", variance / square if square > 0 else math.nan))
    return values


def _inspection_values(event: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(f"{name}/{block}", number(value)) for name in INSPECTED for block, value in _pairs(event.get(name))]


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()
