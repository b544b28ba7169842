"""Training the embeddings of tokens that were added to a model, whatever the strategy does with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trimtab.config.optimization import SCHEDULE_FREE
from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.strategies.base import ParameterGroup, Stage, TrainingPlan

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.extension import NewRows

NEW_TOKENS = "new tokens"


@dataclass(frozen=True)
class RowsStage:
    """What happens in one stage to a matrix that holds rows of new tokens and old ones.

    Args:
        factor: rate of the new rows, in multiples of the rate that the optimizer gives the whole matrix.
        hold_old: whether the old rows stay as they are.
    """

    factor: float = 1.0
    hold_old: bool = False


class NewRowsRate(StepHook):
    """Gives the new rows of a matrix a learning rate of their own, under any optimizer.

    An optimizer's update is proportional to the rate, so that `before + factor × (after − before)` is what it would
    have done with `factor` times the rate (decoupled weight decay included); its moments do not depend on the rate.
    In stages that freeze the old rows, these get no gradient and are put back after each update.

    Args:
        parameter: the matrix, `[tokens, dimensions]`.
        rows: which of its rows are new.
        stages: what happens in each stage; one where the plan has no stages.
        name: unique among the hooks of a run.
    """

    def __init__(self, parameter: nn.Parameter, rows: NewRows, stages: Sequence[RowsStage], name: str) -> None:
        super().__init__(name)
        self._parameter = parameter
        self._rows = rows
        self._stages = tuple(stages)
        self._now = self._stages[0]
        self._before: torch.Tensor | None = None

    def enter_stage(self, stage: int) -> None:
        """Called when a stage of the plan begins, and when a run is resumed in it.

        Args:
            stage: its number, from 0.
        """
        self._now = self._stages[stage]

    def after_backward(self, step: int) -> dict[str, float]:
        """Drop the gradients of old rows where they are frozen."""
        if self._now.hold_old and self._parameter.grad is not None:
            self._parameter.grad[: self._rows.first] = 0.0
            self._parameter.grad[self._rows.end :] = 0.0
        return {}

    def before_update(self, step: int) -> None:
        """Keep the values that `after_update` goes back to: all where the old rows are frozen, else the new rows."""
        values = self._parameter.detach()
        if self._now.hold_old:
            self._before = values.clone()
        elif self._now.factor != 1.0:
            self._before = values[self._rows.first : self._rows.end].clone()

    def after_update(self, step: int) -> None:
        """Scale the update of the new rows, and undo that of frozen ones."""
        before, self._before = self._before, None
        if before is None:
            return
        first, end = self._rows.first, self._rows.end
        values = self._parameter.detach()
        if self._now.hold_old:
            values[:first] = before[:first]
            values[end:] = before[end:]
            before = before[first:end]
        if self._now.factor != 1.0:
            values[first:end] = before + self._now.factor * (values[first:end] - before)


def extend_plan(
    plan: TrainingPlan, model: nn.Module, rows: NewRows, learning_rate: float, *, optimizer: str = "adamw"
) -> TrainingPlan:
    """Let the new rows train from the first step to the last, at a rate of their own.

    Where the plan trains the embeddings all the time, they stay in their group, and a hook scales the update of the new
    rows. Where it never does, they get a group of their own with a mask on the old rows. Where it does in some stages
    only, they get a group of their own, and a hook keeps the old rows as they are in the other stages.

    Args:
        plan: from the strategy.
        model: the (adapted) model.
        rows: from `extend_vocabulary`.
        learning_rate: peak rate of the new rows; every schedule scales it.
        optimizer: name of the recipe's optimizer.

    Raises:
        ModelError: an adapter has replaced the embeddings.
        RecipeError: the optimizer averages weights itself, and the new rows need another treatment than the old ones.
    """
    parameters = dict(model.named_parameters())
    names = rows.names(model)
    for name in names:
        label = NEW_TOKENS if len(names) == 1 else f"{NEW_TOKENS}: {name}"
        owner = next((group for group in plan.groups if name in group.parameters), None)
        if owner is None:
            plan = _add_group(plan, ParameterGroup(label, (name,), learning_rate))
            plan = replace(plan, masks={**plan.masks, name: _mask(parameters[name], rows)})
            continue
        if name in plan.masks:
            plan = replace(plan, masks={**plan.masks, name: _mask(parameters[name], rows) | plan.masks[name].cpu()})
        stages = tuple(_rows_stage(stage, owner, learning_rate) for stage in plan.stages) or (
            RowsStage(learning_rate / owner.learning_rate),
        )
        if any(stage.hold_old for stage in stages):
            plan = _own_group(plan, owner, name, ParameterGroup(label, (name,), learning_rate))
        if any(stage != RowsStage() for stage in stages):
            _refuse_averaging(optimizer, owner)
            hook = NewRowsRate(parameters[name], rows, stages, label)
            plan = replace(plan, hooks=(hook, *plan.hooks))
    note = f"The embeddings of the {len(rows.tokens):,} new tokens train from the first step on, at {learning_rate:g}."
    return replace(plan, notes=(*plan.notes, note))


def _refuse_averaging(optimizer: str, owner: ParameterGroup) -> None:
    """The average of a schedule-free optimizer is made of the steps as it took them, not as a hook scaled them.

    Raises:
        RecipeError: the optimizer is one.
    """
    if optimizer in SCHEDULE_FREE:
        raise RecipeError(
            f"model.extend_vocabulary: {optimizer} averages its own steps, so that the new tokens' embeddings cannot "
            "have another rate than the others, or train before them.",
            remedy=f"Take optimizer.name={optimizer.removeprefix('schedule_free_')}, or a strategy that trains all "
            f"embeddings from the first step on with model.vocabulary_learning_rate={owner.learning_rate:g}.",
        )


def _mask(parameter: nn.Parameter, rows: NewRows) -> torch.Tensor:
    import torch

    mask = torch.zeros(parameter.shape, dtype=torch.bool)
    mask[rows.first : rows.end] = True
    return mask


def _add_group(plan: TrainingPlan, group: ParameterGroup) -> TrainingPlan:
    """The plan with one more group, which trains in every stage."""
    stages = tuple(replace(stage, groups=(*stage.groups, group.name)) for stage in plan.stages)
    return replace(plan, groups=(*plan.groups, group), stages=stages)


def _rows_stage(stage: Stage, owner: ParameterGroup, learning_rate: float) -> RowsStage:
    if owner.name not in stage.groups:
        return RowsStage(hold_old=True)
    return RowsStage(learning_rate / stage.rates.get(owner.name, owner.learning_rate))


def _own_group(plan: TrainingPlan, owner: ParameterGroup, name: str, group: ParameterGroup) -> TrainingPlan:
    """Take a matrix out of its group into one of its own, with the rate of that group in the stages that train it."""
    left = replace(owner, parameters=tuple(other for other in owner.parameters if other != name))
    groups = tuple(left if other is owner else other for other in plan.groups)
    stages = []
    for stage in plan.stages:
        rates = dict(stage.rates)
        if owner.name in stage.groups:
            rates[group.name] = stage.rates.get(owner.name, owner.learning_rate)
        kept = tuple(other for other in stage.groups if other != owner.name or left.parameters)
        stages.append(replace(stage, groups=kept, rates=rates))
    return _add_group(replace(plan, groups=tuple(g for g in groups if g.parameters), stages=tuple(stages)), group)
