"""The optimizer over a plan's groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from trimtab.config.recipe import OptimizerSection
from trimtab.strategies.base import ParameterGroup, TrainingPlan

# What AdamW keeps of each parameter.
STATE = {"step", "exp_avg", "exp_avg_sq"}


def build_optimizer(model: nn.Module, plan: TrainingPlan, section: OptimizerSection) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) over the plan's groups.

    Each group is split in two, with weight decay and without: biases, norms and every other vector are not decayed.
    Each torch group carries `name`, `base_lr` (the schedule scales it) and `parameter_names`.
    """
    parameters = dict(model.named_parameters())
    groups = [torch_group for group in plan.groups for torch_group in _split_by_decay(group, parameters, section)]
    fused = {parameter.device.type for parameter in parameters.values()} <= {"cpu", "cuda"}
    return torch.optim.AdamW(
        groups, lr=section_rate(section), betas=(section.beta1, section.beta2), eps=section.epsilon, fused=fused
    )


def section_rate(section: OptimizerSection) -> float:
    """The recipe's learning rate, once resolved to a number."""
    if isinstance(section.learning_rate, str):
        raise ValueError("optimizer.learning_rate is still 'auto': the recipe was not resolved")
    return section.learning_rate


def _split_by_decay(
    group: ParameterGroup, parameters: dict[str, nn.Parameter], section: OptimizerSection
) -> Iterable[dict[str, Any]]:
    decayed = [name for name in group.parameters if parameters[name].ndim >= 2]
    plain = [name for name in group.parameters if parameters[name].ndim < 2]
    for suffix, names, decay in (("", decayed, section.weight_decay), (" (no decay)", plain, 0.0)):
        if names:
            yield {
                "params": [parameters[name] for name in names],
                "parameter_names": names,
                "name": group.name + suffix,
                "lr": group.learning_rate,
                "base_lr": group.learning_rate,
                "weight_decay": decay,
            }


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set each group's rate to its base rate × `factor`; return the rates by group, decayed and not decayed as one."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
        rates[group["name"].removesuffix(" (no decay)")] = group["lr"]
    return rates


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors `<parameter name>/<state name>`, for a checkpoint."""
    tensors: dict[str, torch.Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return tensors


def parameters_without_state(optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of parameters that no step has moved yet: no forward pass uses them, or every step so far was skipped."""
    return [
        name
        for group in optimizer.param_groups
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True)
        if not optimizer.state.get(parameter)
    ]


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> list[str]:
    """Put a checkpoint's state back; return the names of parameters whose state is missing or incomplete."""
    by_parameter: dict[str, dict[str, torch.Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        by_parameter.setdefault(name, {})[key] = tensor
    missing = []
    for group in optimizer.param_groups:
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True):
            saved = by_parameter.get(name, {})
            if saved.keys() != STATE or any(saved[key].shape != parameter.shape for key in STATE - {"step"}):
                missing.append(name)
                continue
            # AdamW counts its steps on the CPU, unless it is fused.
            counter = parameter.device if group.get("fused") else torch.device("cpu")
            optimizer.state[parameter] = {
                key: value.to(counter if key == "step" else parameter.device, copy=True) for key, value in saved.items()
            }
    return missing
