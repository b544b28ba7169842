"""Fewer rows for a chart, none of them made up: what stands out stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.dashboard.reading.columns import Columns

FEWEST_BUCKETS = 32
"""However many series there are, so that no chart becomes coarser than that."""
DIGITS = 7
"""Significant digits that float32 holds."""


def kept_rows(series: Sequence[NDArray[Any]], count: int, points: int) -> NDArray[np.int64]:
    """The rows to keep of a table: in each bucket of rows, where a series is least and where it is greatest.

    All rows are kept where there are no more than `points`; else about so many, and never fewer buckets than
    `FEWEST_BUCKETS`. The first and the last row are always there.

    Args:
        series: `[count]` each; NaN where there is no value. A bucket without values keeps nothing of that series.
        count: rows of the table.
        points: rows wanted.

    Returns:
        Indices, ascending, int64 `[kept]`.
    """
    if count <= max(2, points):
        return np.arange(count)
    told = [values for values in series if np.isfinite(values).any()]
    buckets = min(count, max(FEWEST_BUCKETS, points // (2 * max(1, len(told)))))
    keep = np.zeros(count, bool)
    keep[[0, -1]] = True
    if not told:
        keep[np.linspace(0, count - 1, max(2, points)).astype(np.int64)] = True
    for values in told:
        keep[extremes(values, buckets)] = True
    return np.flatnonzero(keep)


def extremes(values: NDArray[Any], buckets: int) -> NDArray[np.int64]:
    """Where a series is least and greatest in each of so many buckets of equal length; infinite values count as none.

    Args:
        values: `[n]`, n > 0.
        buckets: how many; the last ones may be empty.

    Returns:
        Indices, in no order, int64 `[at most 2 · buckets]`.
    """
    size = math.ceil(len(values) / buckets)
    padded = np.full(size * math.ceil(len(values) / size), np.nan, values.dtype)
    padded[: len(values)] = values
    table = padded.reshape(-1, size)
    is_there = np.isfinite(table)
    rows = np.flatnonzero(is_there.any(axis=1))
    least = np.where(is_there, table, np.inf).argmin(axis=1)
    greatest = np.where(is_there, table, -np.inf).argmax(axis=1)
    return np.concatenate([rows * size + least[rows], rows * size + greatest[rows]])


def sampled(columns: Columns, points: int) -> tuple[Columns, bool]:
    """A table with about so many rows, and whether rows were left out."""
    count = len(columns.step)
    rows = kept_rows(list(columns.series.values()), count, points)
    return (columns, False) if len(rows) == count else (taken(columns, rows), True)


def taken(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """Some rows of a table."""
    return Columns(
        step=columns.step[rows],
        epoch=columns.epoch[rows],
        time=columns.time[rows],
        series={name: values[rows] for name, values in columns.series.items()},
    )


def to_json(columns: Columns) -> dict[str, Any]:
    """A table as the page takes it: lists of one length, null where there is no finite number."""
    return {
        "step": columns.step.tolist(),
        "epoch": listed(columns.epoch),
        "time": listed(columns.time, None),
        "series": {name: listed(values) for name, values in columns.series.items()},
    }


def listed(values: NDArray[Any], digits: int | None = DIGITS) -> list[float | None]:
    """The values as a list, rounded to so many significant digits (as they are with None); None for NaN and infinity.

    A float32 as a float64 has digits that mean nothing, and that would make half of what is sent.
    """
    exact = np.asarray(values, np.float64)
    is_finite = np.isfinite(exact)
    rounded: list[float | None] = (exact if digits is None else significant(exact, digits)).tolist()
    for index in np.flatnonzero(~is_finite):
        rounded[index] = None
    return rounded


def significant(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """The values rounded to so many significant digits; NaN and infinity as they are."""
    is_number = np.isfinite(values) & (values != 0)
    magnitude = np.zeros(len(values))
    magnitude[is_number] = np.floor(np.log10(np.abs(values[is_number])))
    places = digits - 1 - magnitude
    # Powers of ten are exact up to 1e22, so that dividing by one gives the double nearest to the decimal number.
    up, down = 10.0 ** np.clip(places, 0, 300), 10.0 ** np.clip(-places, 0, 300)
    return np.where(is_number, np.round(values * up / down) / up * down, values)
