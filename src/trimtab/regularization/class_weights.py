"""The weight of a row by how frequent its class is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def inverse_weights(
    counts: Sequence[int] | NDArray[np.float64], wanted: Literal["balanced", "sqrt"]
) -> NDArray[np.float64]:
    """Weights proportional to 1/n_c (`balanced`) or 1/√n_c (`sqrt`), with a mean of 1 over the rows, `[classes]`.

    The mean keeps the scale of the loss, so that the learning rate means what it did.

    Args:
        counts: rows of each class, at least one in all. A class without rows has a weight that no row ever gets.
        wanted: how much rare classes count.
    """
    rows = np.asarray(counts, np.float64)
    present = np.maximum(rows, 1.0)
    return scaled(1 / present if wanted == "balanced" else 1 / np.sqrt(present), rows)


def scaled(weights: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """`weights` with a mean of 1 over the rows, `[classes]`."""
    result: NDArray[np.float64] = weights * counts.sum() / (weights * counts).sum()
    return result
