"""The gradients of an optimizer's parameters: scaled, and clipped."""

from __future__ import annotations

import torch
from torch import nn


def scale_gradients(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every gradient by a factor, in place."""
    gradients = _gradients(_with_gradient(optimizer))
    if gradients:
        torch._foreach_mul_(gradients, factor)


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float | None) -> float:
    """Scale the gradients so that the norm of all of them together is `limit` at most; the norm that they had before.

    Args:
        optimizer: over the parameters.
        limit: largest norm; None scales nothing.
    """
    parameters = _with_gradient(optimizer)
    norm = nn.utils.get_total_norm(_gradients(parameters))
    if limit is not None and not is_within(norm, limit):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)


def is_within(norm: torch.Tensor, limit: float) -> bool:
    """Whether clipping would multiply every gradient by 1; never where only the device knows the norm.

    torch scales by limit / (norm + 1e-6), at most 1.
    """
    return norm.device.type == "cpu" and bool(limit / (norm + 1e-6) >= 1.0)


def _with_gradient(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    groups = optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"] if parameter.grad is not None]


def _gradients(parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
