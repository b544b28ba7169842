"""From class probabilities to an `EvalResult`: metrics, intervals, baselines, verdict, target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.config.recipe import EvaluationSection
from trimtab.core.errors import DataError, ModelError
from trimtab.core.seeds import stream
from trimtab.evaluation.bootstrap import (
    all_alike_bound,
    percentile_interval,
    resample_predictions,
    resample_probabilities,
)
from trimtab.evaluation.result import EvalResult, Interval
from trimtab.evaluation.verdict import judge_target, parse_target, verdict_sentence
from trimtab.metrics.classification import (
    Floats,
    Ints,
    calibration_gaps,
    class_ids,
    classification_metrics,
    confusion_matrix,
    get_metric,
    per_class_metrics,
    row_log_losses,
)

MODEL = "model"
FALLBACK_METRIC = "macro_f1"
FEW_ROWS = 100
LABELS_NAMED = 5


def evaluate_classification(
    labels: Ints,
    probabilities: Floats,
    label_names: tuple[str, ...],
    *,
    split: str,
    section: EvaluationSection,
    primary_metric: str,
    seed: int,
    baseline_predictions: Mapping[str, Ints],
    notes: tuple[str, ...] = (),
) -> EvalResult:
    """Judge class probabilities against the true labels.

    Args:
        labels: true class ids, int [n], n ≥ 1.
        probabilities: float [n, k], finite.
        label_names: k names; index = class id.
        split: where the rows come from, e.g. `test`.
        section: level of the intervals, number of resamples, target.
        primary_metric: metric that the verdict speaks of.
        seed: the run's seed; the bootstrap has a stream of its own.
        baseline_predictions: baseline name -> predicted class ids, int [n]; may be empty.
        notes: sentences to hand on with the result, before our own.

    Raises:
        DataError: no rows, or lengths or class ids that do not fit together.
        ModelError: a probability is NaN or infinite.
        UnknownNameError: no metric goes by the primary metric's or the target's name.
        RecipeError: the target cannot be read.
    """
    get_metric(primary_metric)
    target = parse_target(section.target) if section.target else None
    labels = _checked(labels, probabilities, label_names)
    predictions = {MODEL: np.argmax(probabilities, axis=1), **baseline_predictions}
    confusions = {name: confusion_matrix(labels, ids, len(label_names)) for name, ids in predictions.items()}
    resampled = resample_predictions(
        labels, predictions, len(label_names), section.bootstrap_samples, stream(seed, "bootstrap")
    )
    intervals = {
        name: _prediction_intervals(confusions[name], resampled[name], section.confidence) for name in predictions
    }
    metrics = intervals.pop(MODEL) | _probability_intervals(labels, probabilities, section, seed)
    compared = primary_metric if get_metric(primary_metric).from_confusion else FALLBACK_METRIC
    differences = {
        name: _difference(metrics[compared], intervals[name][compared], resampled[MODEL][compared],
                          resampled[name][compared], len(labels), section.confidence)
        for name in intervals
    }  # fmt: skip
    best = max(intervals, key=lambda name: intervals[name][compared].value, default=None)
    context: dict[str, Any] = {"confidence": section.confidence, "rows": len(labels), "split": split}
    verdict = verdict_sentence(
        primary_metric=primary_metric,
        primary=metrics[primary_metric],
        difference_metric=compared,
        best_baseline=best,
        difference=differences[best] if best else None,
        **context,
    )
    return EvalResult(
        primary_metric=primary_metric,
        metrics=metrics,
        baselines=intervals,
        difference_metric=compared,
        differences=differences,
        per_class=_per_class(confusions[MODEL], label_names),
        confusion=confusions[MODEL].tolist(),
        labels=tuple(label_names),
        verdict=verdict,
        target=judge_target(target, metrics[target.metric], **context) if target else None,
        notes=(*notes, *_notes(confusions[MODEL], label_names, primary_metric, bool(intervals))),
        **context,
    )


def _checked(labels: Ints, probabilities: Floats, label_names: tuple[str, ...]) -> NDArray[np.int64]:
    if probabilities.shape != (len(labels), len(label_names)):
        raise DataError(
            f"{len(labels)} rows and {len(label_names)} labels need probabilities of shape "
            f"[{len(labels)}, {len(label_names)}]; found {list(probabilities.shape)}."
        )
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        raise ModelError(
            f"The model gives NaN or infinite probabilities for {int((~finite).sum()):,} of {len(labels):,} rows, the "
            f"first at position {int(np.argmin(finite)) + 1}.",
            remedy="Train again with a lower optimizer.learning_rate or with training.precision=fp32.",
        )
    return class_ids(labels, len(label_names))


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


def _probability_intervals(
    labels: Ints, probabilities: Floats, section: EvaluationSection, seed: int
) -> dict[str, Interval]:
    losses = row_log_losses(labels, probabilities)
    bins, gaps = calibration_gaps(labels, probabilities)
    resampled = resample_probabilities(losses, bins, gaps, section.bootstrap_samples, stream(seed, "bootstrap", "rows"))
    values = {"log_loss": losses.mean(), "ece": np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)}
    return {
        name: percentile_interval(float(value), resampled[name], section.confidence) for name, value in values.items()
    }


def _difference(
    model: Interval, baseline: Interval, model_samples: Floats, baseline_samples: Floats, rows: int, confidence: float
) -> Interval:
    """Model − baseline in one metric, from paired resamples.

    Where every row came out the same way (one of the two always right, the other never), resampling sees no spread. The
    share of such rows is then at least q, the exact bound, and the rest can at worst count the other way: 2q − 1.
    """
    value = model.value - baseline.value
    interval = percentile_interval(value, model_samples - baseline_samples, confidence)
    if value and interval.low == interval.high:
        kept = value * (2 * all_alike_bound(rows, confidence) - 1)
        interval = Interval(value, min(value, kept), max(value, kept))
    return interval


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
