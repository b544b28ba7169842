"""What an evaluation hands on: metrics with intervals, baselines, the verdict. Plain data that survives JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from trimtab.core.files import jsonable
from trimtab.core.said import origins


@dataclass(frozen=True)
class Interval:
    """A value and the interval around it.

    Args:
        value: the estimate on all rows.
        low, high: the ends of the interval, at the level that the result names.
    """

    value: float
    low: float
    high: float

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Interval:
        """The interval that `asdict` wrote; null stands for NaN."""
        return cls(*(math.nan if value[key] is None else float(value[key]) for key in ("value", "low", "high")))


@dataclass(frozen=True)
class TargetVerdict:
    """Whether the rows show that the model reaches a goal.

    Args:
        metric: name of the metric.
        goal: the value to reach.
        value, low, high: the metric with its interval.
        reached: the worse end of the interval is at the goal or better.
        sentence: the same for people.
    """

    metric: str
    goal: float
    value: float
    low: float
    high: float
    reached: bool
    sentence: str


@dataclass(frozen=True)
class EvalResult:
    """The judgement of a model on one split.

    Args:
        split: `test`, `validation`, or the name of the data.
        rows: number of rows judged.
        primary_metric: the metric that the verdict speaks of.
        confidence: level of the intervals, e.g. 0.95.
        metrics: name -> value with interval.
        baselines: baseline name -> metric name -> value with interval.
        difference_metric: the metric of `differences`: the primary one, or macro_f1 where that needs probabilities.
        differences: baseline name -> model − baseline, from paired resamples.
        per_class: one mapping a class: label, rows, precision, recall, f1.
        confusion: counts [k][k]; row = true class.
        labels: label names in the order of `confusion`.
        verdict: one sentence.
        target: set when the recipe names a target.
        notes: what to know when reading the numbers.
        precision: arithmetic in which the probabilities were computed, `fp32` or `bf16`.
    """

    split: str
    rows: int
    primary_metric: str
    confidence: float
    metrics: dict[str, Interval]
    baselines: dict[str, dict[str, Interval]]
    difference_metric: str
    differences: dict[str, Interval]
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    labels: tuple[str, ...]
    verdict: str
    target: TargetVerdict | None
    notes: tuple[str, ...]
    precision: str = "fp32"

    @property
    def primary(self) -> Interval:
        """The primary metric with its interval."""
        return self.metrics[self.primary_metric]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None. `said` tells what the verdict was made of."""
        plain: dict[str, Any] = jsonable({**asdict(self), "said": origins(verdict=self.verdict)})
        return plain

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> EvalResult:
        """The result that `to_dict` wrote."""
        fields = {name: field for name, field in value.items() if name != "said"}
        fields["metrics"] = _intervals(value["metrics"])
        fields["baselines"] = {name: _intervals(metrics) for name, metrics in value["baselines"].items()}
        fields["differences"] = _intervals(value["differences"])
        fields["labels"] = tuple(value["labels"])
        fields["notes"] = tuple(value["notes"])
        fields["target"] = TargetVerdict(**value["target"]) if value["target"] else None
        return cls(**fields)


def _intervals(values: dict[str, dict[str, Any]]) -> dict[str, Interval]:
    return {name: Interval.from_dict(value) for name, value in values.items()}
