"""What the labels of other rows say of a row's label: a linear classifier left one out, on the model's own features.

The features are caught from the passes that the first epoch of training makes anyway: the output of the last block,
averaged over tokens or places, before the step that the row is part of. So the row's own label has no part in them, nor
in the prediction, which is made from all the others. Rows whose label goes against such a prediction, however sure it
is, are suspects, and none of them can have been learnt by heart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trimtab.core.seeds import stream
from trimtab.data.batching import Batch
from trimtab.models.representations import last_block, pool

MOST_ROWS = 2_000
"""Rows that features are kept of, drawn at random from more: the share of wrong labels is known well enough by then."""
FEWEST_ROWS = 50
# Of the squared singular values' mean, on standardised features.
PENALTIES = 10.0 ** np.arange(-3.0, 3.0)

Floats = NDArray[np.float64]


class FeatureWatch:
    """Catches the features of a sample of the training rows in the first epoch.

    Args:
        model: the bare model.
        rows: number of training rows.
        seed: the run's seed, for the sample.

    Attributes:
        done: whether the features were taken, so that no more are wanted.
    """

    def __init__(self, model: nn.Module, rows: int, seed: int) -> None:
        self.done = False
        sample = np.sort(stream(seed, "features").permutation(rows)[:MOST_ROWS])
        self._place = np.full(rows, -1)
        self._place[sample] = np.arange(len(sample))
        self._sample = sample
        self._kept: list[tuple[NDArray[np.int64], torch.Tensor]] = []
        self._hidden: torch.Tensor | None = None
        module = last_block(model)
        self._handle = None if module is None else module.register_forward_hook(self._catch)

    def note(self, batch: Batch) -> None:
        """Keep the features of the rows that have just passed the model."""
        hidden, self._hidden = self._hidden, None
        if hidden is None or batch.rows is None or hidden.ndim < 2:
            return
        places = self._place[batch.rows]
        mask = batch.inputs.get("attention_mask")
        vectors = pool(hidden[: len(places)], mask).detach()[torch.from_numpy(places >= 0).to(hidden.device)]
        self._kept.append((places[places >= 0], vectors.to("cpu", torch.float32, non_blocking=False)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was caught, for a checkpoint: `places`, `[n]`, and `features`, `[n, features]`; empty without any."""
        if not self._kept:
            return {}
        places = np.concatenate([found for found, _ in self._kept])
        return {"places": torch.from_numpy(places), "features": torch.cat([vectors for _, vectors in self._kept])}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `tensors` gave."""
        self._kept = [(tensors["places"].numpy(), tensors["features"])] if "places" in tensors else []

    def take(self) -> tuple[NDArray[np.int64], Floats]:
        """Rows that were seen and their features, `[n]` and `[n, features]`; with them, this is done."""
        self.done = True
        if not self._kept:
            return np.zeros(0, np.int64), np.zeros((0, 0))
        places = np.concatenate([found for found, _ in self._kept])
        vectors = torch.cat([vector for _, vector in self._kept]).numpy().astype(np.float64)
        self._kept.clear()
        places, first = np.unique(places, return_index=True)
        return self._sample[places], vectors[first]

    def close(self) -> None:
        """Take the hook off the model."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _catch(self, module: nn.Module, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple | list) and output else output
        hidden = getattr(hidden, "last_hidden_state", hidden)
        if isinstance(hidden, torch.Tensor):
            self._hidden = hidden.detach()


def leave_one_out(features: Floats, labels: NDArray[np.int64], classes: int) -> Floats:
    """Scores of the classes for each row, from a ridge regression on all other rows, `[rows, classes]`.

    On standardised features and one-hot labels. With H = X (XᵀX + λI)⁻¹ Xᵀ the score without row i is
    (H Y − diag(H) Y)ᵢ / (1 − Hᵢᵢ) (Allen 1974; Hastie, Tibshirani & Friedman 2009, equation 7.64); λ has the least mean
    squared error of these.

    Args:
        features: `[rows, features]`, finite.
        labels: class ids, `[rows]`.
        classes: how many there are.
    """
    wanted = np.eye(classes)[labels]
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0) / np.sqrt(features.shape[1])
    design = np.column_stack([scaled, np.ones(len(scaled))])
    # By the smaller of the two Gram matrices, which takes a fraction of the time of a singular value decomposition.
    wide = design.shape[1] > len(design)
    squares, basis = np.linalg.eigh(design @ design.T if wide else design.T @ design)
    kept = squares > 1e-10 * squares[-1]
    squares, basis = squares[kept], basis[:, kept]
    left = basis if wide else design @ basis / np.sqrt(squares)
    projected = left.T @ wanted
    best, least = wanted, np.inf
    for penalty in PENALTIES:
        shrunk = squares / (squares + penalty)
        own = (left**2 @ shrunk)[:, None]
        scores = ((left * shrunk) @ projected - own * wanted) / np.maximum(1 - own, 1e-9)
        error = float(((scores - wanted) ** 2).mean())
        if error < least:
            best, least = scores, error
    return best


def outside_view(features: Floats, labels: NDArray[np.int64], classes: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """What the other rows say of each row: margin of its label, sureness of the choice, and the choice, `[rows]` each.

    The margin is the score of the row's label less the largest other; sureness the largest score less the next.
    """
    scores = leave_one_out(features, labels, classes)
    rows = np.arange(len(labels))
    ordered = np.sort(scores, axis=1)
    others = scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels] - others.max(axis=1), ordered[:, -1] - ordered[:, -2], scores.argmax(axis=1)
