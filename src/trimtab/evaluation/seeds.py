"""Several seeds of one recipe: the mean of a metric, its spread, and the difference of two recipes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.evaluation.result import Interval
from trimtab.metrics.classification import get_metric


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in nothing but the seed.

    Args:
        name: the first run's name, and how many more.
        runs: names of the runs.
        values: the metric of each.
        mean: of the values.
        deviation: standard deviation of the values (n − 1).
        low, high: the least and the greatest.
    """

    name: str
    runs: tuple[str, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupDifference:
    """The difference in the mean of two recipes.

    Args:
        first, second: names of the groups.
        difference: second − first, with Welch's interval.
        beyond_chance: whether the interval leaves out 0.
        sentence: the same for people.
    """

    first: str
    second: str
    difference: Interval
    beyond_chance: bool
    sentence: str


def group_of(members: Sequence[tuple[str, float]]) -> SeedGroup:
    """The group of runs with their values, one run at least; one run alone has no deviation (NaN)."""
    names, values = zip(*members, strict=True)
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return SeedGroup(
        name=names[0] if len(names) == 1 else f"{names[0]} (+{len(names) - 1})",
        runs=tuple(names),
        values=tuple(values),
        mean=mean,
        deviation=math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else math.nan,
        low=min(values),
        high=max(values),
    )


def group_difference(first: SeedGroup, second: SeedGroup, metric: str, confidence: float) -> GroupDifference:
    """Second − first, with the interval of Welch's t-test (Welch 1947), two runs each at least.

    The interval has no width where the values of neither group differ.
    """
    difference = second.mean - first.mean
    errors = [group.deviation**2 / len(group.values) for group in (first, second)]
    half = 0.0
    if sum(errors) > 0:
        from scipy.special import stdtrit

        shares = [error**2 / (len(group.values) - 1) for error, group in zip(errors, (first, second), strict=True)]
        half = float(stdtrit(sum(errors) ** 2 / sum(shares), (1 + confidence) / 2)) * math.sqrt(sum(errors))
    interval = Interval(difference, difference - half, difference + half)
    beyond = interval.low > 0 or interval.high < 0
    scale, digits, unit = (100, 1, " points") if get_metric(metric).in_points else (1, 3, "")
    value, low, high = (f"{scale * x:+.{digits}f}" for x in (difference, interval.low, interval.high))
    claim = "differ beyond chance" if beyond else "cannot be told apart"
    span = f"Welch's {100 * confidence:g} % interval {low} to {high}; second minus first"
    sentence = (
        f"Over {len(first.values)} and {len(second.values)} seeds, {first.name} and {second.name} {claim}: the means "
        f"of {metric} differ by {value}{unit} ({span})."
    )
    return GroupDifference(first.name, second.name, interval, beyond, sentence)
