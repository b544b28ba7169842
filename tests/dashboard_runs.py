"""Run directories for the tests of the dashboard, written without training, and a naive reader to compare with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

TABLES = ("step", "evaluation", "signals", "inspection")


def step_event(step: int, loss: Any = 1.0, **fields: Any) -> dict[str, Any]:
    """A `step` event as the loop writes it, of one group of parameters."""
    event = {"type": "step", "time": 1.7e9 + step, "step": step, "epoch": step / 10, "loss": loss}
    event |= {"learning_rates": {"all": 1e-4}, "grad_norm": 0.5, "tokens": 100, "seconds": 0.5}
    return event | {"samples_per_second": 64.0, "padding_share": 0.1} | fields


def evaluation_event(step: int, value: Any = 0.5, **fields: Any) -> dict[str, Any]:
    """An `evaluation` event on the validation rows."""
    event = {"type": "evaluation", "time": 1.7e9 + step, "step": step, "epoch": step / 10, "split": "validation"}
    metrics = {"loss": 1.0, "macro_f1": value}
    return event | {"metric": "macro_f1", "metrics": metrics, "held_in": {"rows": 64, "loss": 0.9}} | fields


def finding_event(name: str = "overfitting", severity: str = "warning", step: int = 5, **fields: Any) -> dict[str, Any]:
    """A `finding` event of the doctor."""
    event = {"type": "finding", "time": 1.7e9, "step": step, "by": "doctor", "name": name, "severity": severity}
    return (
        event
        | {"message": f"{name} is there.", "since": 2, "remedy": "Stop.", "change": {}, "confidence": 0.9}
        | fields
    )


def start_event(**fields: Any) -> dict[str, Any]:
    """A `start` event."""
    event = {"type": "start", "time": 1.7e9, "step": 0, "model": "bert", "strategy": "full", "total_steps": 100}
    return event | {"num_epochs": 3, "metric": "macro_f1", "higher_is_better": True} | fields


def append(path: Path, *events: Any) -> None:
    """Add events to a file, one JSON value a line."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def make_run(path: Path, *events: Any, finished: bool = False) -> Path:
    """A run directory with a recipe, an environment and events."""
    path.mkdir(parents=True)
    recipe = "seed: 3  # flag\nmodel:\n  name: bert\nstrategy:\n  name: full\n  rank: 1.0e-05\norigins:\n  seed: flag\n"
    (path / "recipe.yaml").write_text(recipe)
    about = {"model": "bert", "data": "t.csv", "task": "text-classification", "strategy": "full"}
    (path / "environment.json").write_text(json.dumps({"run": about}))
    append(path / "events.jsonl", *events)
    if finished:
        metrics = {"macro_f1": {"value": 0.8, "low": 0.7, "high": 0.9}}
        evaluation = {"split": "test", "primary_metric": "macro_f1", "metrics": metrics}
        (path / "evaluation.json").write_text(json.dumps(evaluation))
    return path


def naive_events(path: Path) -> list[dict[str, Any]]:
    """The events of a file read whole, line by line; the last line without its end is not yet one."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    events = []
    for line in lines:
        try:
            value = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            events.append(value)
    return events


def naive_rows(events: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Step -> loss of each table, by the rules of the record told one by one."""
    rows: dict[str, dict[int, float]] = {name: {} for name in TABLES}
    for event in events:
        step, kind = event.get("step"), event.get("type")
        if not _is_step(step):
            continue
        if kind == "step":
            for name in ("step", "evaluation", "inspection"):
                _drop(rows[name], step)
            _drop(rows["signals"], step + 1)
            rows["step"][step] = _float(event.get("loss"))
        elif kind == "evaluation" and event.get("split", "validation") == "validation":
            _drop(rows["evaluation"], step)
            metrics = event.get("metrics")
            rows["evaluation"][step] = _float(metrics.get("loss")) if isinstance(metrics, dict) else math.nan
        elif kind in ("signals", "inspection"):
            _drop(rows[kind], step)
            rows[kind][step] = _float(event.get("memory_mib")) if kind == "signals" else math.nan
        elif kind in ("action", "control"):
            back = step if kind == "action" and event.get("action") == "resume" else event.get("back_to")
            if _is_step(back):
                for name in TABLES:
                    _drop(rows[name], back + 1)
    return rows


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _drop(rows: dict[int, float], step: int) -> None:
    for known in [known for known in rows if known >= step]:
        del rows[known]


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
