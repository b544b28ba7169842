"""What `auto` in a recipe becomes, once data and model are known; each choice with its reason."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trimtab.config.alerts import AlertsSection
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import AUTO, Recipe
from trimtab.config.section import Section
from trimtab.config.tracking import TrackingSection
from trimtab.core.errors import RecipeError
from trimtab.data.batching import steps_per_epoch
from trimtab.models.sources import STARTER
from trimtab.strategies.base import Strategy, TrainingPlan
from trimtab.tasks.base import Task
from trimtab.training.engine import total_steps
from trimtab.training.optimizers import auto_rate_factor
from trimtab.training.stages import fewest_steps, unreachable

# `num_epochs: auto` aims at this many optimizer steps, within the bounds.
WANTED_STEPS = 150
FEWEST_EPOCHS, MOST_EPOCHS = 3, 20

# Keys that name files or folders, beside those of `data`, `model.name` and `output`.
FILES = {
    "cache": ("folder",),
    "augmentation": (
        "synonyms",
        "back_translation_forward",
        "back_translation_backward",
        "back_translation_cache",
    ),
    "forgetting": ("text", "replay_text"),
    "retention": ("text", "pairs", "images"),
}

TOKEN_BUDGET = {"cpu": 8192, "cuda": 65536}


def infer_values(
    recipe: Recipe, *, task: Task, strategy: Strategy, model_config: Any, train_rows: int, device: torch.device
) -> dict[str, tuple[Any, str]]:
    """The value and the reason for every key that is still `auto`, by dotted key.

    What is settled by measuring (precision, attention, compilation) waits for `pipeline.tune`.
    """
    chosen: dict[str, tuple[Any, str]] = {}
    if recipe.task.name == AUTO:
        chosen["task"] = (task.name, "inferred from the data")
    if recipe.optimizer.learning_rate == AUTO:
        chosen["optimizer.learning_rate"] = _learning_rate(recipe, strategy, hidden_size(model_config))
    if recipe.training.num_epochs == AUTO:
        chosen["training.num_epochs"] = _epochs(recipe, train_rows)
    if recipe.training.max_tokens_per_batch == AUTO:
        chosen["training.max_tokens_per_batch"] = (TOKEN_BUDGET.get(device.type, 8192), f"for {device.type}")
    if recipe.training.device == AUTO:
        chosen["training.device"] = (device.type, "the fastest device found")
    if recipe.evaluation.metric == AUTO:
        chosen["evaluation.metric"] = (task.primary_metric(AUTO), f"the metric of {task.name}")
    if recipe.monitor.signals and recipe.monitor.sample_rows == AUTO:
        rows = min(train_rows, 512, max(64, round(0.02 * train_rows)))
        chosen["monitor.sample_rows"] = (max(8, rows), "2 % of the training rows, 64 to 512")
    return chosen


def _learning_rate(recipe: Recipe, strategy: Strategy, width: int) -> tuple[float, str]:
    """The strategy's rate for AdamW, times what the optimizer wants in proportion to it."""
    rate, reason = strategy.default_learning_rate(width)
    factor, why = auto_rate_factor(recipe.optimizer.name)
    return (rate, reason) if factor == 1 else (float(f"{rate * factor:.3g}"), f"{reason}; {why}")


def refuse_unreachable_stages(recipe: Recipe, plan: TrainingPlan, train_rows: int) -> None:
    """See that the run is long enough for every stage to begin.

    Raises:
        RecipeError: which stages the run would end before, and how long it has to be.
    """
    training = recipe.training
    per_epoch = steps_per_epoch(train_rows, training.batch_size, training.gradient_accumulation_steps)
    total = total_steps(recipe, train_rows)
    every = recipe.evaluation.every_steps or per_epoch
    missed = unreachable(plan, per_epoch, total, every)
    if missed:
        needed = sum(fewest_steps(stage, per_epoch, total, every) for stage in plan.stages) + 1
        epochs = f"{math.ceil(needed / per_epoch)} epochs or more (--epochs)"
        longer = epochs if training.max_steps is None else f"{needed} steps or more (training.max_steps), {epochs}"
        raise RecipeError(
            f"strategy: the run has {total} steps, and ends before {len(missed)} of {len(plan.stages)} stages begin; "
            f"the first of them: {missed[0]}.",
            remedy=f"Train for {longer}, make the stages shorter, or unfreeze more in each.",
        )


def anchor_paths(resolved: ResolvedRecipe) -> ResolvedRecipe:
    """The recipe with local paths made absolute, so that it holds in any working directory."""
    recipe = resolved.recipe
    data = {key: _absolute(getattr(recipe.data, key)) for key in ("path", "validation", "test")}
    name = recipe.model.name if recipe.model.name == STARTER else _absolute(recipe.model.name)
    anchored = recipe.model_copy(
        update={
            **{section: _anchored(getattr(recipe, section), keys) for section, keys in FILES.items()},
            "output": None if recipe.output is None else str(Path(recipe.output).absolute()),
            "alerts": _anchored_alerts(recipe.alerts),
            "tracking": _anchored_tracking(recipe.tracking),
            "data": recipe.data.model_copy(update=data),
            "model": recipe.model.model_copy(
                update={"name": name, "vocabulary_vectors": _absolute(recipe.model.vocabulary_vectors)}
            ),
        }
    )
    return replace(resolved, recipe=anchored)


def _anchored(section: Section, keys: tuple[str, ...]) -> Section:
    """A section of the recipe with the files that it names seen from everywhere."""
    return section.model_copy(update={key: _absolute(getattr(section, key)) for key in keys})


def _anchored_alerts(section: AlertsSection) -> AlertsSection:
    """The section with the files of its command seen from everywhere; words that name no file stay."""
    command = section.command
    if command is None:
        return section
    # A program without a folder is looked for in PATH; other words count as files where one is there.
    program = command[0] if Path(command[0]).name == command[0] else _absolute(command[0])
    words = [_absolute(word) if Path(word).is_file() else word for word in command[1:]]
    return section.model_copy(update={"command": [program, *words]})


def _anchored_tracking(section: TrackingSection) -> TrackingSection:
    """The section with its folder and its store seen from everywhere, there already or not."""
    folder = None if section.folder is None else str(Path(section.folder).expanduser().absolute())
    uri = section.uri
    if uri is not None and not uri.startswith("env:") and "://" not in uri.removeprefix("sqlite:///"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().absolute()}"
    return section.model_copy(update={"folder": folder, "uri": uri})


def _absolute(path: str | None) -> str | None:
    """`path` as it is seen from everywhere; a Hub id stays as it is."""
    if path is None or not Path(path).expanduser().exists():
        return path
    return str(Path(path).expanduser().absolute())


def _epochs(recipe: Recipe, rows: int) -> tuple[int, str]:
    training = recipe.training
    per_epoch = steps_per_epoch(rows, training.batch_size, training.gradient_accumulation_steps)
    epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(WANTED_STEPS / per_epoch)))
    return epochs, f"{rows} training rows, {epochs * per_epoch} steps"


def hidden_size(config: Any) -> int:
    """Width of the model's hidden states; 0 where the configuration does not say (convolutional networks)."""
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    return 0


def choose_device(wanted: str) -> torch.device:
    """The device for `training.device`.

    Raises:
        RecipeError: the device is not one that this machine has.
    """
    if wanted == AUTO:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = wanted.partition(":")[0]
    if not present.get(kind, False):
        available = ", ".join(name for name, there in present.items() if there)
        raise RecipeError(
            f"training.device: this machine has no {wanted!r} that torch {torch.__version__} can use.",
            remedy=f"Available: {available}.",
        )
    return torch.device(wanted)
