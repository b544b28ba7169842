"""Logs of TensorBoard: `events.out.tfevents.*`, by whatever program wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.core.errors import RunError
from trimtab.core.optional import require
from trimtab.monitor.facts import Facts
from trimtab.monitor.foreign.names import VALIDATION, Meaning, chosen
from trimtab.monitor.foreign.points import Point, trace_of
from trimtab.monitor.trace import Trace

PATTERN = "*tfevents*"
Scalars = list[tuple[int, float]]
"""(step, value) in the order in which they were written."""


def is_log(path: Path) -> bool:
    """Whether a file is one of TensorBoard's, by its name."""
    return path.is_file() and path.match(PATTERN)


def log_folders(folder: Path) -> list[Path]:
    """The folders at or below `folder` that hold logs; those of one run by Keras (`train`, `validation`) as one."""
    if any(map(is_log, folder.glob(PATTERN))):
        return [folder]
    holders = sorted({path.parent for path in folder.rglob(PATTERN) if path.is_file()})
    runs = {path.parent if path.name in ("train", *VALIDATION) else path for path in holders}
    return sorted(runs)


def read_log(path: Path) -> Trace:
    """The trace in a log of TensorBoard.

    Args:
        path: a file, or a folder with such files in it or in its sub-folders `train` and `validation`.

    Raises:
        RunError: there is no loss among the scalars; the tags that were found are named.
        MissingDependencyError: the package `tensorboard` is not installed.
    """
    tags = _tags(path)
    series = chosen(tags)
    points = _points(series)
    if not any(meaning.name == "loss" for meaning in series):
        found = ", ".join(sorted(tags)[:20]) or "none"
        raise RunError(
            f"The TensorBoard log {path} holds no loss. Its scalars: {found}.",
            remedy="Log the loss under a usual name, such as train/loss and eval/loss.",
        )
    return trace_of(points, Facts(origin="tensorboard"))


def _points(series: Mapping[Meaning, Scalars]) -> list[Point]:
    points: dict[int, Point] = {}
    # Loggers count from 0: the loss at 0 is that of the first step.
    first = min(
        (step for meaning, scalars in series.items() if meaning.part == "train" for step, _ in scalars), default=1
    )
    shift = 1 if first == 0 else 0
    for meaning, scalars in series.items():
        for step, value in scalars:
            point = points.setdefault(step, Point(step + shift))
            if meaning.part == "epoch":
                point.epoch = value
            elif meaning.part in ("train", "validation", "held_in"):
                point.put(meaning.part, meaning.name, value)
    return [points[step] for step in sorted(points)]


def _tags(path: Path) -> dict[str, Scalars]:
    """Every tag with its scalars; those of Keras's sub-folders with the folder before the tag."""
    if path.is_file() or any(map(is_log, path.glob(PATTERN))):
        return _scalars(path)
    tags = {}
    for folder in sorted({log.parent for log in path.glob(f"*/{PATTERN}")}):
        tags.update({f"{folder.name}/{tag}": scalars for tag, scalars in _scalars(folder).items()})
    return tags


def _scalars(path: Path) -> dict[str, Scalars]:
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulators = require(module, extra="tensorboard", purpose="read a TensorBoard log")
    # 0: keep all.
    log = accumulators.EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    log.Reload()
    tags = {tag: [(event.step, float(event.value)) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    for tag in log.Tags()["tensors"]:
        values = [(event.step, _number(event.tensor_proto)) for event in log.Tensors(tag)]
        if values and not any(value is None for _, value in values):
            tags[tag] = [(step, math.nan if value is None else value) for step, value in values]
    return tags


def _number(tensor: Any) -> float | None:
    """The scalar in a tensor, as TensorFlow 2 writes them; None where it is no number."""
    util = require("tensorboard.util.tensor_util", extra="tensorboard", purpose="read a TensorBoard log")
    array = util.make_ndarray(tensor)
    return float(array) if array.size == 1 and array.dtype.kind in "fiu" and array.ndim == 0 else None
