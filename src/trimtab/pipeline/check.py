"""The data report of a recipe, before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.config.load import with_inferred
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import AUTO, Recipe
from trimtab.data.dataset import Dataset
from trimtab.data.loading import load_dataset
from trimtab.data.report import DataReport, data_report
from trimtab.integrations.outlets import check_outlets
from trimtab.models.sources import resolve_model
from trimtab.models.vectors import vector_file
from trimtab.pipeline.augment import check_sources
from trimtab.pipeline.caches import results_cache
from trimtab.pipeline.parts import Groundwork, lay_groundwork, text_context
from trimtab.pipeline.resolve import choose_device
from trimtab.pipeline.store import check_place


def check(resolved: ResolvedRecipe, source: Any) -> tuple[Groundwork, DataReport]:
    """Read the data, check recipe and model against them, and write the data report. No weights are read.

    Raises:
        TrimtabError: whatever cannot work.
    """
    recipe = resolved.recipe
    _check_before_data(recipe)
    dataset = _read(resolved, source)
    ground = lay_groundwork(recipe, dataset)
    is_text = ground.task.modality == "text"
    report = data_report(
        dataset,
        tokenizer=ground.context.processor if is_text else None,
        max_length=ground.task.max_length(text_context(ground.context, ground.strategy)),
        options=recipe.data,
        seed=recipe.seed,
        model_name=recipe.model.name,
        cache=results_cache(recipe, "reports"),
    )
    return ground, report


def report_on(resolved: ResolvedRecipe, source: Any) -> DataReport:
    """The data report for its own sake: images need no model for it, unless one was named.

    Raises:
        TrimtabError: whatever cannot work.
    """
    if resolved.origins.get("model.name", "default") == "default":
        dataset = _read(resolved, source)
        if dataset.columns.image is not None:
            recipe = resolved.recipe
            return data_report(dataset, options=recipe.data, seed=recipe.seed, cache=results_cache(recipe, "reports"))
    return check(resolved, source)[1]


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """What a display says of the data before training."""
    return {
        "name": dataset.name,
        "task": dataset.task,
        "labels": dataset.labels,
        "rows": {name: len(frame) for name, frame in dataset.splits.items()},
        "held_out": dataset.held_out,
        "notes": dataset.notes,
    }


def _check_before_data(recipe: Recipe) -> None:
    """What shows without the data, which may take long to read: is the device there, and the model directory?

    And can alerts and trackers work here?
    """
    choose_device(recipe.training.device)
    resolve_model(recipe.model.name, revision=recipe.model.revision)
    check_sources(recipe.augmentation)
    if recipe.model.vocabulary_vectors is not None:
        vector_file(recipe.model.vocabulary_vectors)
    check_outlets(recipe)
    if recipe.tracking.folder is not None:
        check_place(Path(recipe.tracking.folder).expanduser())


def _read(resolved: ResolvedRecipe, source: Any) -> Dataset:
    recipe = resolved.recipe
    dataset = load_dataset(source, recipe.data, seed=recipe.seed, task=recipe.task.name)
    if recipe.task.name == AUTO:
        with_inferred(resolved, {"task": dataset.task})  # raises where options given do not fit this task
    return dataset
