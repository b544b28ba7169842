"""Arithmetic precision of the forward and backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from trimtab.core.devices import computes_bf16


def choose_precision(wanted: str, device: torch.device) -> tuple[str, str]:
    """The precision for `training.precision`, and the reason in a few words.

    Args:
        wanted: `auto`, `bf16` or `fp32`.
        device: where the model runs.
    """
    if wanted != "auto":
        return wanted, "as asked"
    if computes_bf16(device):
        return "bf16", f"this {device.type} computes bfloat16 natively"
    return "fp32", f"this {device.type} does not compute bfloat16 natively"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which forward passes run: bfloat16 autocast, or nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
