"""The objects of a run, built from a recipe and a data set: the one place where the rooms meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from trimtab.config.load import with_inferred
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.plugins import PluginSection, parse_options
from trimtab.config.recipe import AUTO, Recipe
from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.core.registry import STRATEGIES, TASKS
from trimtab.core.seeds import seed_torch
from trimtab.data.dataset import Dataset
from trimtab.evaluation.retention.material import RetentionMaterial, read_material
from trimtab.models.attention import check_attention
from trimtab.models.configs import check_task, load_config
from trimtab.models.extension import extend_vocabulary, new_token_rate
from trimtab.models.hub import local_directory
from trimtab.models.lean_dropout import lean_dropout
from trimtab.models.loading import LoadedModel, load_model
from trimtab.models.processors import load_processor, max_length_of
from trimtab.models.sources import ModelSource, resolve_model
from trimtab.models.vocabulary import extended_tokenizer
from trimtab.pipeline.caches import results_cache
from trimtab.pipeline.care import build_care, check_care
from trimtab.pipeline.final_weights import refuse_idle_interpolation, weight_average
from trimtab.pipeline.measured import Measured
from trimtab.pipeline.resolve import choose_device, infer_values, refuse_unreachable_stages
from trimtab.pipeline.tune import settle_speed
from trimtab.strategies._new_tokens import extend_plan
from trimtab.strategies.base import Strategy, TrainingPlan, apply_plan, frozen_modules
from trimtab.tasks.base import Examples, Task, TaskContext
from trimtab.training.averages import WeightAverage
from trimtab.training.inference import Predictor
from trimtab.training.objective import Objective
from trimtab.training.scores import measure_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Tokens that a text needs at least: two special ones, and some of its own.
FEWEST_TOKENS = 4


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
        retention: what the retention of the model is measured on; None where it is not measured.
        care_notes: what the user should know of optimizer, regularisation and forgetting, as sentences.
    """

    recipe: Recipe
    dataset: Dataset
    task: Task
    strategy: Strategy
    source: ModelSource
    context: TaskContext
    device: torch.device
    retention: RetentionMaterial | None = None
    care_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """The objects of a run, ready to train.

    Args:
        resolved: the recipe with no value left `auto`, and the origin of each.
        notes: reason for each inferred value, by dotted key.
        ground: what they were built from.
        loaded: model, processor and depth map.
        plan: what trains, and when.
        examples: encoded rows of each split.
        accelerator: device and processes.
        objective: what training minimises.
        hooks: what takes part in every step.
        measured: what was measured before training.
        care_notes: what the user should know of optimizer, regularisation and forgetting, as sentences.
        average: the average of the weights that is kept, if one is.
    """

    resolved: ResolvedRecipe
    notes: dict[str, str]
    ground: Groundwork
    loaded: LoadedModel
    plan: TrainingPlan
    examples: dict[str, Examples]
    accelerator: Accelerator
    objective: Objective
    hooks: tuple[StepHook, ...]
    measured: Measured
    care_notes: tuple[str, ...] = ()
    average: WeightAverage | None = None

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
        """The modules that stay in evaluation mode in the first stage."""
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
    care_notes = check_care(recipe, task, device)
    source, context = read_context(recipe, task)
    if recipe.model.extend_vocabulary:
        longer = extended_tokenizer(context.processor, _training_texts(dataset), recipe.model)
        context = replace(context, processor=longer)
    retention = read_material(
        recipe.retention,
        task.modality,
        source,
        context.processor,
        seed=recipe.seed,
        trust_remote_code=recipe.model.trust_remote_code,
    )
    return Groundwork(recipe, dataset, task, strategy, source, context, device, retention, care_notes)


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


def text_context(context: TaskContext, strategy: Strategy) -> TaskContext:
    """`context` with the room that the strategy's virtual tokens leave to the text.

    Raises:
        RecipeError: they leave next to none.
    """
    taken = strategy.extra_tokens
    if not taken or not context.max_length:
        return context
    left = context.max_length - taken
    if left < FEWEST_TOKENS:
        raise RecipeError(
            f"strategy.num_virtual_tokens: {taken} asked for, and the model reads {context.max_length} tokens at once, "
            "those of the text included.",
            remedy=f"Give a smaller number, at most {max(1, context.max_length - FEWEST_TOKENS)}.",
        )
    return replace(context, max_length=left)


def build_parts(
    resolved: ResolvedRecipe,
    ground: Groundwork,
    measured: Measured | None = None,
    encoded: dict[str, Examples] | None = None,
) -> Parts:
    """Read the model, settle what is `auto`, choose what trains, and encode the rows.

    Args:
        resolved: recipe with origins; may hold `auto`.
        ground: from `lay_groundwork`.
        measured: what the run has measured before, when it is resumed.
        encoded: the rows of each split, where they were encoded before.

    Raises:
        ModelError: weights are damaged or do not fit.
        RecipeError: the strategy does not fit the model, or two parts of the recipe do not go together.
    """
    recipe, task, strategy = ground.recipe, ground.task, ground.strategy
    measured = measured or Measured()
    accelerator = make_accelerator(ground.device)
    loaded, adapters = _load(recipe, ground)
    context = _context(ground, loaded)
    rows = len(ground.dataset.splits["train"])
    resolved, reasons = _settle(resolved, ground, loaded, accelerator.device)
    recipe = resolved.recipe
    ground = replace(ground, recipe=recipe, context=context)
    examples = encoded or {name: task.encode(frame, context) for name, frame in ground.dataset.splits.items()}
    loaded.model.to(accelerator.device)
    plan = _plan(recipe, ground, loaded, examples["train"], measured, accelerator)
    refuse_unreachable_stages(recipe, plan, rows)
    refuse_idle_interpolation(recipe, strategy, plan, loaded.new_parameters, adapters)
    apply_plan(loaded.model, plan)
    resolved, speed = settle_speed(resolved, task, loaded, plan, examples["train"], accelerator)
    recipe, reasons = resolved.recipe, {**reasons, **speed}
    ground = replace(ground, recipe=recipe)
    care = build_care(
        recipe, task, loaded, plan, examples["train"], context, accelerator=accelerator, measured=measured
    )
    average = weight_average(recipe, loaded.model, plan, rows)
    return Parts(
        resolved=resolved,
        notes=reasons,
        ground=ground,
        loaded=loaded,
        plan=plan,
        examples=examples,
        accelerator=accelerator,
        objective=care.objective,
        hooks=(*care.hooks, *((average,) if average is not None else ())),
        measured=measured,
        care_notes=(*ground.care_notes, *care.notes),
        average=average,
    )


def _context(ground: Groundwork, loaded: LoadedModel) -> TaskContext:
    """What the rows are encoded for, with the cache that keeps them encoded for later runs, where one is wanted."""
    cache = results_cache(ground.recipe, "tokens" if ground.task.modality == "text" else "images")
    return text_context(TaskContext(loaded.processor, ground.context.max_length, cache), ground.strategy)


def _settle(
    resolved: ResolvedRecipe, ground: Groundwork, loaded: LoadedModel, device: torch.device
) -> tuple[ResolvedRecipe, dict[str, str]]:
    """The recipe with no value left `auto` but those that are measured, and the reason for each that was."""
    chosen = infer_values(
        ground.recipe,
        task=ground.task,
        strategy=ground.strategy,
        model_config=loaded.model.config,
        train_rows=len(ground.dataset.splits["train"]),
        device=device,
    )
    values = {key: value for key, (value, _) in chosen.items()}
    return with_inferred(resolved, values), {key: reason for key, (_, reason) in chosen.items()}


def load_start(recipe: Recipe, ground: Groundwork) -> LoadedModel:
    """The model that a run begins with: pretrained, with its head and with the embeddings of new tokens.

    Raises:
        RecipeError: this machine does not have the attention that the recipe wants.
    """
    check_attention(recipe.model.attention, ground.device)
    seed_torch(recipe.seed, "head")
    loaded = load_model(
        ground.source,
        auto_class=ground.task.auto_class,
        labels=ground.task.labels,
        section=recipe.model,
        modality=ground.task.modality,
    )
    if recipe.model.extend_vocabulary:
        loaded = extend_vocabulary(loaded, _training_texts(ground.dataset), recipe.model, seed=recipe.seed)
    return loaded


def _load(recipe: Recipe, ground: Groundwork) -> tuple[LoadedModel, tuple[str, ...]]:
    """The model that the run begins with, changed as the strategy wants it; and the parameters that this added."""
    loaded = load_start(recipe, ground)
    if recipe.training.gradient_checkpointing:
        # Before adapters are added: some cannot go with it, and then say so.
        loaded.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    seed_torch(recipe.seed, "adapters")
    # By identity: where a strategy wraps the model, its parameters go by other names.
    old = {id(parameter): name in loaded.new_parameters for name, parameter in loaded.model.named_parameters()}
    model, blocks = ground.strategy.adapt(loaded.model, loaded.blocks)
    lean_dropout(model)
    added = tuple(name for name, parameter in model.named_parameters() if id(parameter) not in old)
    new = tuple(name for name, parameter in model.named_parameters() if old.get(id(parameter), True))
    changed = replace(loaded, model=cast("PreTrainedModel", model), blocks=blocks, new_parameters=new)
    return changed, added


def _plan(
    recipe: Recipe,
    ground: Groundwork,
    loaded: LoadedModel,
    examples: Examples,
    measured: Measured,
    accelerator: Accelerator,
) -> TrainingPlan:
    """What trains, from scores of the parameters where the strategy wants them."""
    request = ground.strategy.scores_wanted()
    scores = None
    if request is not None:
        scores = measured.get(
            "scores",
            lambda: measure_scores(
                loaded.model,
                ground.task,
                examples,
                request,
                device=accelerator.device,
                seed=recipe.seed,
                token_budget=int(recipe.training.max_tokens_per_batch),
                accelerator=accelerator,
            ),
        )
    rate = float(recipe.optimizer.learning_rate)
    plan = ground.strategy.plan(loaded.blocks, rate, scores)
    if loaded.new_rows is not None:
        own_rate = new_token_rate(recipe.model, rate)
        plan = extend_plan(plan, loaded.model, loaded.new_rows, own_rate, optimizer=recipe.optimizer.name)
    return plan


def _training_texts(dataset: Dataset) -> list[str]:
    """All texts of the training rows, of both columns where rows are pairs."""
    frame = dataset.splits["train"]
    return [text for name in ("text", "text_pair") if name in frame for text in frame[name]]


def base_of(parts: Parts) -> nn.Module:
    """The model without adapters that are not part of its weights; the model itself where it has none such.

    `peft` keeps it inside its wrapper for virtual tokens. Where adapters stand in the layers, it is read again.
    """
    wrapped: Any = parts.model
    if hasattr(wrapped, "get_base_model"):
        base: nn.Module = wrapped.get_base_model()
        return base
    return load_start(parts.recipe, parts.ground).model if hasattr(wrapped, "peft_config") else parts.model


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
