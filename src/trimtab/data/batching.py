"""Batches: which rows make an optimizer step, and in which pieces they pass through the model.

Rows of like length share a batch, so that padding stays small; the order is shuffled at three levels (rows into pools,
ties within a pool, batches over the epoch). A step's rows never depend on the token budget, which only decides in how
many pieces they pass through the model: halving it changes no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.seeds import stream

if TYPE_CHECKING:
    import torch

# Rows are sorted by length within pools of this many batches: larger pools pad less, smaller ones mix lengths better.
POOL_BATCHES = 64

DEFAULT_TOKEN_BUDGET = 8192


@dataclass(frozen=True)
class Batch:
    """Rows that pass through the model together.

    Args:
        inputs: keyword arguments of the model's forward, each `[batch, …]`.
        labels: targets, `[batch]` or `[batch, seq]`; None when predicting.
        tokens: tokens (or image patches) without padding.
        padded_tokens: tokens with padding.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    tokens: int
    padded_tokens: int

    def to(self, device: Any) -> Batch:
        """The same batch on `device`."""
        return Batch(
            inputs={name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
            tokens=self.tokens,
            padded_tokens=self.padded_tokens,
        )


def steps_per_epoch(rows: int, batch_size: int, accumulation: int = 1) -> int:
    """Optimizer steps in one pass over `rows` rows."""
    batches = -(-rows // batch_size)
    return -(-batches // accumulation)


def plan_epoch(
    lengths: np.ndarray, *, batch_size: int, accumulation: int = 1, seed: int, epoch: int
) -> list[list[np.ndarray]]:
    """The steps of one epoch, each a list of batches of row indices; every row appears once.

    A pure function of its arguments, so that a resumed run finds the same steps without any stored state.

    Args:
        lengths: tokens of each row, `[rows]`.
        batch_size: rows of a batch; the last batch of an epoch's rows may be smaller.
        accumulation: batches of a step.
        seed: the run's seed.
        epoch: number of the epoch, from 0.
    """
    rng = stream(seed, "order", epoch)
    order = rng.permutation(len(lengths))
    pool_rows = batch_size * POOL_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool_rows):
        pool = order[start : start + pool_rows]
        # A stable sort keeps the shuffled order among rows of equal length.
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches.extend(pool[at : at + batch_size] for at in range(0, len(pool), batch_size))
    shuffled = [batches[index] for index in rng.permutation(len(batches))]
    return [shuffled[at : at + accumulation] for at in range(0, len(shuffled), accumulation)]


def cut_by_budget(rows: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut `rows` into pieces whose padded size (rows × longest row) stays within `budget` tokens.

    Pieces hold rows of like length, the longest first (so that a lack of memory shows at once). A row longer than the
    budget makes a piece of its own.

    Args:
        rows: row indices, `[n]`.
        lengths: tokens of every row of the data, `[rows]`.
        budget: most tokens of a piece, padding included.
    """
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    pieces: list[np.ndarray] = []
    start = 0
    while start < len(ordered):
        longest = max(1, int(lengths[ordered[start]]))
        count = max(1, budget // longest)
        pieces.append(ordered[start : start + count])
        start += count
    return pieces
