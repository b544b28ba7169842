"""The model judged on the validation rows, as during training, and on a fixed sample of the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.metrics.scores import Scores, score_metrics
from trimtab.monitor.signals.outcome import describe_scores
from trimtab.pipeline.parts import Parts
from trimtab.training.session import Judgement


def judge(parts: Parts, held_in: np.ndarray | None = None) -> Judgement:
    """Evaluate on the validation rows, in the precision of training.

    Args:
        parts: of a run.
        held_in: training rows that are judged too, in evaluation mode, so that both losses compare; None for none.
    """
    task, examples = parts.ground.task, parts.examples["validation"]
    predictor = parts.predictor(parts.recipe.training.precision)
    predictions = predictor.predict(examples)
    values: dict[str, float | None] = {"loss": predictions.loss}
    detail: dict[str, Any] = {}
    if examples.labels is not None:
        values |= task.metrics(examples.labels, predictions.scores)
        detail = describe_scores(examples.labels, predictions.scores)
    metric = task.primary_metric(parts.recipe.evaluation.metric)
    value = values[metric]
    return Judgement(
        metric,
        float("nan") if value is None else value,
        task.higher_is_better(metric),
        values,
        detail=detail,
        held_in={} if held_in is None else _on_training_rows(parts, held_in),
    )


def _on_training_rows(parts: Parts, rows: np.ndarray) -> dict[str, Any]:
    """Loss, its standard error, and metrics on a sample of training rows; each process computes them all."""
    examples = parts.examples["train"]
    if examples.labels is None:
        return {}
    probabilities = parts.predictor(parts.recipe.training.precision).predict_rows(examples, rows)
    labels = examples.labels[rows]
    scores = Scores.of(probabilities, labels)
    values = score_metrics(labels, scores)
    detail = describe_scores(labels, scores)
    return {"rows": len(rows), "loss": values["log_loss"], "loss_error": detail["loss_error"], **values}
