"""Elements of a parameter that stay frozen while the others train."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from trimtab.core.hooks import StepHook


class FrozenElements(StepHook):
    """Keeps the elements outside of each mask as they are, bit for bit, under any optimizer.

    Their gradients are set to zero (so that they count neither in the norm nor in the moments), and after each update
    their values are put back (weight decay would move them). The optimizer keeps its state for the whole parameter; a
    choice by tensor or block needs no mask and costs no state.

    Args:
        model: whose weights are, when the hook is made, those to keep.
        masks: parameter name -> boolean tensor of its shape, True where an element trains.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        super().__init__("frozen elements")
        parameters = dict(model.named_parameters())
        self._masks: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = []
        for name, mask in masks.items():
            parameter = parameters[name]
            frozen = ~mask.to(parameter.device)
            self._masks.append((parameter, frozen, parameter.detach()[frozen].clone()))

    def after_backward(self, step: int) -> dict[str, float]:
        """Drop the gradients of frozen elements."""
        for parameter, frozen, _ in self._masks:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(frozen, 0.0)
        return {}

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Put the values of frozen elements back."""
        for parameter, frozen, values in self._masks:
            parameter[frozen] = values
