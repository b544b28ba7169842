"""The evaluation in one sentence: does fine-tuning beat the baselines, and is the target reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trimtab.core.errors import RecipeError
from trimtab.core.said import say
from trimtab.evaluation.result import Interval, TargetVerdict
from trimtab.metrics.classification import METRICS, get_metric

MAX_DIGITS = 6
EXAMPLE = "Write it as --target macro_f1=0.9 (recipe key: evaluation.target)."


@dataclass(frozen=True)
class Target:
    """A goal for a metric.

    Args:
        metric: name in `METRICS`.
        goal: value to reach: at least, or at most where lower is better.
    """

    metric: str
    goal: float


def parse_target(text: str) -> Target:
    """Read a goal such as `macro_f1=0.9`.

    Raises:
        UnknownNameError: no metric has that name; the message offers the nearest.
        RecipeError: not of the form metric=number, or a number that the metric cannot take.
    """
    name, equals, number = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise RecipeError(f"Target {text!r} is not of the form metric=number.", remedy=EXAMPLE)
    metric = get_metric(name)
    try:
        goal = float(number)
    except ValueError:
        raise RecipeError(f"Target {text!r}: {number!r} is not a number.", remedy=EXAMPLE) from None
    if not math.isfinite(goal) or not metric.minimum <= goal <= metric.maximum:
        span = f"{metric.minimum:g} and {metric.maximum:g}" if math.isfinite(metric.maximum) else "0 and infinity"
        raise RecipeError(f"Target {text!r}: {name} lies between {span}; found {number}.", remedy=EXAMPLE)
    return Target(name, goal)


def judge_target(target: Target, interval: Interval, *, confidence: float, rows: int, split: str) -> TargetVerdict:
    """Whether the interval shows the target to be reached.

    The goal counts as reached when the worse end of the interval (the lower one, or the upper one for metrics where
    lower is better) is at the goal or better.
    """
    higher = METRICS[target.metric].higher_is_better
    worse, best = (interval.low, interval.high) if higher else (interval.high, interval.low)
    reached = _at_least(worse, target.goal, higher)
    goal = f"{target.goal:g}"
    value, low, high = (_number(number, target.goal) for number in (interval.value, interval.low, interval.high))
    span = f"the {_percent(confidence)} interval {low} to {high}"
    where = _where(rows, split)
    better_side, worse_side = ("above", "below") if higher else ("below", "above")
    if reached:
        sentence = (
            f"Target {target.metric}={goal} reached: the value is {value}, and {span} stays on its side, on {where}."
        )
    elif _at_least(interval.value, target.goal, higher):
        side = "at" if interval.value == target.goal else better_side
        sentence = (
            f"Target {target.metric}={goal} not shown: the value {value} is {side} {goal}, but {span} reaches "
            f"{worse_side}, on {where}."
        )
    elif _at_least(best, target.goal, higher):
        sentence = (
            f"Target {target.metric}={goal} missed: the value {value} is {worse_side} {goal}, though {span} "
            f"still holds it, on {where}."
        )
    else:
        sentence = (
            f"Target {target.metric}={goal} missed: the value is {value}, and {span} lies wholly {worse_side}, on "
            f"{where}."
        )
    return TargetVerdict(
        target.metric, target.goal, interval.value, interval.low, interval.high, bool(reached), sentence
    )


def verdict_sentence(
    *,
    primary_metric: str,
    primary: Interval,
    difference_metric: str,
    best_baseline: str | None,
    difference: Interval | None,
    confidence: float,
    rows: int,
    split: str,
) -> str:
    """One sentence on the model, beside the best baseline where there is one.

    Args:
        primary_metric: name of the metric reported.
        primary: its value and interval.
        difference_metric: the metric in which model and baseline are compared.
        best_baseline: name of the baseline with the best value, or None.
        difference: model − baseline with its paired interval, or None.
        confidence: level of the intervals.
        rows: rows judged.
        split: where they come from, e.g. `test`.
    """
    where = _where(rows, split)
    if best_baseline is None or difference is None:
        return say(
            "Fine-tuning reaches {metric} {value:.3f} ({confidence} interval {low:.3f} to {high:.3f}) on {where}; no "
            "baseline was compared.",
            metric=primary_metric,
            value=primary.value,
            confidence=_percent(confidence),
            low=primary.low,
            high=primary.high,
            where=where,
        )
    if difference.high < 0:
        claim = _is_worse
        difference = Interval(-difference.value, -difference.high, -difference.low)
    else:
        claim = _beats if difference.low > 0 else _is_level
    scale, digits = (100, 1) if METRICS[difference_metric].in_points else (1, 3)
    low, high = (f"{scale * end:.{digits}f}" for end in (difference.low, difference.high))
    return say(
        "{claim} ({confidence} interval {low} to {high}), on {where}.",
        claim=claim(best_baseline, _difference(difference.value, difference_metric)),
        confidence=_percent(confidence),
        low=low,
        high=high,
        where=where,
    )


def _beats(baseline: str, difference: str) -> str:
    return say(
        "Fine-tuning beats the best baseline ({baseline}) by {difference}", baseline=baseline, difference=difference
    )


def _is_worse(baseline: str, difference: str) -> str:
    return say(
        "Fine-tuning is worse than the best baseline ({baseline}) by {difference}",
        baseline=baseline,
        difference=difference,
    )


def _is_level(baseline: str, difference: str) -> str:
    return say(
        "Fine-tuning cannot be told apart from the best baseline ({baseline}): the difference is {difference}",
        baseline=baseline,
        difference=difference,
    )


def _difference(value: float, metric: str) -> str:
    if METRICS[metric].in_points:
        return say("{points:.1f} points of {metric}", points=100 * value, metric=metric)
    return say("{value:.3f} of {metric}", value=value, metric=metric)


def _at_least(value: float, goal: float, higher: bool) -> bool:
    """Whether `value` is at `goal` or on its better side; NaN never is. Rounding in the last bits is forgiven."""
    return value >= goal - 1e-12 if higher else value <= goal + 1e-12


def _number(value: float, goal: float) -> str:
    """`value` with as few decimals, from 3, as keep it on its side of `goal`: 0.8996 is not told as 0.900."""
    for digits in range(3, MAX_DIGITS + 1):
        text = f"{value:.{digits}f}"
        if (float(text) >= goal) == (value >= goal) and (float(text) <= goal) == (value <= goal):
            return text
    return f"{value:.{MAX_DIGITS}f}"


def _where(rows: int, split: str) -> str:
    if rows == 1:
        return say("1 {split} row", split=split)
    return say("{rows:,} {split} rows", rows=rows, split=split)


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g} %"
