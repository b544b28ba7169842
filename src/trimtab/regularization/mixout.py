"""Mixout: dropout whose dropped weights become the pretrained ones instead of zero."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_REFERENCE, _PROBABILITY = "_mixout_reference", "_mixout_probability"


def mixed_weight(weight: torch.Tensor, reference: torch.Tensor, probability: float, inputs: int) -> torch.Tensor:
    """A random mixture of a weight and its reference, with the weight as its mean.

    ((1 − m)·u + m·w − p·u)/(1 − p) for weight w, reference u and m ~ Bernoulli(1 − p) (Lee, Cho & Kang 2020, arXiv
    1909.11299), written as u + m/(1 − p)·(w − u), which is exact where w = u. One m for each input unit, as in the
    authors' code: with u = 0 it is dropout of the inputs. Draws from torch's global stream, as dropout does.

    Args:
        weight: `[out, in]` or `[in, out]`; gets the gradient, the true derivative.
        reference: of the same shape.
        probability: p, from 0 to below 1.
        inputs: the axis of the input units.
    """
    shape = [1, 1]
    shape[inputs] = weight.shape[inputs]
    kept = functional.dropout(weight.new_ones(shape), probability, training=True)
    return reference + kept * (weight - reference)


def linear_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that mixout can mix, by the name of their module: those of linear layers (GPT-2's `Conv1D` too)."""
    return {
        name: module.get_parameter("weight")
        for name, module in model.named_modules()
        if type(module) in _forwards() or _is_mixed(module)
    }


def add_mixout(model: nn.Module, names: Collection[str], probability: float) -> None:
    """Let the modules `names` mix their weight with its present value in each forward pass of training mode.

    Nothing changes in evaluation mode. Names of parameters and the state dict stay as they are: the module keeps its
    weight and takes a class that mixes it on the way. The reference is no part of the state dict; build it before
    training or a restore, and on the device that the model runs on.

    Args:
        model: changed in place.
        names: of modules in `linear_weights`.
        probability: from 0 to below 1.
    """
    for name in names:
        module = model.get_submodule(name)
        if not _is_mixed(module):
            module.__class__ = _mixed_classes()[type(module)]
        # Plain attributes: as buffers they would be sent to all processes in every step.
        module.__dict__[_REFERENCE] = module.get_parameter("weight").detach().clone()
        module.__dict__[_PROBABILITY] = probability


def remove_mixout(model: nn.Module) -> None:
    """Give every module its own class back and let go of the references."""
    for module in model.modules():
        if _is_mixed(module):
            module.__class__ = type(module).__bases__[0]
            del module.__dict__[_REFERENCE], module.__dict__[_PROBABILITY]


def _is_mixed(module: nn.Module) -> bool:
    return _REFERENCE in module.__dict__


@cache
def _mixed_classes() -> dict[type[nn.Module], type[nn.Module]]:
    """For each class of layer one that mixes its weight in training mode."""
    return {base: _mixed_class(base, inputs, apply) for base, (inputs, apply) in _forwards().items()}


def _mixed_class(base: type[nn.Module], inputs: int, apply: Callable[..., torch.Tensor]) -> type[nn.Module]:
    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        if self.training:
            reference = getattr(self, _REFERENCE).to(weight.device)
            weight = mixed_weight(weight, reference, getattr(self, _PROBABILITY), inputs)
        return apply(hidden, weight, self.bias)

    mixed: type[nn.Module] = type(f"Mixout{base.__name__}", (base,), {"forward": forward, "__module__": __name__})
    return mixed


@cache
def _forwards() -> dict[type[nn.Module], tuple[int, Callable[..., torch.Tensor]]]:
    """For each class of layer the axis of its inputs, and what it computes of (inputs, weight, bias)."""
    from transformers.pytorch_utils import Conv1D

    return {nn.Linear: (1, functional.linear), Conv1D: (0, _conv1d)}


def _conv1d(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    flat = torch.addmm(bias, hidden.reshape(-1, hidden.shape[-1]), weight)
    return flat.view(*hidden.shape[:-1], weight.shape[1])
