"""The model judged on the validation rows, as during training."""

from __future__ import annotations

from trimtab.pipeline.parts import Parts
from trimtab.training.session import Judgement


def judge(parts: Parts) -> Judgement:
    """Evaluate on the validation rows, in the precision of training."""
    task, examples = parts.ground.task, parts.examples["validation"]
    predictions = parts.predictor(parts.recipe.training.precision).predict(examples)
    values: dict[str, float | None] = {"loss": predictions.loss}
    if examples.labels is not None:
        values |= task.metrics(examples.labels, predictions.scores)
    metric = task.primary_metric(parts.recipe.evaluation.metric)
    value = values[metric]
    return Judgement(metric, float("nan") if value is None else value, task.higher_is_better(metric), values)
