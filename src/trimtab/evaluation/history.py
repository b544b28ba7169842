"""From a run's events to the charts of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.evaluation.svg import Point, Series, line_chart

# Colours of lines that the style sheet of the report knows.
COLOURS = 6


def history_charts(events: Iterable[dict[str, Any]], metric: str) -> list[str]:
    """SVG charts of loss, validation metric and learning rates, those for which there are values.

    Args:
        events: those of a run, of which `step` (with `loss` and `learning_rates`) and `evaluation` (with `metrics`) are
            drawn. Of several events of one type and step, as a resumed run leaves them, the last holds.
        metric: the validation metric to draw.
    """
    steps, evaluations = _by_step(events, "step"), _by_step(events, "evaluation")
    training = [(step, _number(event.get("loss"))) for step, event in steps]
    charts = [
        line_chart("Loss", [Series("training", training), Series("validation", _metric(evaluations, "loss"), 1)]),
        line_chart(f"Validation {metric}", [Series(metric, _metric(evaluations, metric), 1)]),
        line_chart("Learning rate", _rates(steps)),
    ]
    return [chart for chart in charts if chart]


def skipped_steps(events: Iterable[dict[str, Any]]) -> int:
    """Steps whose loss or gradient was not finite: they did not reach the weights."""
    return sum(bool(event.get("skipped")) for _, event in _by_step(events, "step"))


def _by_step(events: Iterable[dict[str, Any]], kind: str) -> list[tuple[float, dict[str, Any]]]:
    latest: dict[float, dict[str, Any]] = {
        int(event.get("step") or 0): event for event in events if event.get("type") == kind
    }
    return sorted(latest.items(), key=lambda item: item[0])


def _metric(evaluations: list[tuple[float, dict[str, Any]]], name: str) -> list[Point]:
    return [(step, _number((event.get("metrics") or {}).get(name))) for step, event in evaluations]


def _rates(steps: list[tuple[float, dict[str, Any]]]) -> list[Series]:
    """A line for each parameter group."""
    groups = dict.fromkeys(group for _, event in steps for group in event.get("learning_rates") or {})
    return [
        Series(
            group,
            [(step, _number((event.get("learning_rates") or {}).get(group))) for step, event in steps],
            index % COLOURS,
        )
        for index, group in enumerate(groups)
    ]


def _number(value: Any) -> float | None:
    """`value` as a finite float; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
