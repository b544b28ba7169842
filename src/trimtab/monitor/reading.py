"""From a path to a trace: runs of ours, going on or ended, and records of other programs, told by their content."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.config.fields import plugin_kinds, sections
from trimtab.config.origins import ORIGINS_KEY
from trimtab.config.yaml_text import read_recipe_file
from trimtab.core.errors import RecipeError, RunError
from trimtab.core.events import read_events
from trimtab.core.runs import RunDirectory
from trimtab.monitor.facts import Facts
from trimtab.monitor.foreign import csv_log, tensorboard, trainer_state
from trimtab.monitor.foreign.names import METRICS
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace, number

CALLBACK_FOLDER = "trimtab_doctor"
"""Where our callbacks keep their record, below the output folder of the other program."""
MOST_SIBLINGS = 200

_KINDS = (
    "a run directory of Trimtab, a trainer_state.json or a folder with one, a TensorBoard log, or a CSV of step, train "
    "loss and validation loss"
)


def open_trace(path: Path) -> Trace:
    """The record at a path.

    Args:
        path: a run directory of ours, also while the run goes on or after it crashed; the output folder of a program
            that used one of our callbacks; a `trainer_state.json` of transformers, its checkpoint or output folder; a
            log of TensorBoard; a CSV of losses.

    Raises:
        RunError: nothing is there, it is no record, or it holds no losses.
        MissingDependencyError: it is a TensorBoard log, and the package `tensorboard` is not installed.
    """
    if not path.exists():
        raise RunError(f"There is nothing at {path}.", remedy=f"Name {_KINDS}.")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_folder(folder: Path) -> Trace:
    for place in (folder, folder / CALLBACK_FOLDER):
        if (place / "events.jsonl").is_file() or (place / "recipe.yaml").is_file():
            return _open_run(RunDirectory(place))
    state = trainer_state.find_state(folder)
    if state is not None:
        return trainer_state.read_state(state)
    tables = [path for path in sorted(folder.glob("*.csv")) if path.is_file()]
    metrics = folder / "metrics.csv"  # of Lightning's CSVLogger
    if metrics in tables or len(tables) == 1:
        return csv_log.read_csv_log(metrics if metrics in tables else tables[0])
    logs = tensorboard.log_folders(folder)
    if len(logs) == 1:
        return tensorboard.read_log(logs[0])
    if tables or logs:
        several = ", ".join(str(path.relative_to(folder)) for path in (tables or logs)[:5])
        raise RunError(
            f"{folder} holds {len(tables or logs)} records: {several}{', …' if len(tables or logs) > 5 else ''}.",
            remedy="Name one of them.",
        )
    raise RunError(f"{folder} holds no record of a run.", remedy=f"Name {_KINDS}.")


def _open_file(path: Path) -> Trace:
    if tensorboard.is_log(path):
        return tensorboard.read_log(path)
    if path.name in ("events.jsonl", "recipe.yaml", "evaluation.json") and (path.parent / "events.jsonl").is_file():
        return _open_run(RunDirectory(path.parent))
    if _begins_as_json(path):
        if any("type" in event for event, _ in zip(read_events(path), range(1), strict=False)):
            return _trace_of_events(path)
        return trainer_state.read_state(path)
    return csv_log.read_csv_log(path)


def _begins_as_json(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip()[:1] in (b"{", b"[")
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror or error}.", remedy="Check the name.") from error


def _trace_of_events(path: Path) -> Trace:
    return Trace.from_events(read_events(path), _facts(list(read_events(path)), {}))


def _open_run(run: RunDirectory) -> Trace:
    events = list(read_events(run.events))
    recipe = recipe_values(run.recipe)
    facts = _facts(events, recipe)
    trace = Trace.from_events(
        events,
        replace(facts, siblings=tuple(_sibling_values(run, recipe))),
        rows=RowRecord.load(run.rows),
        table=_tables(run.data),
    )
    trace.final = _read_json(run.evaluation)
    return trace


def _facts(events: list[dict[str, Any]], recipe: Mapping[str, Any]) -> Facts:
    """The facts of the newest `start` event; what an older version did not write of them is taken from the recipe."""
    starts = [event for event in events if event.get("type") == "start"]
    start = starts[-1] if starts else {}
    facts = Facts.from_start(start, recipe)
    known: dict[str, Any] = {}
    if isinstance(start.get("origin"), str):
        known["origin"] = start["origin"]
    if facts.metric in ("", "auto"):
        named = [event["metric"] for event in events if event.get("type") == "evaluation" and event.get("metric")]
        known["metric"] = named[-1] if named else ""
        if "higher_is_better" not in start:
            known["higher_is_better"] = METRICS.get(known["metric"], known["metric"] != "loss")
    for name, key in (("batch_size", "training.batch_size"), ("max_grad_norm", "training.max_grad_norm")):
        if getattr(facts, name) is None and not isinstance(recipe.get(key), str):
            known[name] = recipe.get(key)
    if facts.learning_rate is None:
        seen = [number(rate) for event in events for rate in (event.get("learning_rates") or {}).values()]
        known["learning_rate"] = max((rate for rate in seen if math.isfinite(rate)), default=None)
    if facts.steps_per_epoch is None and facts.total_steps and facts.num_epochs:
        known["steps_per_epoch"] = max(1, round(facts.total_steps / facts.num_epochs))
    return replace(facts, **known)


def recipe_values(path: Path) -> dict[str, Any]:
    """The values of a run's `recipe.yaml` by dotted key, without checking them; none where it cannot be read.

    A plugin's name stands under the section's own key: `strategy`, beside `strategy.rank`.
    """
    try:
        content, _ = read_recipe_file(path)
    except RecipeError:
        return {}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key == ORIGINS_KEY:
            continue
        if isinstance(value, Mapping) and (key in sections() or key in plugin_kinds()):
            named = key if key in plugin_kinds() else f"{key}.name"
            flat |= {named if name == "name" else f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _sibling_values(run: RunDirectory, recipe: Mapping[str, Any]) -> Iterator[float]:
    """The main figure of each finished run beside this one whose recipe differs in seed and output alone."""
    if not recipe:
        return
    own, fingerprint = _without_seed(recipe), _fingerprint(run)
    place = run.path.resolve()
    others = [path.parent for path in sorted(place.parent.glob("*/evaluation.json")) if path.parent != place]
    for path in others[:MOST_SIBLINGS]:
        other = RunDirectory(path)
        if _fingerprint(other) == fingerprint and _without_seed(recipe_values(other.recipe)) == own:
            evaluation = _read_json(other.evaluation)
            interval = (evaluation.get("metrics") or {}).get(evaluation.get("primary_metric")) or {}
            if isinstance(interval.get("value"), int | float):
                yield float(interval["value"])


def _without_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Values that decide what a run gives, whatever its seed: not where it lies, nor whom it tells."""
    aside = ("alerts.", "tracking.")
    return {key: value for key, value in recipe.items() if key not in ("seed", "output") and not key.startswith(aside)}


def _fingerprint(run: RunDirectory) -> Any:
    """Of the data that a run was given."""
    return (_read_json(run.environment).get("data") or {}).get("fingerprint")


def _tables(folder: Path) -> Callable[[str], pd.DataFrame | None]:
    """Reads the rows of a split when they are first asked for."""

    @cache
    def table(split: str) -> pd.DataFrame | None:
        try:
            return pd.read_parquet(folder / f"{split}.parquet")
        except (OSError, ValueError):
            return None

    return table


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
