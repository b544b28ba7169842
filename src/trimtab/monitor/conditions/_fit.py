"""Evaluations of a run as columns with their noise: what the conditions of fit and outcome share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.metrics.classification import METRICS
from trimtab.monitor.conditions._series import Estimate, Floats, scatter
from trimtab.monitor.trace import Evaluation, Trace, number

# Losses of the same rows under weights of one run go together; a correlation of a half is our choice, on the low side.
SAME_ROWS = 0.5
# Relative error of a loss of which nothing is known but its value (our choice).
UNKNOWN_ERROR = 0.02
Z95 = 1.96


@dataclass(frozen=True)
class Losses:
    """Losses at the evaluations whose validation loss is finite, `[m]` each.

    Args:
        steps: of the evaluations.
        index: their places in `trace.evaluations`.
        validation, validation_error: mean loss on the validation rows and its standard error.
        fitted, fitted_error: the same on training rows; NaN where not known.
        like_with_like: whether `fitted` was measured in evaluation mode on fixed rows; else it is the mean of the
            losses of the steps since the evaluation before.
    """

    steps: Floats
    index: tuple[int, ...]
    validation: Floats
    validation_error: Floats
    fitted: Floats
    fitted_error: Floats
    like_with_like: bool

    def __len__(self) -> int:
        return len(self.steps)

    def rise(self, first: int, last: int) -> Estimate:
        """Validation loss at `last` less that at `first`."""
        return paired(self.validation, self.validation_error, first, last)

    def fall(self, first: int, last: int) -> Estimate:
        """Loss on training rows at `first` less that at `last`."""
        if self.like_with_like:
            return paired(self.fitted, self.fitted_error, last, first)
        return Estimate(self.fitted[first], self.fitted_error[first]).minus(
            Estimate(self.fitted[last], self.fitted_error[last])
        )

    def gap(self, index: int) -> Estimate:
        """Validation loss less that on training rows."""
        validation = Estimate(float(self.validation[index]), float(self.validation_error[index]))
        return validation.minus(Estimate(float(self.fitted[index]), float(self.fitted_error[index])))


def evaluation_losses(trace: Trace) -> Losses:
    """The losses of a run's evaluations; empty columns where there are none."""
    kept = [index for index, found in enumerate(trace.evaluations) if math.isfinite(found.values.get("loss", math.nan))]
    chosen = [trace.evaluations[index] for index in kept]
    held_in = [found.held_in.get("loss", math.nan) for found in chosen]
    like_with_like = bool(chosen) and all(math.isfinite(value) for value in held_in)
    if like_with_like:
        fitted = _column(held_in)
        fitted_error = _with_errors(fitted, _column([found.held_in.get("loss_error", math.nan) for found in chosen]))
    else:
        fitted, fitted_error = _step_losses(trace, [found.step for found in chosen])
    validation = _column([found.values["loss"] for found in chosen])
    known = _column([number(found.detail.get("loss_error")) for found in chosen])
    return Losses(
        steps=_column([found.step for found in chosen]),
        index=tuple(kept),
        validation=validation,
        validation_error=_with_errors(validation, known),
        fitted=fitted,
        fitted_error=fitted_error,
        like_with_like=like_with_like,
    )


def paired(values: Floats, errors: Floats, first: int, last: int) -> Estimate:
    """Value at `last` less that at `first`, both of the same rows."""
    before, after = float(errors[first]), float(errors[last])
    error = math.sqrt(max(0.0, before**2 + after**2 - 2 * SAME_ROWS * before * after))
    return Estimate(float(values[last] - values[first]), error)


def share_error(value: float, rows: float) -> float:
    """Standard error of a share of so many rows, by Agresti and Coull 1998: never 0; NaN without rows."""
    if not rows or not math.isfinite(rows) or not math.isfinite(value):
        return math.nan
    centre = (min(1.0, max(0.0, value)) * rows + 2) / (rows + 4)
    return math.sqrt(centre * (1 - centre) / (rows + 4))


def wilson(hits: float, rows: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927); (0, 1) without rows."""
    if rows <= 0:
        return 0.0, 1.0
    share = hits / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def validation_rows(trace: Trace, evaluation: Evaluation | None = None) -> float:
    """Rows of the validation split; NaN where not known."""
    told = number((evaluation.detail if evaluation else {}).get("rows"))
    return told if math.isfinite(told) else number(trace.facts.rows.get("validation"))


def chosen_metric(trace: Trace) -> tuple[str, bool] | None:
    """Name and direction of the metric that chooses the weights; of a foreign run the first that we know."""
    seen = {name for evaluation in trace.evaluations for name in evaluation.values}
    if trace.facts.metric in seen:
        return trace.facts.metric, trace.facts.higher_is_better
    found = next((name for name in METRICS if name in seen), None)
    return (found, METRICS[found].higher_is_better) if found else None


def metric_value(trace: Trace, index: int, name: str) -> Estimate:
    """A metric at an evaluation with its standard error.

    Shares of rows and F1 have the binomial error, means over classes that of the mean of the recalls; MCC spans twice
    the range of a share. The loss has its own.
    """
    evaluation = trace.evaluations[index]
    value, rows = evaluation.values.get(name, math.nan), validation_rows(trace, evaluation)
    if name in ("loss", "log_loss"):
        return Estimate(value, number(evaluation.detail.get("loss_error")))
    if name == "mcc":
        return Estimate(value, 2 * share_error((value + 1) / 2, rows))
    if name in ("macro_f1", "balanced_accuracy"):
        by_class = _mean_recall_error(evaluation.detail)
        return Estimate(value, by_class if math.isfinite(by_class) else share_error(value, rows))
    return Estimate(value, share_error(value, rows))


def metric_change(trace: Trace, name: str, first: int, last: int) -> Estimate:
    """A metric at evaluation `last` less that at `first`, both on the same rows."""
    both = [metric_value(trace, index, name) for index in (first, last)]
    return paired(_column([one.value for one in both]), _column([one.error for one in both]), 0, 1)


def best_index(trace: Trace) -> int | None:
    """The evaluation with the best value of the chosen metric, else the lowest loss; None where there is neither."""
    chosen = chosen_metric(trace)
    name, higher = chosen if chosen else ("loss", False)
    values = trace.evaluated(name)[1]
    if not np.isfinite(values).any():
        return None
    flagged = [index for index, evaluation in enumerate(trace.evaluations) if evaluation.best]
    return flagged[-1] if flagged else int(np.nanargmax(values if higher else -values))


def delivered_index(trace: Trace) -> int | None:
    """The evaluation whose weights are delivered if the run ends now: the best, unless the recipe wants the last."""
    if not trace.evaluations:
        return None
    keeps_best = trace.facts.origin == "trimtab" and trace.facts.recipe.get("weights.source", "best") != "last"
    best = best_index(trace) if keeps_best else None
    return len(trace.evaluations) - 1 if best is None else best


def has_ended(trace: Trace) -> bool:
    """Whether the run has taken its last step, as far as the record tells."""
    return bool(trace.end or trace.final) or trace.progress >= 1.0


def label_name(trace: Trace, index: int) -> str:
    """Name of a class; its number where names are not known."""
    return trace.facts.labels[index] if index < len(trace.facts.labels) else str(index)


def _mean_recall_error(detail: Mapping[str, Any]) -> float:
    recall, rows = detail.get("recall") or [], detail.get("label_rows") or []
    errors = [
        share_error(number(share), number(count)) for share, count in zip(recall, rows, strict=False) if number(count)
    ]
    known = [error for error in errors if math.isfinite(error)]
    return math.sqrt(sum(error**2 for error in known)) / len(known) if known else math.nan


def _step_losses(trace: Trace, ends: list[int]) -> tuple[Floats, Floats]:
    """Mean loss of the steps up to each evaluation since the one before, with its standard error."""
    steps, losses = trace.steps, trace.column("loss")
    means, errors = [], []
    for start, end in zip([0, *ends], ends, strict=False):
        found = losses[(steps > start) & (steps <= end) & np.isfinite(losses)]
        means.append(float(found.mean()) if len(found) else math.nan)
        errors.append(float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 2 else math.nan)
    column = _column(means)
    return column, _with_errors(column, _column(errors))


def _with_errors(values: Floats, errors: Floats) -> Floats:
    """The errors; where one is not known, the scatter of the values about their trend, at least a share of them."""
    found = scatter(values)
    floor = np.fmax(UNKNOWN_ERROR * np.abs(values), found if math.isfinite(found) else 0.0)
    return np.where(np.isfinite(errors), errors, floor)


def _column(values: Any) -> Floats:
    return np.asarray(list(values), np.float64)
