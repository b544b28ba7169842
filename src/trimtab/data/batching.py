"""Batches: which rows make an optimizer step, and in which pieces they pass through the model.

Rows of like length share a batch, so that padding stays small; the order is shuffled at three levels (rows into pools,
ties within a pool, batches over the epoch). A step's rows never depend on the token budget, which only decides in how
many pieces they pass through the model: halving it changes no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.seeds import stream

if TYPE_CHECKING:
    import torch

# Rows are sorted by length within pools of this many batches: larger pools pad less, smaller ones mix lengths better.
POOL_BATCHES = 128

DEFAULT_TOKEN_BUDGET = 8192

# What a piece costs beside its tokens, in tokens: launching the layers, and on a CPU reading the weights once more.
# Measured on two cores with 6 blocks of 384 units: 30 ms a piece, 0.33 ms a token. A GPU computes thousands of tokens
# in the time in which it is told what to do.
PIECE_OVERHEAD = {"cpu": 96, "cuda": 2048}
# Most rows whose pieces are weighed against each other: the time for that grows with the square.
WEIGHED_ROWS = 1024


@dataclass(frozen=True)
class Batch:
    """Rows that pass through the model together.

    Args:
        inputs: keyword arguments of the model's forward, each `[batch, …]`.
        labels: targets, `[batch]` or `[batch, seq]`; None when predicting.
        tokens: tokens (or image patches) without padding.
        padded_tokens: tokens with padding.
        rows: index of each row among the examples, `[batch]`; None where nobody said.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    tokens: int
    padded_tokens: int
    rows: np.ndarray | None = None

    def to(self, device: Any) -> Batch:
        """The same batch on `device`."""
        return replace(
            self,
            inputs={name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
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


def piece_overhead(device_type: str) -> int:
    """Tokens in the time of which a device does what it does once for every piece.

    Args:
        device_type: `cpu`, `cuda`, `mps`.
    """
    return PIECE_OVERHEAD.get(device_type, PIECE_OVERHEAD["cuda"])


def cut_by_budget(
    rows: np.ndarray, lengths: np.ndarray, budget: int, overhead: int = PIECE_OVERHEAD["cpu"]
) -> list[np.ndarray]:
    """Cut `rows` into pieces whose padded size (rows × longest row) stays within `budget` tokens.

    Pieces hold rows of like length, the longest first (so that a lack of memory shows at once). A row longer than the
    budget makes a piece of its own. Up to 1,024 rows, the pieces are those of least cost, each costing its padded size
    and `overhead`: one very long row does not pad all others. More rows fill each piece up to the budget, as there the
    rows of a piece are of like length anyway.

    Args:
        rows: row indices, `[n]`.
        lengths: tokens of every row of the data, `[rows]`.
        budget: most tokens of a piece, padding included.
        overhead: tokens that a piece costs beside its own, see `piece_overhead`.
    """
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    sizes = np.maximum(1, lengths[ordered])
    counts = _full_counts(sizes, budget) if len(ordered) > WEIGHED_ROWS else _cheapest_counts(sizes, budget, overhead)
    return np.split(ordered, np.cumsum(counts)[:-1]) if counts else []


def _full_counts(sizes: np.ndarray, budget: int) -> list[int]:
    """Rows of each piece when every piece takes as many as the budget holds; `sizes` are descending."""
    counts: list[int] = []
    start = 0
    while start < len(sizes):
        counts.append(min(len(sizes) - start, max(1, budget // int(sizes[start]))))
        start += counts[-1]
    return counts


def _cheapest_counts(sizes: np.ndarray, budget: int, overhead: int) -> list[int]:
    """Rows of each piece so that the sum of padded sizes and overheads is least; `sizes` are descending.

    Exact, by dynamic programming from the shortest row on: sorted rows leave only the places of the cuts to choose. Of
    equal costs the longest piece is taken.
    """
    total = len(sizes)
    whole = total * int(sizes[0]) if total else 0
    # A second piece costs its overhead, and saves the padding at most.
    if total and whole <= budget and whole - int(sizes.sum()) <= overhead:
        return [total]
    # Cost of the rows from each on, and how many of them the first piece takes.
    cost = np.zeros(total + 1, dtype=np.int64)
    taken = np.zeros(total, dtype=np.int64)
    for start in range(total - 1, -1, -1):
        longest = int(sizes[start])
        most = min(total - start, max(1, budget // longest))
        # From the most rows down to one, so that the first least is that of the longest piece.
        trials = longest * np.arange(most, 0, -1) + cost[start + 1 : start + most + 1][::-1]
        best = int(trials.argmin())
        cost[start] = trials[best] + overhead
        taken[start] = most - best
    counts: list[int] = []
    start = 0
    while start < total:
        counts.append(int(taken[start]))
        start += counts[-1]
    return counts
