"""From class probabilities to an `EvalResult`: metrics, intervals, baselines, verdict, target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.config.recipe import EvaluationSection
from trimtab.core.errors import DataError, ModelError
from trimtab.core.seeds import stream
from trimtab.evaluation.bootstrap import (
    all_alike_bound,
    difference_interval,
    percentile_interval,
    resample_predictions,
    resample_probabilities,
)
from trimtab.evaluation.result import EvalResult, Interval
from trimtab.evaluation.verdict import judge_target, parse_target, verdict_sentence
from trimtab.metrics.classification import (
    Floats,
    Ints,
    class_ids,
    classification_metrics,
    confusion_matrix,
    get_metric,
    per_class_metrics,
)
from trimtab.metrics.scores import Scores, as_scores, score_calibration_gaps, score_log_losses

MODEL = "model"
FALLBACK_METRIC = "macro_f1"
FEW_ROWS = 100
LABELS_NAMED = 5


def evaluate_classification(
    labels: Ints,
    scores: Scores | Floats,
    label_names: tuple[str, ...],
    *,
    split: str,
    section: EvaluationSection,
    primary_metric: str,
    seed: int,
    baseline_predictions: Mapping[str, Ints],
    notes: tuple[str, ...] = (),
    precision: str = "fp32",
) -> EvalResult:
    """Judge class probabilities against the true labels.

    Args:
        labels: true class ids, int [n], n ≥ 1.
        scores: of n rows and k classes, made with these labels; or probabilities, float [n, k], finite.
        label_names: k names; index = class id.
        split: where the rows come from, e.g. `test`.
        section: level of the intervals, number of resamples, target.
        primary_metric: metric that the verdict speaks of.
        seed: the run's seed; the bootstrap has a stream of its own.
        baseline_predictions: baseline name -> predicted class ids, int [n]; may be empty.
        notes: sentences to hand on with the result, before our own.
        precision: arithmetic that the probabilities were computed in.

    Raises:
        DataError: no rows, or lengths or class ids that do not fit together.
        ModelError: a probability is NaN or infinite.
        UnknownNameError: no metric goes by the primary metric's or the target's name.
        RecipeError: the target cannot be read.
    """
    get_metric(primary_metric)
    target = parse_target(section.target) if section.target else None
    labels, scores = _checked(labels, scores, label_names)
    compared = _compare(labels, scores, baseline_predictions, primary_metric, section, seed)
    metrics = compared.model | _probability_intervals(labels, scores, section, seed)
    context: dict[str, Any] = {"confidence": section.confidence, "rows": len(labels), "split": split}
    return EvalResult(
        primary_metric=primary_metric,
        metrics=metrics,
        baselines=compared.baselines,
        difference_metric=compared.metric,
        differences=compared.differences,
        per_class=_per_class(compared.confusion, label_names),
        confusion=compared.confusion.tolist(),
        labels=tuple(label_names),
        verdict=_verdict(primary_metric, metrics[primary_metric], compared, context),
        target=judge_target(target, metrics[target.metric], **context) if target else None,
        notes=(*notes, *_notes(compared.confusion, label_names, primary_metric, bool(compared.baselines))),
        precision=precision,
        **context,
    )


@dataclass(frozen=True)
class _Comparison:
    """The model and the baselines, judged on the same resamples.

    Args:
        model: metric name -> value with interval, of the metrics that predictions alone decide.
        baselines: the same for each baseline.
        metric: the metric in which they are compared.
        differences: baseline name -> model − baseline.
        confusion: counts of the model [k, k].
    """

    model: dict[str, Interval]
    baselines: dict[str, dict[str, Interval]]
    metric: str
    differences: dict[str, Interval]
    confusion: NDArray[np.int64]


def _compare(
    labels: Ints,
    scores: Scores,
    baseline_predictions: Mapping[str, Ints],
    primary_metric: str,
    section: EvaluationSection,
    seed: int,
) -> _Comparison:
    predictions = {MODEL: scores.predicted, **baseline_predictions}
    confusions = {name: confusion_matrix(labels, ids, scores.num_classes) for name, ids in predictions.items()}
    resampled = resample_predictions(
        labels, predictions, scores.num_classes, section.bootstrap_samples, stream(seed, "bootstrap")
    )
    intervals = {
        name: _prediction_intervals(confusions[name], resampled[name], section.confidence) for name in predictions
    }
    model = intervals.pop(MODEL)
    metric = primary_metric if get_metric(primary_metric).from_confusion else FALLBACK_METRIC
    differences = {
        name: difference_interval(
            model[metric].value - intervals[name][metric].value,
            resampled[MODEL][metric] - resampled[name][metric],
            len(labels),
            section.confidence,
        )
        for name in intervals
    }
    return _Comparison(model, intervals, metric, differences, confusions[MODEL])


def _verdict(primary_metric: str, primary: Interval, compared: _Comparison, context: dict[str, Any]) -> str:
    """The sentence on the model beside its best baseline."""
    best = max(compared.baselines, key=lambda name: compared.baselines[name][compared.metric].value, default=None)
    return verdict_sentence(
        primary_metric=primary_metric,
        primary=primary,
        difference_metric=compared.metric,
        best_baseline=best,
        difference=compared.differences[best] if best else None,
        **context,
    )


def _checked(labels: Ints, given: Scores | Floats, label_names: tuple[str, ...]) -> tuple[NDArray[np.int64], Scores]:
    """The labels as class ids, and what was given as scores: from here on there is one form only."""
    shape = (len(given), given.num_classes) if isinstance(given, Scores) else given.shape
    if tuple(shape) != (len(labels), len(label_names)):
        raise DataError(
            f"{len(labels)} rows and {len(label_names)} labels need probabilities of shape "
            f"[{len(labels)}, {len(label_names)}]; found {list(shape)}."
        )
    ids = class_ids(labels, len(label_names))
    scores = as_scores(given, ids)
    if not scores.finite.all():
        raise ModelError(
            f"The model gives NaN or infinite probabilities for {int((~scores.finite).sum()):,} of {len(labels):,} "
            f"rows, the first at position {int(np.argmin(scores.finite)) + 1}.",
            remedy="Train again with a lower optimizer.learning_rate or with training.precision=fp32.",
        )
    return ids, scores


def _prediction_intervals(
    confusion: NDArray[np.int64], resampled: dict[str, Floats], confidence: float
) -> dict[str, Interval]:
    """The metrics of one predictor with intervals; where no row is wrong, the lower ends are the exact bound."""
    values = {name: float(value) for name, value in classification_metrics(confusion).items()}
    intervals = {name: percentile_interval(value, resampled[name], confidence) for name, value in values.items()}
    if values["accuracy"] == 1:
        floor = all_alike_bound(int(confusion.sum()), confidence)
        intervals = {name: replace(interval, low=min(interval.low, floor)) for name, interval in intervals.items()}
    return intervals


def _probability_intervals(labels: Ints, scores: Scores, section: EvaluationSection, seed: int) -> dict[str, Interval]:
    losses = score_log_losses(scores)
    bins, gaps = score_calibration_gaps(labels, scores)
    resampled = resample_probabilities(losses, bins, gaps, section.bootstrap_samples, stream(seed, "bootstrap", "rows"))
    values = {"log_loss": losses.mean(), "ece": np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)}
    return {
        name: percentile_interval(float(value), resampled[name], section.confidence) for name, value in values.items()
    }


def _per_class(confusion: NDArray[np.int64], label_names: tuple[str, ...]) -> list[dict[str, Any]]:
    columns = per_class_metrics(confusion)
    return [
        {
            "label": name,
            "rows": int(columns["rows"][index]),
            **{key: float(columns[key][index]) for key in ("precision", "recall", "f1")},
        }
        for index, name in enumerate(label_names)
    ]


def _notes(
    confusion: NDArray[np.int64], label_names: tuple[str, ...], primary_metric: str, has_baselines: bool
) -> list[str]:
    """What a reader of the numbers should know."""
    rows = int(confusion.sum())
    notes = []
    if rows < FEW_ROWS:
        notes.append(f"Only {rows:,} rows: intervals from so few are rough.")
    if np.trace(confusion) == rows:
        notes.append("No row was predicted wrong: the lower ends are the exact binomial bound, not the bootstrap's.")
    absent = [name for name, count in zip(label_names, confusion.sum(axis=1), strict=True) if not count]
    if absent:
        named = ", ".join(absent[:LABELS_NAMED]) + (", …" if len(absent) > LABELS_NAMED else "")
        notes.append(
            f"{len(absent)} of {len(label_names)} labels have no row here, so nothing is known of them: {named}."
        )
    if has_baselines and not get_metric(primary_metric).from_confusion:
        notes.append(
            f"Baselines give no probabilities, so they are compared in {FALLBACK_METRIC}, not {primary_metric}."
        )
    return notes
