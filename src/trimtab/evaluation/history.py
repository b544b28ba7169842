"""From a run's events to the charts of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.evaluation.svg import Point, Series, line_chart


def history_charts(events: Iterable[dict[str, Any]], metric: str) -> list[str]:
    """SVG charts of loss, validation metric and learning rate, those for which there are values.

    Args:
        events: of type `step` (with `loss` and `learning_rate`) and `evaluation` (with `loss`, and metrics by name,
            either directly or under `metrics`); others are passed over. Of several events of one type and step, as a
            resumed run leaves them, the last holds.
        metric: the validation metric to draw.
    """
    steps, evaluations = _by_step(events, "step"), _by_step(events, "evaluation")
    training = [(step, _number(event.get("loss"))) for step, event in steps]
    validation = [(step, _metric(event, "loss", "log_loss")) for step, event in evaluations]
    rates = [(step, _number(event.get("learning_rates"))) for step, event in steps]
    charts = [line_chart("Loss", [Series("training", training), Series("validation", validation, 1)])]
    if metric not in ("loss", "log_loss"):
        scores: list[Point] = [(step, _metric(event, metric)) for step, event in evaluations]
        charts.append(line_chart(f"Validation {metric}", [Series(metric, scores, 1)]))
    charts.append(line_chart("Learning rate", [Series("learning rate", rates)]))
    return [chart for chart in charts if chart]


def skipped_steps(events: Iterable[dict[str, Any]]) -> int:
    """Steps whose loss was not finite: they did not reach the weights."""
    return sum(_number(event.get("loss")) is None for _, event in _by_step(events, "step"))


def _by_step(events: Iterable[dict[str, Any]], kind: str) -> list[tuple[float, dict[str, Any]]]:
    latest: dict[float, dict[str, Any]] = {
        int(event.get("step") or 0): event for event in events if event.get("type") == kind
    }
    return sorted(latest.items(), key=lambda item: item[0])


def _metric(event: dict[str, Any], *names: str) -> float | None:
    metrics = event.get("metrics")
    for name in names:
        for place in (event, metrics if isinstance(metrics, dict) else {}):
            value = _number(place.get(name))
            if value is not None:
                return value
    return None


def _number(value: Any) -> float | None:
    """`value` as a finite float; the largest of a list or mapping (several learning rates); None otherwise."""
    if isinstance(value, dict):
        if "value" in value:
            return _number(value["value"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        numbers = [number for number in map(_number, value) if number is not None]
        return max(numbers, default=None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
