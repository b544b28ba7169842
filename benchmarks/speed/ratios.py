"""Ratios of times over rounds, what they say beside those that were committed, and differences of accuracy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE = 0.15


@dataclass(frozen=True)
class Ratio:
    """How many times as fast (or as good) one thing is as another, over several rounds; above 1 is better for us.

    Args:
        median: of the rounds.
        low: least of the rounds.
        high: greatest of the rounds.
        rounds: their number.
    """

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        spread = f" ({self.low:.2f}–{self.high:.2f})" if self.rounds > 1 else ""
        return f"{self.median:.2f}{spread}"


@dataclass(frozen=True)
class Change:
    """A ratio beside the committed one.

    Args:
        name: of the ratio.
        before: the committed median.
        now: today's median; None where it was not measured.
        is_regression: whether it has fallen by more than the tolerance, or is missing.
    """

    name: str
    before: float
    now: float | None
    is_regression: bool

    def __str__(self) -> str:
        now = "not measured" if self.now is None else f"{self.now:.2f} ({self.now / self.before - 1:+.0%})"
        return f"{'REGRESSION' if self.is_regression else 'ok':<11}{self.name}: {self.before:.2f} -> {now}"


def summary(values: Sequence[float]) -> Ratio:
    """Median and spread of a ratio that was measured in several rounds.

    Raises:
        ValueError: there is no value, or one is not a positive number.
    """
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"ratios must be positive numbers, and at least one; found {list(values)}")
    return Ratio(statistics.median(values), min(values), max(values), len(values))


def times_as_fast(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Their seconds over ours, round by round.

    Raises:
        ValueError: the rounds are not as many on both sides, or a time is not a positive number.
    """
    if len(theirs) != len(ours):
        raise ValueError(f"{len(theirs)} rounds against {len(ours)}: a ratio takes the two times of one round")
    if not all(math.isfinite(seconds) and seconds > 0 for seconds in (*theirs, *ours)):
        raise ValueError(f"times must be positive numbers; found {list(theirs)} and {list(ours)}")
    return summary([their / our for their, our in zip(theirs, ours, strict=True)])


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean of the paired differences ours - theirs, and half the width of its 95 % t interval; NaN for a single pair.

    Raises:
        ValueError: there is no pair, or the two are not equally long.
    """
    from scipy import stats

    differences = [our - their for our, their in zip(ours, theirs, strict=True)]
    if not differences:
        raise ValueError("no pair of values to compare")
    count = len(differences)
    if count == 1:
        return differences[0], math.nan
    error = statistics.stdev(differences) / math.sqrt(count)
    return statistics.fmean(differences), float(stats.t.ppf(0.975, count - 1)) * error


def merged(
    baselines: Mapping[str, Mapping[str, Any]], kind: str, ratios: Mapping[str, Ratio], machine: str
) -> dict[str, dict[str, Any]]:
    """`baselines` with the entries of `ratios` in place of older ones of the same name; all others stay.

    Args:
        baselines: kind -> name -> entry.
        kind: `quick` or `full`: ratios of different sizes are not compared.
        ratios: by name.
        machine: in words; noted with each entry.
    """
    entries = {name: {**asdict(ratio), "machine": machine} for name, ratio in ratios.items()}
    both = {**baselines, kind: {**baselines.get(kind, {}), **entries}}
    return {key: dict(sorted(both[key].items())) for key in sorted(both)}


def compared(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], tolerance: float = TOLERANCE
) -> list[Change]:
    """Each committed ratio beside today's, the regressions first.

    Args:
        before: committed entries, by name.
        now: entries of today; those that were not committed are left out.
        tolerance: share by which a ratio may fall.
    """
    changes = []
    for name, entry in before.items():
        was = float(entry["median"])
        found = float(now[name]["median"]) if name in now else None
        changes.append(Change(name, was, found, found is None or found < was * (1 - tolerance)))
    return sorted(changes, key=lambda change: (not change.is_regression, change.name))
