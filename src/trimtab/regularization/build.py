"""From the recipe's section `regularization` to the objects that act in training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from trimtab.config.optimization import OPTIMIZER_OPTIONS
from trimtab.config.regularization import RegularizationSection
from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.models.blocks import Blocks
from trimtab.regularization.criteria import Criterion, CriterionObjective, class_weights, unknown_labels
from trimtab.regularization.dropout import draws_dropout, set_dropout_by_depth
from trimtab.regularization.mixout import add_mixout, linear_weights
from trimtab.regularization.mixup import MixupObjective
from trimtab.regularization.noise import GradientNoise
from trimtab.regularization.penalties import L1Penalty, l2_penalty, l2_sp_penalty
from trimtab.regularization.rdrop import RDropObjective
from trimtab.strategies.base import TrainingPlan, frozen_modules
from trimtab.tasks.base import ClassificationTask, Task
from trimtab.training.objective import Objective, TaskObjective

if TYPE_CHECKING:
    from trimtab.config.recipe import Recipe

# Keys that change the loss, and need logits of classes to do so.
_LOSS_KEYS = ("label_smoothing", "class_weights", "focal_gamma", "r_drop", "mixup")


def check(recipe: Recipe, task: Task) -> tuple[str, ...]:
    """Refuse what cannot work with this task and recipe, before any weights are read.

    Returns:
        What the user should know of the combination, as sentences.

    Raises:
        RecipeError: with every problem found.
    """
    problems = list(_problems(recipe, task))
    if problems:
        raise RecipeError(
            "The section regularization does not fit the rest of the recipe.",
            problems=problems,
            remedy="See every key and what it takes with: trimtab recipe",
        )
    return tuple(_notes(recipe))


def edit_model(
    section: RegularizationSection,
    model: nn.Module,
    blocks: Blocks,
    plan: TrainingPlan,
    new_parameters: Collection[str],
) -> tuple[str, ...]:
    """Set dropout by depth and add mixout; then see that R-Drop has dropout to work with.

    Call it with the pretrained weights in place and on the device that trains, before a checkpoint is restored.

    Args:
        section: the recipe's section.
        model: changed in place.
        blocks: its depth map.
        plan: what trains.
        new_parameters: names of parameters that are not pretrained: a fresh head, adapters.

    Returns:
        What was done, as sentences.

    Raises:
        RecipeError: an option does not fit the model or the strategy.
    """
    notes = []
    if section.dropout_by_depth is not None:
        chosen = set_dropout_by_depth(model, blocks, plan.trained, section.dropout_by_depth)
        notes.append(f"Dropout by depth: {', '.join(f'{name} {value:.3g}' for name, value in chosen.items())}.")
    if section.mixout:
        names = _pretrained_linear(model, plan, new_parameters)
        add_mixout(model, names, section.mixout)
        notes.append(f"Mixout mixes the weights of {len(names)} linear layers.")
    if section.r_drop:
        stages = range(max(1, len(plan.stages)))
        if not any(draws_dropout(model, frozen_modules(model, blocks, plan, stage)) for stage in stages):
            raise RecipeError(
                f"regularization.r_drop: in what trains of this model ({blocks.architecture}) no dropout is active, so "
                "that both passes would be equal.",
                remedy="Set model.dropout to 0.1, train more blocks, or set regularization.r_drop to 0.",
            )
    return tuple(notes)


def build_hooks(
    section: RegularizationSection,
    model: nn.Module,
    plan: TrainingPlan,
    seed: int,
    new_parameters: Collection[str],
    pretrained_rows: Mapping[str, int] | None = None,
) -> tuple[StepHook, ...]:
    """The penalties and the gradient noise, in the order in which the loop calls them.

    Call it with the pretrained weights in place and on the device that trains, before a checkpoint is restored: L2-SP
    takes the present weights as those to stay near.

    Args:
        section: the recipe's section.
        model: the bare model.
        plan: what trains, and which elements.
        seed: the run's seed.
        new_parameters: names of parameters that are not pretrained: a fresh head, adapters.
        pretrained_rows: parameter name -> how many of its first rows are pretrained, where tokens were added to the
            vocabulary.

    Raises:
        RecipeError: nothing that trains is of the kind that a penalty acts on.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if name in plan.trained}
    matrices = _matrices(trained.values())
    hooks: list[StepHook] = []
    for key in ("l1", "l2"):
        if getattr(section, key) and not matrices:
            raise RecipeError(
                f"regularization.{key}: it acts on weight matrices, and the strategy trains none.",
                remedy=f"Set regularization.{key} to 0, or choose another strategy with --strategy.",
            )
    if section.l1:
        hooks.append(L1Penalty(matrices, section.l1))
    if section.l2:
        hooks.append(l2_penalty(matrices, section.l2))
    if section.l2_sp:
        hooks.append(_l2_sp(section, trained, new_parameters, pretrained_rows or {}))
    if section.gradient_noise:
        hooks.append(GradientNoise(trained, section.gradient_noise, seed, plan.masks))
    return tuple(hooks)


def _matrices(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that decay acts on too: a bias or the scale of a norm pulled to zero would bend what a layer computes."""
    return [parameter for parameter in parameters if parameter.ndim >= 2]


def _l2_sp(
    section: RegularizationSection, trained: dict[str, nn.Parameter], new: Collection[str], rows: Mapping[str, int]
) -> StepHook:
    pretrained = [parameter for name, parameter in trained.items() if name not in new]
    head = _matrices(parameter for name, parameter in trained.items() if name in new)
    _refuse_if_empty(pretrained, "l2_sp", "it pulls pretrained parameters to their start")
    if section.l2_sp_head and not head:
        raise RecipeError(
            "regularization.l2_sp_head: no weight matrix that trains starts from random weights, so that l2_sp acts on "
            "all of them.",
            remedy="Set regularization.l2_sp_head to 0.",
        )
    by_identity = {id(trained[name]): count for name, count in rows.items() if name in trained}
    return l2_sp_penalty(pretrained, head, section.l2_sp, section.l2_sp_head, by_identity)


def build_objective(
    section: RegularizationSection, task: Task, train_labels: np.ndarray | None, seed: int
) -> Objective:
    """The loss to be minimised: the criterion, within R-Drop or mixup; the task's own where none is asked for.

    Args:
        section: the recipe's section.
        task: the task.
        train_labels: class id of each training row, `[rows]`, for `class_weights`.
        seed: the run's seed.

    Raises:
        RecipeError: the task has no classes, or `class_weights` do not fit them.
    """
    if not _given_loss_keys(section):
        return TaskObjective(task)
    if not isinstance(task, ClassificationTask):
        raise RecipeError(next(_without_classes(section, task)))
    weights = None
    if section.class_weights is not None:
        rows = np.zeros(0, dtype=np.int64) if train_labels is None else train_labels
        weights = torch.from_numpy(class_weights(section.class_weights, task.labels, rows)).float()
    criterion = Criterion(section.label_smoothing, section.focal_gamma, weights)
    if section.r_drop:
        return RDropObjective(task, criterion, section.r_drop)
    if section.mixup:
        return MixupObjective(task, criterion, section.mixup, seed)
    return CriterionObjective(task, criterion)


def _given_loss_keys(section: RegularizationSection) -> list[str]:
    return [key for key in _LOSS_KEYS if getattr(section, key)]


def _problems(recipe: Recipe, task: Task) -> Iterator[str]:
    section = recipe.regularization
    yield from _without_classes(section, task)
    if isinstance(section.class_weights, dict):
        yield from unknown_labels(section.class_weights, task.labels)
    if section.mixup and recipe.training.batch_size == 1:
        yield "regularization.mixup: with training.batch_size=1 a row has no other to be mixed with."
    if section.dropout_by_depth is not None and recipe.model.dropout is not None:
        yield "regularization.dropout_by_depth and model.dropout both set the dropout; give one of them."


def _without_classes(section: RegularizationSection, task: Task) -> Iterator[str]:
    if not isinstance(task, ClassificationTask):
        for key in _given_loss_keys(section):
            yield f"regularization.{key}: it needs a task with classes, and {task.name} has none."


def _notes(recipe: Recipe) -> Iterator[str]:
    section = recipe.regularization
    has_decay = "weight_decay" in OPTIMIZER_OPTIONS[recipe.optimizer.name]
    decay = recipe.optimizer.setting("weight_decay") if has_decay else 0.0
    if section.l2_sp and decay:
        yield (
            f"optimizer.weight_decay={decay:g} pulls weights to zero, regularization.l2_sp to their pretrained values; "
            "set the first to 0 for L2-SP alone."
        )
    if section.l2 and decay:
        yield f"Weights are pulled to zero twice: by regularization.l2 and by optimizer.weight_decay={decay:g}."


def _pretrained_linear(model: nn.Module, plan: TrainingPlan, new: Collection[str]) -> list[str]:
    """Names of the linear layers whose weight trains and is pretrained.

    Raises:
        RecipeError: there are none.
    """
    # By identity: a tied weight goes by the first of its names.
    wanted = {id(p) for name, p in model.named_parameters() if name in plan.trained and name not in new}
    names = [name for name, weight in linear_weights(model).items() if id(weight) in wanted]
    _refuse_if_empty(names, "mixout", "it mixes pretrained weights of linear layers with what becomes of them")
    return names


def _refuse_if_empty(found: list[nn.Parameter] | list[str], key: str, what: str) -> None:
    if not found:
        raise RecipeError(
            f"regularization.{key}: {what}, and the strategy trains none of this model's.",
            remedy=f"Set regularization.{key} to 0, or choose a strategy that trains pretrained blocks, such as "
            "--strategy full.",
        )
