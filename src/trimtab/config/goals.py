"""Metrics that a recipe names, checked against those of the task: faults show with all others, before data are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.config import problems as words
from trimtab.config.layers import Given, Layer
from trimtab.config.recipe import AUTO
from trimtab.core.errors import nearest
from trimtab.core.registry import TASKS

METRIC, TARGET = "evaluation.metric", "evaluation.target"


def goal_problems(given: Layer) -> Iterator[str]:
    """What is wrong with `evaluation.metric` and `evaluation.target`, beyond their form.

    While the task is still to be inferred, a metric of any task will do.
    """
    table = _metrics_of(given.get("task"))
    metric, target = given.get(METRIC), given.get(TARGET)
    if metric and isinstance(metric.value, str) and metric.value != AUTO:
        yield from _unknown(METRIC, metric.value, metric.where, table)
    if target and isinstance(target.value, str):
        yield from _target_problems(target.value, target.where, table)


def _metrics_of(task: Given | None) -> dict[str, Any]:
    """Metrics by name: of the task that is named, or of all tasks."""
    names = TASKS.names()
    chosen = [task.value] if task and task.value in names else names
    return {name: metric for task_name in chosen for name, metric in TASKS.get(task_name).metric_table.items()}


def _unknown(key: str, name: str, where: str, table: Mapping[str, Any]) -> Iterator[str]:
    if name not in table:
        known = ", ".join(table)
        yield f"{words.at(key, where)}: no metric is called {name!r}.{nearest(name, table)} Known: {known}."


def _target_problems(text: str, where: str, table: Mapping[str, Any]) -> Iterator[str]:
    name, _, number = (part.strip() for part in text.partition("="))
    try:
        goal = float(number)
    except ValueError:
        goal = math.nan
    if not name or not math.isfinite(goal):
        return  # the form of the value is told by its own check
    yield from _unknown(TARGET, name, where, table)
    metric = table.get(name)
    if metric is not None and not metric.minimum <= goal <= metric.maximum:
        span = f"from {metric.minimum:g} to {metric.maximum:g}"
        yield f"{words.at(TARGET, where)}: found {text!r}; {name} takes values {span}."
