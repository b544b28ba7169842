"""What an optimizer keeps, as flat tensors and plain numbers for a checkpoint; and which weights stand in the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from trimtab.training.optimizer_builders import TRAINING_WEIGHTS, State
from trimtab.training.optimizer_kinds import kind_of


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors `<parameter name>/<state name>`, for a checkpoint; not copied."""
    constants = kind_of(optimizer).constants
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for _, name, parameter in _parameters(optimizer)
        for key, value in optimizer.state.get(parameter, {}).items()
        if key not in constants
    }


def parameters_without_state(optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of parameters that no step has moved yet: no forward pass uses them, or every step so far was skipped.

    Of an optimizer that keeps nothing (SGD without momentum), all.
    """
    return [name for _, name, parameter in _parameters(optimizer) if not optimizer.state.get(parameter)]


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Put a checkpoint's state back; return the names of parameters whose state is missing, incomplete or misshapen."""
    by_parameter: dict[str, dict[str, torch.Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        by_parameter.setdefault(name, {})[key] = tensor
    kind = kind_of(optimizer)
    # Where averaged weights stood in the model, those that train must be there for every parameter, or for none.
    absent = {key for key in kind.optional if not any(key in saved for saved in by_parameter.values())}
    missing = []
    for group, name, parameter in _parameters(optimizer):
        fresh = {
            key: value for key, value in kind.fresh_state(optimizer, group, parameter).items() if key not in absent
        }
        state = _filled(fresh, by_parameter.get(name, {}), kind.constants)
        if state is None:
            missing.append(name)
        elif state:
            optimizer.state[parameter] = state
    return missing


def _filled(fresh: State, saved: Mapping[str, torch.Tensor], constants: frozenset[str]) -> State | None:
    """A fresh state with the saved values in it; None where the two do not have the same layout."""
    wanted = fresh.keys() - constants
    if saved.keys() != wanted or any(saved[key].shape != torch.as_tensor(fresh[key]).shape for key in wanted):
        return None
    if any(isinstance(fresh[key], torch.Tensor) and saved[key].dtype != fresh[key].dtype for key in wanted):
        return None
    for key in wanted:
        if isinstance(fresh[key], torch.Tensor):
            fresh[key].copy_(saved[key])
        else:
            fresh[key] = int(saved[key])
    return fresh


def optimizer_scalars(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """The numbers that the optimizer keeps of each group, by the group's name, ready for JSON."""
    scalars = kind_of(optimizer).scalars
    if not scalars:
        return {}
    return {group["name"]: {key: group[key] for key in scalars} for group in optimizer.param_groups}


def load_optimizer_scalars(optimizer: torch.optim.Optimizer, scalars: Mapping[str, Mapping[str, Any]]) -> None:
    """Take back what `optimizer_scalars` gave to a checkpoint.

    Raises:
        KeyError: a group or one of its numbers is missing.
    """
    for group in optimizer.param_groups if kind_of(optimizer).scalars else ():
        group.update({key: scalars[group["name"]][key] for key in kind_of(optimizer).scalars})


@torch.no_grad()
def use_evaluation_weights(optimizer: torch.optim.Optimizer) -> None:
    """Put the averaged weights of a schedule-free optimizer into the model, for evaluation and delivery.

    Does nothing for other optimizers, and when they are there already. The weights that train are kept in the
    optimizer's state meanwhile, as the way back by interpolation would not restore their last bits; a checkpoint that
    is written now holds both.
    """
    if not _is_training(optimizer):
        return
    for _, _, parameter in _parameters(optimizer):
        if optimizer.state.get(parameter):
            optimizer.state[parameter][TRAINING_WEIGHTS] = parameter.detach().clone()
    averaging: Any = optimizer
    averaging.eval()


@torch.no_grad()
def use_training_weights(optimizer: torch.optim.Optimizer) -> None:
    """Put the weights that train back, bit for bit, after `use_evaluation_weights`."""
    if _is_training(optimizer) is not False:
        return
    averaging: Any = optimizer
    averaging.train()
    for _, _, parameter in _parameters(optimizer):
        kept = optimizer.state.get(parameter, {}).pop(TRAINING_WEIGHTS, None)
        if kept is not None:
            parameter.copy_(kept)


def _is_training(optimizer: torch.optim.Optimizer) -> bool | None:
    """Which weights stand in the model: those that train, the averaged ones, or None where there is but one kind."""
    return optimizer.param_groups[0].get("train_mode")


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, str, nn.Parameter]]:
    """Number of the group, name and parameter."""
    for index, group in enumerate(optimizer.param_groups):
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True):
            yield index, name, parameter
