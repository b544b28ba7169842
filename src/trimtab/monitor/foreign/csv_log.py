"""A table of losses: CSV with columns such as step, train loss, validation loss, under whatever names."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from trimtab.core.errors import RunError
from trimtab.monitor.facts import Facts
from trimtab.monitor.foreign.names import Meaning, chosen
from trimtab.monitor.foreign.points import Point, merged, trace_of
from trimtab.monitor.trace import Trace

DELIMITERS = ",\t;|"
SUFFIXES = (".csv", ".tsv", ".txt", ".log")
Column = list[tuple[int, float]]
"""(row, value) of the cells that hold a number."""


def read_csv_log(path: Path) -> Trace:
    """The trace in a table of losses, a row a step or an epoch.

    Args:
        path: text with a header; separated by commas, tabs, semicolons or bars. Rows without a step count as one step
            each; where only epochs are given, they take the place of steps.

    Raises:
        RunError: the file cannot be read, is empty, or has no column with a loss; the columns are named.
    """
    header, rows = _read(path)
    columns = {
        name: [(index, value) for index, row in enumerate(rows) if (value := _number(row, place)) is not None]
        for place, name in enumerate(header)
    }
    series = chosen({name: column for name, column in columns.items() if column})
    if not any(meaning.name == "loss" for meaning in series):
        raise RunError(
            f"{path} has no column with a loss. Its columns: {', '.join(header)}.",
            remedy="Name the columns so that they can be told, such as: step,train_loss,val_loss",
        )
    _drop_unlogged(series)
    return trace_of(_points(series, len(rows)), Facts(origin="csv"))


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror or error}.", remedy="Check the name.") from error
    except UnicodeDecodeError as error:
        raise _no_record(path, "it is no text") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise RunError(f"{path} is empty.", remedy="Give a table with a header, such as: step,train_loss,val_loss")
    delimiter = max(DELIMITERS, key=lines[0].count)
    try:
        header, *rows = csv.reader(lines, delimiter=delimiter)
    except csv.Error as error:
        raise _no_record(path, str(error)) from error
    if all(_value(cell) is not None for cell in header if cell.strip()):
        raise RunError(f"{path} has no header: its first line is {lines[0][:80]!r}.", remedy="Name the columns in it.")
    if delimiter == ";":
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    if not rows:
        raise RunError(f"{path} has a header and no rows.", remedy="Diagnose it when a step has been logged.")
    return [name.strip() for name in header], rows


def _no_record(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is not a record of a run: {why}.",
        remedy="Name a run directory, a trainer_state.json, a TensorBoard log, or a CSV of step, train loss and "
        "validation loss.",
    )


def _number(row: Sequence[str], place: int) -> float | None:
    return _value(row[place]) if place < len(row) else None


def _value(cell: str) -> float | None:
    """The number in a cell, NaN and infinity too; None where there is none."""
    try:
        return float(cell)
    except ValueError:
        return None


def _drop_unlogged(series: dict[Meaning, Column]) -> None:
    """Take out the NaN that mean that nothing was logged.

    Writers of tables fill cells without a value with NaN. A loss that is NaN stays NaN: so it counts as one of the run
    where no number follows it in its column, and nothing finite of another kind was logged in its row.
    """
    filled = {
        (index, meaning.part)
        for meaning, column in series.items()
        if meaning.part not in ("step", "epoch") and meaning.name != "learning_rate"
        for index, value in column
        if math.isfinite(value)
    }
    kinds = ("train", "validation", "held_in")
    for meaning, column in list(series.items()):
        last = max((index for index, value in column if math.isfinite(value)), default=-1)
        series[meaning] = [
            (index, value)
            for index, value in column
            if not math.isnan(value)
            or (index > last and not any((index, kind) in filled for kind in kinds if kind != meaning.part))
        ]


def _points(series: Mapping[Meaning, Column], rows: int) -> list[Point]:
    """A point a row, those of one step made one."""
    columns = {meaning: dict(column) for meaning, column in series.items()}
    epochs = columns.pop(Meaning("epoch"), {})
    given = columns.pop(Meaning("step"), {})
    if not given and not _counts(epochs, columns.get(Meaning("train", "loss"), {})):
        steps = list(range(1, rows + 1))
    else:
        steps = _steps(given, epochs, rows)
    points = [Point(step, epochs.get(index, math.nan)) for index, step in enumerate(steps)]
    for meaning, column in columns.items():
        for index, value in column.items():
            points[index].put(meaning.part, meaning.name, value)
    return merged(points)


def _steps(steps: Mapping[int, float], epochs: Mapping[int, float], rows: int) -> list[int]:
    """The step of each row, from 1; of a row without one, that of the row before."""
    given = steps or epochs
    found: list[float] = []
    for index in range(rows):
        value = given.get(index, math.nan)
        found.append(value if math.isfinite(value) else (found[-1] if found else min(given.values())))
    if steps and epochs:
        found = _through(found, [epochs.get(index, math.nan) for index in range(rows)])
    # The loss at 0 is that of the first step.
    first = 1 if min(found) < 1 else 0
    return [int(value) + first for value in found]


def _counts(epochs: Mapping[int, float], losses: Mapping[int, float]) -> bool:
    """Whether epochs can take the place of steps: whole ones, with one training loss each."""
    whole = all(value == math.floor(value) for value in epochs.values())
    return bool(epochs) and whole and len({epochs.get(index) for index in losses}) == len(losses)


def _through(steps: list[float], epochs: list[float]) -> list[float]:
    """Steps that begin anew in each epoch, counted through; others as they are.

    A step that goes back while the epoch does not grow is that of a run that was resumed.
    """
    back = [index for index in range(1, len(steps)) if steps[index] < steps[index - 1]]
    if not back or not all(epochs[index] > epochs[index - 1] for index in back):
        return steps
    counted, offset = [], 0.0
    for index, step in enumerate(steps):
        if index in back:
            offset += steps[index - 1] + (1 if min(steps) < 1 else 0)
        counted.append(step + offset)
    return counted
