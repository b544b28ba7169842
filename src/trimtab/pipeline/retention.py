"""What the model keeps of the pretrained one, measured of a run as it stands."""

from __future__ import annotations

from trimtab.evaluation.retention.measure import measure_retention
from trimtab.evaluation.retention.result import RetentionResult
from trimtab.pipeline.caches import results_cache
from trimtab.pipeline.parts import Parts


def retention_of(parts: Parts) -> RetentionResult | None:
    """Hold the model, as it is now, against the pretrained one; None where the recipe does not ask.

    It is left in evaluation mode.
    """
    ground = parts.ground
    if ground.retention is None:
        return None
    return measure_retention(
        parts.loaded.model,
        ground.retention,
        ground.source,
        ground.task,
        parts.recipe.model,
        parts.recipe.evaluation,
        images=parts.examples["validation"] if ground.task.modality == "image" else None,
        max_length=ground.context.max_length,
        cache=results_cache(parts.recipe, "retention"),
    )
