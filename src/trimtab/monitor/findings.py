"""What the doctor found: one condition of a run, with its evidence and its remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab.core.files import jsonable
from trimtab.core.said import origins, restored

Severity = Literal["info", "warning", "act"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "act")
"""From good to know, over what likely costs quality, to what makes the result wrong or much worse if left alone."""

MOST_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """A series to plot as evidence.

    Args:
        name: shown in the legend.
        steps: where the values were taken; optimizer steps, or what `x_label` of the finding's plot says.
        values: one a step; NaN leaves a gap.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, at most `MOST_POINTS` points; the smallest and largest of each stretch are kept."""
        steps, values = _thinned(list(self.steps), list(self.values))
        return {"name": self.name, "steps": steps, "values": [round_significant(value) for value in values]}


@dataclass(frozen=True)
class Finding:
    """One condition that the doctor found.

    Args:
        name: of the condition, e.g. `overfitting`.
        severity: `info`, `warning` or `act`.
        message: what is the matter, in one sentence with numbers; made by `say`, it can be told in other languages.
        since: the step from which on the evidence shows it; 0 where it was so before training.
        evidence: the numbers behind it, plain JSON types.
        remedy: what to do, in one sentence, made likewise.
        change: the change of the recipe that the remedy means, dotted key -> value; empty where none helps.
        series: what to plot.
        confidence: in [0, 1]: how sure the rule is, given the noise of its numbers.
        source: where the rule comes from.
        rows: training or held-out rows that it speaks of, each with `split`, `row`, `source` and what is to be said.
        x_label: what the series' steps count.
    """

    name: str
    severity: Severity
    message: str
    since: int
    evidence: Mapping[str, Any]
    remedy: str
    change: Mapping[str, Any] = field(default_factory=dict)
    series: tuple[Curve, ...] = ()
    confidence: float = 1.0
    source: str = ""
    rows: tuple[Mapping[str, Any], ...] = ()
    x_label: str = "step"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None."""
        plain: dict[str, Any] = jsonable(
            {
                "name": self.name,
                "severity": self.severity,
                "message": self.message,
                "since": self.since,
                "evidence": dict(self.evidence),
                "remedy": self.remedy,
                "change": dict(self.change),
                "series": [curve.to_dict() for curve in self.series],
                "confidence": round(self.confidence, 3),
                "source": self.source,
                "rows": [dict(row) for row in self.rows],
                "x_label": self.x_label,
                "said": origins(message=self.message, remedy=self.remedy),
            }
        )
        return plain

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Finding:
        """The finding that `to_dict` wrote."""
        curves = tuple(
            Curve(curve["name"], curve["steps"], [math.nan if y is None else y for y in curve["values"]])
            for curve in value.get("series", ())
        )
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        said = value.get("said") or {}
        known |= {name: restored(str(known[name]), said.get(name)) for name in ("message", "remedy") if name in known}
        return cls(**{**known, "series": curves, "rows": tuple(value.get("rows", ()))})


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """The gravest first, of equal ones the surest."""
    return sorted(findings, key=lambda finding: (-SEVERITIES.index(finding.severity), -finding.confidence))


def round_significant(value: float, digits: int = 6) -> float:
    """`value` with so many significant digits; what is not finite stays as it is."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value


def _thinned(steps: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    size = math.ceil(2 * len(steps) / MOST_POINTS)
    if size <= 2:
        return steps, values
    kept: list[int] = []
    for start in range(0, len(steps), size):
        finite = [index for index in range(start, min(start + size, len(steps))) if math.isfinite(values[index])]
        if finite:
            ends = {min(finite, key=lambda index: values[index]), max(finite, key=lambda index: values[index])}
            kept.extend(sorted(ends))
        else:
            kept.append(start)
    return [steps[index] for index in kept], [values[index] for index in kept]
