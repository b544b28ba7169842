"""The loop over a run's parts: the same for a run, a trial and a range test."""

from __future__ import annotations

import torch
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.pipeline.parts import Parts
from trimtab.strategies.base import TrainingPlan
from trimtab.training.engine import Engine, Notify
from trimtab.training.records import Progress
from trimtab.training.sharding import check_sharding, is_sharded, shard


def build_engine(
    parts: Parts,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    notify: Notify,
    *,
    recipe: Recipe | None = None,
    plan: TrainingPlan | None = None,
) -> Engine:
    """The engine, with the model compiled and spread over processes as the recipe says.

    Args:
        parts: ready to train.
        optimizer: built by `build_optimizer`.
        progress: where the run stands.
        notify: called with (action, **fields) when the loop acts by itself.
        recipe: in place of that of the parts.
        plan: in place of that of the parts.
    """
    recipe = recipe or parts.recipe
    return Engine(
        model=parts.model,
        blocks=parts.loaded.blocks,
        plan=plan or parts.plan,
        objective=parts.objective,
        examples=parts.examples["train"],
        optimizer=optimizer,
        accelerator=parts.accelerator,
        recipe=recipe,
        precision=recipe.training.precision,
        progress=progress,
        notify=notify,
        hooks=parts.hooks,
        wrap=lambda model: _wrap(parts, recipe, model, optimizer),
    )


def refuse_unfit_sharding(parts: Parts) -> None:
    """See, before a run directory is made, that what goes on beside the loss can do with a model in shares.

    Raises:
        RecipeError: something cannot.
    """
    if parts.recipe.training.sharding == "fsdp":
        processes = parts.accelerator.num_processes
        check_sharding(parts.recipe, parts.model, parts.loaded.blocks, parts.plan, parts.hooks, processes)


def share_model(parts: Parts, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The model in shares over the processes, and the optimizer with it.

    Raises:
        RecipeError: something in the recipe does not go with it.
    """
    if not is_sharded(model):
        refuse_unfit_sharding(parts)
    return shard(model, parts.loaded.blocks, optimizer, parts.accelerator.device)


def _wrap(parts: Parts, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The model as the loop calls it: compiled where the recipe says so, and spread over the processes."""
    # What several processes began in shares may go on in one, which holds everything: its optimizer has a state then.
    goes_on_alone = parts.accelerator.num_processes == 1 and bool(optimizer.state)
    if recipe.training.sharding == "fsdp" and not goes_on_alone:
        return share_model(parts, model, optimizer)
    wrapped: nn.Module = parts.accelerator.prepare_model(torch.compile(model) if recipe.training.compile else model)
    return wrapped
