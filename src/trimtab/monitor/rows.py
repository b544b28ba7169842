"""What a model made of each training row, epoch by epoch: the memory behind label noise."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.core.files import write_atomic

MOST_CELLS = 40_000_000
"""Most (epoch, row) pairs that are kept, at 8 bytes each; of longer runs, the first epochs are."""


@dataclass
class RowRecord:
    """What the model said of each training row when it met it in training, before the step that it was part of.

    In the first epoch it had not yet been trained on the row, so that these are out-of-sample predictions of a model
    that grows better through the epoch. Cells that were not seen are NaN, and -1 in `predicted`.

    Args:
        margin: logit of the row's label − largest other logit, float16 `[epochs, rows]` (AUM: Pleiss et al. 2020,
            arXiv 2001.10528, is its mean over epochs).
        probability: of the row's label, float16 `[epochs, rows]`.
        predicted: the likeliest class, int32 `[epochs, rows]`.
        labels: the row's label in the data, int64 `[rows]`.
        outside: what a classifier says of the row that was made from the other rows alone (see `signals.features`):
            the margin of its label, how sure the classifier is of its choice, and the choice, float32 `[3, rows]`; NaN
            of rows outside the sample, and everywhere before the first epoch is over.
    """

    margin: NDArray[np.float16]
    probability: NDArray[np.float16]
    predicted: NDArray[np.int32]
    labels: NDArray[np.int64]
    outside: NDArray[np.float32]

    @classmethod
    def empty(cls, epochs: int, labels: NDArray[np.int64]) -> RowRecord:
        """Room for so many epochs, or for as many as `MOST_CELLS` allows, at least one."""
        rows = len(labels)
        shape = (max(1, min(epochs, MOST_CELLS // max(1, rows))), rows)
        return cls(
            margin=np.full(shape, np.nan, np.float16),
            probability=np.full(shape, np.nan, np.float16),
            predicted=np.full(shape, -1, np.int32),
            labels=labels,
            outside=np.full((3, rows), np.nan, np.float32),
        )

    @property
    def epochs_seen(self) -> int:
        """Epochs in which at least nine in ten rows were seen."""
        return int((np.isfinite(self.margin).mean(axis=1) >= 0.9).sum()) if self.margin.size else 0

    def seen_share(self, epoch: int) -> float:
        """Share of the rows that were met in an epoch, from 0."""
        return float((self.predicted[epoch] >= 0).mean()) if self.predicted.size else 0.0

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            margin=self.margin,
            probability=self.probability,
            predicted=self.predicted,
            labels=self.labels,
            outside=self.outside,
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> RowRecord | None:
        """What `save` wrote; None where there is nothing that can be read."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{name: stored[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
