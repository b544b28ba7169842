"""The objects of a run, built from a recipe and a data set: the one place where the rooms meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from trimtab.config.load import with_inferred
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.plugins import PluginSection, parse_options
from trimtab.config.recipe import AUTO, Recipe
from trimtab.core.registry import STRATEGIES, TASKS
from trimtab.core.seeds import seed_torch
from trimtab.data.dataset import Dataset
from trimtab.models.configs import check_task, load_config
from trimtab.models.hub import local_directory
from trimtab.models.loading import LoadedModel, load_model
from trimtab.models.processors import load_processor, max_length_of
from trimtab.models.sources import ModelSource, resolve_model
from trimtab.pipeline.resolve import choose_device, infer_values
from trimtab.strategies.base import Strategy, TrainingPlan, apply_plan, frozen_modules
from trimtab.tasks.base import Examples, Task, TaskContext
from trimtab.training.inference import Predictor


@dataclass(frozen=True)
class Groundwork:
    """What stands before any weights are read: cheap, and most errors show here.

    Args:
        recipe: may still hold `auto`.
        dataset: the prepared splits.
        task: with its options and labels.
        strategy: with its options.
        source: where the pretrained model is.
        context: processor and longest input.
        device: to run on.
    """

    recipe: Recipe
    dataset: Dataset
    task: Task
    strategy: Strategy
    source: ModelSource
    context: TaskContext
    device: torch.device


@dataclass(frozen=True)
class Parts:
    """The objects of a run, ready to train.

    Args:
        resolved: the recipe with no value left `auto`, and the origin of each.
        notes: reason for each inferred value, by dotted key.
        ground: what they were built from.
        loaded: model, processor and depth map.
        plan: what trains.
        examples: encoded rows of each split.
        accelerator: device and processes.
    """

    resolved: ResolvedRecipe
    notes: dict[str, str]
    ground: Groundwork
    loaded: LoadedModel
    plan: TrainingPlan
    examples: dict[str, Examples]
    accelerator: Accelerator

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.resolved.recipe

    @property
    def model(self) -> nn.Module:
        """The bare model."""
        return self.loaded.model

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The modules that stay in evaluation mode while the others train."""
        return frozen_modules(self.model, self.loaded.blocks, self.plan)

    def predictor(self, precision: str, **fields: Any) -> Predictor:
        """A predictor over the bare model."""
        budget = self.recipe.training.max_tokens_per_batch
        return Predictor(
            model=self.model,
            task=self.ground.task,
            device=self.accelerator.device,
            precision=precision,
            token_budget=budget if isinstance(budget, int) else 8192,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            **fields,
        )


def lay_groundwork(recipe: Recipe, dataset: Dataset) -> Groundwork:
    """Everything that can be checked without reading weights.

    Raises:
        RecipeError: the metric is not one of the task, or the device is not there.
        ModelError: the model is not there, or cannot do the task.
    """
    section = PluginSection(name=dataset.task, options=recipe.task.options) if recipe.task.name == AUTO else recipe.task
    task: Task = TASKS.get(section.name)(parse_options("task", section), dataset.labels)
    task.primary_metric(recipe.evaluation.metric)
    device = choose_device(recipe.training.device)
    strategy: Strategy = STRATEGIES.get(recipe.strategy.name)(parse_options("strategy", recipe.strategy))
    source, context = read_context(recipe, task)
    return Groundwork(recipe, dataset, task, strategy, source, context, device)


def read_context(recipe: Recipe, task: Task) -> tuple[ModelSource, TaskContext]:
    """Find the model, see that it can do the task, and read its processor; no weights are read.

    Raises:
        ModelError: the model is not there, is not whole, or cannot do the task.
    """
    trust = recipe.model.trust_remote_code
    source = resolve_model(recipe.model.name, revision=recipe.model.revision)
    config = load_config(
        source, local_directory(source, weights=False, trust_remote_code=trust), trust_remote_code=trust
    )
    check_task(source, config, task.auto_class)
    processor = load_processor(source, task.modality, trust_remote_code=trust)
    max_length = max_length_of(processor, config) if task.modality == "text" else 0
    return source, TaskContext(processor, max_length)


def build_parts(resolved: ResolvedRecipe, ground: Groundwork) -> Parts:
    """Read the model, settle what is `auto`, choose what trains, and encode the rows.

    Raises:
        ModelError: weights are damaged or do not fit.
        RecipeError: the strategy does not fit the model.
    """
    recipe, task = ground.recipe, ground.task
    accelerator = make_accelerator(ground.device)
    seed_torch(recipe.seed, "head")
    loaded = load_model(
        ground.source,
        auto_class=task.auto_class,
        labels=task.labels,
        section=recipe.model,
        modality=task.modality,
    )
    context = TaskContext(loaded.processor, ground.context.max_length)
    chosen = infer_values(
        recipe,
        task=task,
        strategy=ground.strategy,
        model_config=loaded.model.config,
        train_rows=len(ground.dataset.splits["train"]),
        device=accelerator.device,
    )
    resolved = with_inferred(resolved, {key: value for key, (value, _) in chosen.items()})
    rate = resolved.recipe.optimizer.learning_rate
    plan = ground.strategy.plan(loaded.blocks, float(rate))
    if resolved.recipe.training.gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    loaded.model.to(accelerator.device)
    apply_plan(loaded.model, plan)
    return Parts(
        resolved=resolved,
        notes={key: reason for key, (_, reason) in chosen.items()},
        ground=replace(ground, recipe=resolved.recipe, context=context),
        loaded=loaded,
        plan=plan,
        examples={name: task.encode(frame, context) for name, frame in ground.dataset.splits.items()},
        accelerator=accelerator,
    )


def make_accelerator(device: torch.device) -> Accelerator:
    """Accelerate's view of devices and processes; precision and gradient division are the engine's own.

    Accelerate keeps its state for the whole process and refuses to change the device, so that a second run of one
    Python session on another device starts it afresh (never while several processes are connected).
    """
    state = AcceleratorState._shared_state
    known = state.get("device")
    if known is not None and known.type != device.type and not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision="no", cpu=device.type == "cpu")
