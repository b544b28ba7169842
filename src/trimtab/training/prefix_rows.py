"""Rows whose batches hold the activations of the frozen blocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trimtab.data.batching import Batch
from trimtab.models.cut import ACTIVATIONS, NoCutError
from trimtab.tasks.base import Examples
from trimtab.training.activations import Form, Located


@dataclass
class Savings:
    """What the cache did in a run.

    Args:
        computed: rows that passed through the frozen blocks.
        served: rows of batches whose activations were read instead.
        seconds: that the computing took, writing included.
        mib: of activations that were written.
        notes: why it was not used, as sentences.
    """

    computed: int = 0
    served: int = 0
    seconds: float = 0.0
    mib: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, rows: int, seconds: float, mib: float) -> None:
        """Count rows that were computed."""
        self.computed += rows
        self.seconds += seconds
        self.mib += mib


class PrefixExamples(Examples):
    """Rows whose batches hold the activations of the frozen blocks, while they are at hand.

    Args:
        inner: the rows.
        savings: counts what was served.
    """

    def __init__(self, inner: Examples, savings: Savings) -> None:
        self.inner = inner
        self.savings = savings
        self.lengths = inner.lengths
        self.labels = inner.labels
        self.located: Located | None = None

    def keys(self) -> np.ndarray | None:
        """What the rows are known by."""
        return self.inner.keys()

    def at_epoch(self, epoch: int) -> Examples:
        """The rows of an epoch; where they change from epoch to epoch, each is seen once, and nothing is kept."""
        rows = self.inner.at_epoch(epoch)
        return self if rows is self.inner else rows

    def outline(self, rows: np.ndarray) -> Batch:
        """The batch without its content."""
        return self.inner.outline(rows)

    def collate(self, rows: np.ndarray) -> Batch:
        """The batch, with the activations of its rows where they are kept."""
        if self.located is None:
            return self.inner.collate(rows)
        batch = self.inner.outline(rows)
        mask = batch.inputs["attention_mask"].numpy().astype(bool) if self.located.form.per_token else None
        activations = self.located.gather(rows, mask)
        self.savings.served += len(rows)
        return replace(batch, inputs={**batch.inputs, ACTIVATIONS: activations})


def form_of(tensor: torch.Tensor, batch: Batch) -> Form:
    """The form of the rows of a batch's activations: by token where the batch has a mask of tokens, else as they are.

    Args:
        tensor: activations, `[batch, …]`.
        batch: that they belong to.

    Raises:
        NoCutError: they follow the tokens, and are not one for each.
    """
    mask = batch.inputs.get("attention_mask")
    if mask is None:
        return Form(tensor.dtype, tuple(tensor.shape[1:]), per_token=False)
    if tensor.ndim < 3 or tensor.shape[1] != mask.shape[1]:
        raise NoCutError("their output does not go by tokens")
    return Form(tensor.dtype, tuple(tensor.shape[2:]), per_token=True)


def rows_of(tensor: torch.Tensor, batch: Batch, form: Form) -> list[torch.Tensor]:
    """Each row's activations, `[positions, *tail]`, without padding."""
    if not form.per_token:
        return [row[None] for row in tensor]
    mask = batch.inputs["attention_mask"].bool()
    return [row[kept] for row, kept in zip(tensor, mask, strict=True)]
