"""The recipe's sections on regularisation and forgetting made into the objective and the hooks of a run."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from accelerate import Accelerator

from trimtab.config.optimization import SCHEDULE_FREE
from trimtab.config.recipe import Recipe
from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.models.loading import LoadedModel
from trimtab.pipeline.measured import Measured
from trimtab.regularization import build
from trimtab.regularization.forgetting import (
    ForgettingContext,
    build_forgetting_hooks,
    check_forgetting,
    forgetting_notes,
    measurements,
    wrap_objective,
)
from trimtab.strategies.base import TrainingPlan
from trimtab.tasks.augmented import check_augmentation
from trimtab.tasks.base import Examples, Task, TaskContext
from trimtab.training.masks import FrozenElements
from trimtab.training.objective import Objective
from trimtab.training.optimizers import check_optimizer


@dataclass(frozen=True)
class Care:
    """What goes along with the task's loss.

    Args:
        objective: what training minimises.
        hooks: penalties, noise and the strategy's own hooks, in the order in which they act; last, what freezes
            elements.
        notes: what the user should know, as sentences.
    """

    objective: Objective
    hooks: tuple[StepHook, ...]
    notes: tuple[str, ...]


def check_care(recipe: Recipe, task: Task, device: torch.device) -> tuple[str, ...]:
    """See that optimizer, regularisation, augmentation and forgetting fit the task and the device; no weights are read.

    Returns:
        What the user should know of the combination, as sentences.

    Raises:
        RecipeError: two parts of the recipe do not go together.
        DataError: a file that it names cannot be used.
        MissingDependencyError: an optional library is not installed.
    """
    check_optimizer(recipe.optimizer, device)
    if recipe.optimizer.name in SCHEDULE_FREE and recipe.weights.source in ("ema", "swa"):
        raise RecipeError(
            f"weights.source: {recipe.weights.source} averages the weights, and {recipe.optimizer.name} averages them "
            "already.",
            remedy="Set weights.source=best, or choose another optimizer, such as optimizer.name=adamw.",
        )
    check_forgetting(recipe.forgetting, task.modality, compiled=recipe.training.compile is True)
    check_augmentation(recipe.augmentation, task)
    return build.check(recipe, task)


def build_care(
    recipe: Recipe,
    task: Task,
    loaded: LoadedModel,
    plan: TrainingPlan,
    examples: Examples,
    context: TaskContext,
    *,
    accelerator: Accelerator,
    measured: Measured,
) -> Care:
    """Build objective and hooks. The model holds its pretrained weights, on the device that trains.

    Args:
        recipe: resolved.
        task: gives the loss.
        loaded: model, processor and depth map; dropout by depth and mixout change the model in place.
        plan: what trains.
        examples: the training rows.
        context: for encoding further texts.
        accelerator: device and processes.
        measured: holds what was measured before training, or takes it.

    Raises:
        RecipeError: an option does not fit the model or the strategy.
    """
    _refuse_drifting_elements(recipe, plan)
    section, model, new_parameters = recipe.regularization, loaded.model, loaded.new_parameters
    notes = build.edit_model(section, model, loaded.blocks, plan, new_parameters)
    rows = {} if loaded.new_rows is None else dict.fromkeys(loaded.new_rows.names(model), loaded.new_rows.first)
    penalties = build.build_hooks(section, model, plan, recipe.seed, new_parameters, rows)
    objective = build.build_objective(section, task, examples.labels, recipe.seed)
    forgetting = ForgettingContext(
        model=model,
        blocks=loaded.blocks,
        trained=plan.trained,
        source=loaded.source,
        processor=loaded.processor,
        modality=task.modality,
        examples=examples,
        encode=lambda texts: task.encode(pd.DataFrame({"text": texts}, dtype=object), context),
        accelerator=accelerator,
        precision=recipe.training.precision,
        seed=recipe.seed,
        fresh_head=loaded.fresh_head,
        trust_remote_code=recipe.model.trust_remote_code,
    )
    fisher = measured.get("fisher", lambda: measurements(recipe.forgetting, forgetting))
    for name, first in rows.items():
        if name in fisher:
            fisher[name][first:] = 0.0  # new tokens have nothing that could be forgotten
    kept = build_forgetting_hooks(recipe.forgetting, forgetting, fisher)
    masks = (FrozenElements(model, plan.masks),) if plan.masks else ()
    return Care(
        objective=wrap_objective(recipe.forgetting, objective, forgetting),
        hooks=(*penalties, *kept, *plan.hooks, *masks),
        notes=(*notes, *forgetting_notes(kept)),
    )


def _refuse_drifting_elements(recipe: Recipe, plan: TrainingPlan) -> None:
    """A schedule-free optimizer keeps a second copy of each weight, which decay would move where elements are frozen.

    Raises:
        RecipeError: elements of a parameter are frozen, and such an optimizer decays weights.
    """
    if plan.masks and recipe.optimizer.name in SCHEDULE_FREE and recipe.optimizer.setting("weight_decay"):
        raise RecipeError(
            f"optimizer.weight_decay: {recipe.optimizer.name} would decay elements that the strategy keeps frozen.",
            remedy="Set optimizer.weight_decay=0, take optimizer.name=adamw, or choose whole "
            "tensors (strategy.unit=tensor).",
        )
