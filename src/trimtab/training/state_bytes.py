"""Bytes of tensors, and of what an optimizer keeps and computes with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trimtab.config.optimization import SCHEDULE_FREE
from trimtab.config.recipe import OptimizerSection

# Optimizers of 8 bits keep small tensors in 32, and a float32 scale for each block of 256 elements.
SMALLEST_QUANTISED, BLOCK_8BIT = 4096, 256


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of tensors, those that share a storage counted once."""
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(found.values())


def optimizer_bytes(section: OptimizerSection, shape: Sequence[int]) -> int:
    """Bytes of what an optimizer keeps of a parameter in float32, after its first step.

    Args:
        section: the recipe's optimizer.
        shape: of the parameter.
    """
    elements = math.prod(shape)
    name = section.name
    if name in ("adamw", "adam", "schedule_free_adamw"):
        return 8 * elements
    if name in ("lion", "schedule_free_sgd"):
        return 4 * elements
    if name == "sgd":
        return 4 * elements if section.setting("momentum") else 0
    if name in ("adamw_8bit", "lion_8bit"):
        moments = 2 if name == "adamw_8bit" else 1
        if elements < SMALLEST_QUANTISED:
            return moments * 4 * elements
        return moments * (elements + 4 * -(-elements // BLOCK_8BIT))
    if name == "adafactor":
        first = 4 * elements if section.setting("beta1") else 0
        if len(shape) < 2:
            return first + 4 * elements
        return first + 4 * (math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1])
    # An optimizer that is not known here counts like AdamW.
    return 8 * elements


def update_bytes(section: OptimizerSection, trained: Sequence[nn.Parameter], device: torch.device) -> int:
    """Bytes that the optimizer's step computes with beside gradients and state."""
    sizes = [p.numel() * p.element_size() for p in trained]
    if section.name in ("adamw", "adam") and device.type in ("cpu", "cuda"):
        return 0  # fused
    if section.name == "adafactor" or device.type == "cpu":
        return 2 * max(sizes, default=0)
    # On accelerators torch works on all tensors at once, with a copy of them.
    return sum(sizes) if section.name in ("sgd", *SCHEDULE_FREE) else 2 * max(sizes, default=0)
