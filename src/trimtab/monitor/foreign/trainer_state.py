"""`trainer_state.json`, the record that the Trainer of transformers keeps in each checkpoint."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimtab.core.errors import RunError
from trimtab.monitor.facts import Facts
from trimtab.monitor.foreign.names import meaning_of
from trimtab.monitor.foreign.points import Point, finite, mend_hidden, merged, trace_of
from trimtab.monitor.trace import Trace

FILE = "trainer_state.json"
_TRAINED = ("loss", "grad_norm", "learning_rate")


def find_state(folder: Path) -> Path | None:
    """The record in an output folder or checkpoint; of several checkpoints, that of the latest step."""
    if (folder / FILE).is_file():
        return folder / FILE
    found = {int(match[1]): path for path in folder.glob(f"checkpoint-*/{FILE}") if (match := _step_of(path))}
    return found[max(found)] if found else None


def _step_of(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"checkpoint-(\d+)", path.parent.name)


def is_state(value: Any) -> bool:
    """Whether a JSON value is a `trainer_state.json`."""
    return isinstance(value, Mapping) and isinstance(value.get("log_history"), list)


def read_state(path: Path) -> Trace:
    """The trace in a `trainer_state.json`.

    The losses are means since the entry before. The step counts, and where they were not finite the Trainer may have
    written 0.0: such entries count as NaN where the gradient norm or the next validation loss gives them away.

    Raises:
        RunError: the file cannot be read, is no such record, or holds no losses.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}.", remedy="Name a whole trainer_state.json, or the folder that holds it."
        ) from error
    if not is_state(state):
        raise RunError(
            f"{path} is not the record of a Trainer: it has no log_history.",
            remedy="Name a trainer_state.json, or the folder that holds it.",
        )
    points = points_of(state["log_history"])
    if not any(point.train or point.validation for point in points):
        raise RunError(
            f"The log_history of {path} holds no loss ({len(state['log_history'])} entries).",
            remedy="Let the Trainer log more often: TrainingArguments(logging_steps=1, eval_strategy='epoch').",
        )
    return trace_of(points, facts_of(state))


def points_of(history: Iterable[Any]) -> list[Point]:
    """The points of `log_history`; entries that make no sense, and the summary at the end, are passed over."""
    points = merged(point for entry in history if isinstance(entry, Mapping) and (point := point_of(entry)))
    mend_hidden(points)
    return points


def point_of(entry: Mapping[str, Any]) -> Point | None:
    """The point of one entry of `log_history`; None where it has no step, or sums up the run."""
    step = entry.get("step")
    # The summary's `train_loss` is the mean over the run.
    if not isinstance(step, int) or isinstance(step, bool) or "train_runtime" in entry:
        return None
    epoch = finite(entry.get("epoch"))
    point = Point(step, math.nan if epoch is None else epoch)
    for key, raw in entry.items():
        value, meaning = finite(raw), meaning_of(key) if key.startswith("eval_") else None
        if value is not None and key in _TRAINED:
            point.put("train", key, value)
        elif value is not None and meaning is not None and meaning.part in ("validation", "held_in"):
            point.put(meaning.part, meaning.name, value)
    return point


def facts_of(state: Mapping[str, Any]) -> Facts:
    """What the record says of the plan."""
    steps, epochs = finite(state.get("max_steps")), finite(state.get("num_train_epochs"))
    total = int(steps) if steps and steps > 0 else None
    return Facts(
        origin="trainer_state",
        total_steps=total,
        num_epochs=epochs if epochs and epochs > 0 else None,
        steps_per_epoch=_steps_per_epoch(state, total, epochs),
    )


def _steps_per_epoch(state: Mapping[str, Any], total: int | None, epochs: float | None) -> int | None:
    step, epoch = finite(state.get("global_step")), finite(state.get("epoch"))
    if step and epoch and step > 0 and epoch > 0:
        return max(1, round(step / epoch))
    return max(1, round(total / epochs)) if total and epochs and epochs > 0 else None
