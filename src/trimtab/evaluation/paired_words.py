"""A paired comparison in words: who is better, by how much, and whether chance explains it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trimtab.metrics.classification import get_metric

if TYPE_CHECKING:
    from trimtab.evaluation.paired import PairedResult

MODELS_ONLY = (
    "This speaks of these two trained models on further rows like these. Whether one recipe is better than the other, "
    "several seeds of each tell."
)


def told(result: PairedResult) -> PairedResult:
    """`result` with its sentence and the note on what it speaks of."""
    return replace(result, sentence=f"{_claim(result)} {_rows_right(result)}", notes=(*result.notes, MODELS_ONLY))


def p_words(p_value: float) -> str:
    """`p = 0.031`, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _claim(result: PairedResult) -> str:
    where = f"on {result.rows:,} {'row' if result.rows == 1 else 'rows'}"
    if result.verdict == "equal":
        return f"{result.first} and {result.second} predict the same label for every row, {where}."
    change, metric = result.difference, result.metric
    if result.verdict == "undecided":
        number, low, high = (_amount(x, metric, "+") for x in (change.value, change.low, change.high))
        return (
            f"{result.first} and {result.second} cannot be told apart: the difference is {_in(number, metric)} "
            f"({_percent(result)} interval {low} to {high}; {result.second} minus {result.first}), {where}."
        )
    names = (result.first, result.second) if result.verdict == "first" else (result.second, result.first)
    near, far = sorted((abs(change.low), abs(change.high)))
    number, low, high = (_amount(x, metric, "") for x in (abs(change.value), near, far))
    return (
        f"{names[0]} is better than {names[1]} by {_in(number, metric)}, beyond chance ({_percent(result)} interval "
        f"{low} to {high}), {where}."
    )


def _amount(value: float, metric: str, sign: str) -> str:
    scale, digits = (100, 1) if get_metric(metric).in_points else (1, 3)
    return f"{scale * value:{sign}.{digits}f}"


def _in(number: str, metric: str) -> str:
    return f"{number} points of {metric}" if get_metric(metric).in_points else f"{number} of {metric}"


def _percent(result: PairedResult) -> str:
    return f"{100 * result.confidence:g} %"


def _rows_right(result: PairedResult) -> str:
    discordant = result.first_only + result.second_only
    if not discordant:
        return "There is no row that only one of them gets right."
    return (
        f"Only {result.first} gets {_rows(result.first_only)} right, only {result.second} gets "
        f"{_rows(result.second_only)}; accuracies as far apart as that come by chance with {p_words(result.p_value)} "
        "(McNemar's exact test)."
    )


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"
