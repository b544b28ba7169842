"""The optimizer over a plan's groups, and their rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trimtab.config.optimization import OPTIMIZER_OPTIONS, SCHEDULE_FREE
from trimtab.config.recipe import OptimizerSection
from trimtab.core.errors import RecipeError
from trimtab.strategies.base import ParameterGroup, TrainingPlan
from trimtab.training.optimizer_kinds import KINDS, auto_rate_factor, check_optimizer
from trimtab.training.optimizer_state import (
    load_optimizer_scalars,
    load_optimizer_tensors,
    optimizer_scalars,
    optimizer_tensors,
    parameters_without_state,
    use_evaluation_weights,
    use_training_weights,
)

__all__ = [
    "auto_rate_factor",
    "build_optimizer",
    "check_optimizer",
    "load_optimizer_scalars",
    "load_optimizer_tensors",
    "optimizer_scalars",
    "optimizer_tensors",
    "parameters_without_state",
    "section_rate",
    "set_rates",
    "use_evaluation_weights",
    "use_training_weights",
]

NO_DECAY = " (no decay)"


def build_optimizer(model: nn.Module, plan: TrainingPlan, section: OptimizerSection) -> torch.optim.Optimizer:
    """The recipe's optimizer over the plan's groups.

    Each group is split in two, with weight decay and without: biases, norms and every other vector are not decayed.
    Each torch group carries `name`, `base_lr` (the schedule scales it), `parameter_names` and `kind`, the optimizer's
    name in the recipe.

    Raises:
        MissingDependencyError: the optimizer's library is not installed.
        RecipeError: the optimizer does not go with the model.
    """
    _refuse_averaging_over_batch_statistics(model, plan, section)
    parameters = dict(model.named_parameters())
    groups = [torch_group for group in plan.groups for torch_group in _split_by_decay(group, parameters, section)]
    fused = {parameter.device.type for parameter in parameters.values()} <= {"cpu", "cuda"}
    return KINDS[section.name].build(groups, section, fused)


def section_rate(section: OptimizerSection) -> float:
    """The recipe's learning rate, once resolved to a number."""
    if isinstance(section.learning_rate, str):
        raise ValueError("optimizer.learning_rate is still 'auto': the recipe was not resolved")
    return section.learning_rate


def _split_by_decay(
    group: ParameterGroup, parameters: dict[str, nn.Parameter], section: OptimizerSection
) -> Iterable[dict[str, Any]]:
    has_decay = "weight_decay" in OPTIMIZER_OPTIONS[section.name]
    weight_decay = section.setting("weight_decay") if has_decay else 0.0
    decayed = [name for name in group.parameters if parameters[name].ndim >= 2 and name not in group.undecayed]
    plain = [name for name in group.parameters if name not in frozenset(decayed)]
    for suffix, names, decay in (("", decayed, weight_decay), (NO_DECAY, plain, 0.0)):
        if names:
            yield {
                "params": [parameters[name] for name in names],
                "parameter_names": names,
                "name": group.name + suffix,
                "kind": section.name,
                "lr": group.learning_rate,
                "base_lr": group.learning_rate,
                "weight_decay": decay,
            }


def _refuse_averaging_over_batch_statistics(model: nn.Module, plan: TrainingPlan, section: OptimizerSection) -> None:
    """Batch norm that trains notes the statistics of the weights that train, not of the averaged ones.

    Raises:
        RecipeError: the optimizer averages weights, and a batch norm trains.
    """
    if section.name not in SCHEDULE_FREE:
        return
    for module_name, module in model.named_modules():
        names = {f"{module_name}.{name}" for name, _ in module.named_parameters(recurse=False)}
        if isinstance(module, _BatchNorm) and module.track_running_stats and names & plan.trained:
            raise RecipeError(
                f"optimizer.name: {section.name} averages weights, and the running statistics of the batch norm "
                f"{module_name!r} would be those of other weights than the averaged ones.",
                remedy=f"Take optimizer.name={section.name.removeprefix('schedule_free_')}, or freeze batch norms.",
            )


def set_rates(
    optimizer: torch.optim.Optimizer, factor: float, rates: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Set each group's rate to its base rate × `factor`; return the rates by group, decayed and not decayed as one.

    Args:
        optimizer: built by `build_optimizer`.
        factor: of the schedule.
        rates: base rates, by the name of the plan's group, that take the place of the groups' own.

    Raises:
        ValueError: a rate is given for a group that the optimizer does not have.
    """
    rates = rates or {}
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        name = group["name"].removesuffix(NO_DECAY)
        group["lr"] = found[name] = rates.get(name, group["base_lr"]) * factor
    if unknown := rates.keys() - found.keys():
        raise ValueError(f"rates for groups that the optimizer does not have: {', '.join(sorted(unknown))}")
    return found
