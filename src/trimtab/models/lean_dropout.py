"""Dropout whose random numbers are cheap on a CPU.

torch draws a Bernoulli number for each element there, which for short texts costs more than the layer before it. Here
each element takes 16 bits of one long draw.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# Values that the random number of an element takes.
_LEVELS = 1 << 16
_HALF = _LEVELS // 2


class LeanDropout(nn.Dropout):
    """`nn.Dropout` with 16 random bits an element on the CPU; on other devices, and compiled, `nn.Dropout` itself.

    An element is dropped with the probability `p` rounded to 1/65536, and what is kept is scaled by the inverse of the
    share that is really kept, so that the mean is exact. The bits come from torch's global stream on the CPU, in one
    draw a call, so that seeds, checkpoints of the random state and gradient checkpointing work as with `nn.Dropout`;
    the numbers themselves are others. Second derivatives are not defined.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Zero elements at random and scale the others; the input itself in evaluation mode.

        Args:
            input: floating point, of any shape; an empty one stays as it is. NaN stays NaN where it is kept and where
                it is dropped.
        """
        threshold = round(self.p * _LEVELS)
        if not (
            self.training
            and 0 < threshold < _LEVELS
            and input.device.type == "cpu"
            and input.is_floating_point()
            and not self.inplace
            and not torch.compiler.is_compiling()
        ):
            return super().forward(input)
        kept: torch.Tensor = _Drop.apply(input, threshold)
        return kept


def lean_dropout(model: nn.Module) -> int:
    """Give every plain dropout of a model the cheap draw; return how many there are.

    Modules keep their identity, probability and mode, and stay instances of `nn.Dropout`: only their class changes, so
    that copies, the state dict and what is saved are as before. Subclasses of `nn.Dropout` are left alone, and so is
    dropout that is no module, as that of attention in most models.

    Args:
        model: changed in place; calling it again changes nothing.
    """
    modules = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in modules:
        module.__class__ = LeanDropout
    return len(modules)


class _Drop(torch.autograd.Function):
    """Multiply by a random mask; backward, by the same."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, threshold: int) -> torch.Tensor:
        count = hidden.numel()
        # 64 bits a draw make four elements; the whole range of int64, so that all bits are random.
        draw = torch.empty(count // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
        keep = draw.view(torch.int16)[:count].ge_(threshold - _HALF)
        # In the type of the activations, as `nn.Dropout` keeps it on a CPU: it takes as much memory, and booleans
        # would have to be converted twice.
        mask = keep.to(hidden.dtype).view(hidden.shape)
        ctx.save_for_backward(mask)
        ctx.scale = _LEVELS / (_LEVELS - threshold)
        return _scaled(hidden, mask, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _scaled(gradient, mask, ctx.scale), None


def _scaled(values: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """`values` × `mask` × `scale` in one pass, rounded once: in half precision the scale alone would be too coarse."""
    return torch.addcmul(values.new_zeros(()), values, mask, value=scale)
