"""Gradients by depth: what the conditions of vanishing and exploding gradients share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.monitor.conditions._series import Floats, since
from trimtab.monitor.findings import Curve
from trimtab.monitor.trace import Trace

# Blocks and sampled steps that a comparison needs.
FEWEST_BLOCKS, FEWEST_SAMPLES = 3, 5


@dataclass(frozen=True)
class DepthGradients:
    """Gradient norms of the blocks between embeddings and head, which are alike in size.

    Args:
        steps: sampled steps, `[s]`.
        names: of the blocks that train, first to last.
        norms: `[s, blocks]`.
        ratios: norm of the first of them over that of the last, `[s]`; 0 over 0 is NaN.
    """

    steps: Floats
    names: tuple[str, ...]
    norms: Floats
    ratios: Floats

    def curves(self) -> tuple[Curve, ...]:
        """First, middle and last block."""
        chosen = sorted({0, len(self.names) // 2, len(self.names) - 1})
        steps = self.steps.tolist()
        return tuple(
            Curve(f"gradient of {self.names[index]}", steps, self.norms[:, index].tolist()) for index in chosen
        )

    def since(self, holds: NDArray[np.bool_]) -> int:
        """The step from which on something holds, else the middle of the sampled steps."""
        found = since(self.steps, holds)
        return int(self.steps[len(self.steps) // 2]) if found is None else found


def depth_gradients(trace: Trace) -> DepthGradients | None:
    """The gradients of the body's blocks in steps that sampled all of them; None where they are too few.

    A strategy that trains more blocks as it goes on is looked at from when all of them train.
    """
    steps, norms = trace.block_signal("grad_norm")
    # A block that came later stands later in the record, whatever its depth.
    names = sorted((name for name in norms if name.startswith("block ")), key=_number)
    if len(names) < FEWEST_BLOCKS:
        return None
    table = np.stack([norms[name] for name in names], axis=1)
    kept = np.isfinite(table).all(axis=1)
    table, steps = table[kept], steps[kept]
    if len(steps) < FEWEST_SAMPLES:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = table[:, 0] / table[:, -1]
    return DepthGradients(steps, tuple(names), table, ratios)


def last_half(values: Floats) -> Floats:
    """The second half of the values, without those that are NaN."""
    half = values[len(values) // 2 :]
    return half[~np.isnan(half)]


def sign_confidence(hits: int, count: int) -> float:
    """1 - p of a sign test: that so many of the values would lie on one side if half of all did."""
    tail = sum(math.comb(count, k) for k in range(hits, count + 1)) / 2**count
    return 1 - tail


def _number(name: str) -> int:
    digits = name.rpartition(" ")[2]
    return int(digits) if digits.isdigit() else 0
