"""Training losses of classification: label smoothing, class weights, focal loss.

Evaluation keeps the task's plain cross-entropy, so that runs compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from trimtab.core.errors import RecipeError, UnknownNameError, nearest
from trimtab.data.batching import Batch
from trimtab.regularization.class_weights import inverse_weights, scaled
from trimtab.tasks.base import ClassificationTask
from trimtab.training.objective import Forward


@dataclass(frozen=True)
class Criterion:
    """The loss of single rows.

    With c the row's class, K classes and p the softmax of the logits, a row's loss is

        weights[c] · (1 − p_c)^γ · ((1 − ε)·(−log p_c) + ε/K · Σ_k −log p_k)

    The weight multiplies all of it. (torch weights the share of each class k in the smoothed target by k's own weight,
    which pulls every row towards the rare classes.)

    Args:
        label_smoothing: ε (Szegedy et al. 2016, arXiv 1512.00567).
        focal_gamma: γ (Lin et al. 2017, arXiv 1708.02002; `weights` are the paper's α).
        weights: `[classes]`, float32; all 1 when None.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    weights: torch.Tensor | None = None

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each row, `[batch]`.

        Args:
            logits: `[batch, classes]`, float32.
            labels: class ids, `[batch]`.
        """
        surprise = -logits.log_softmax(dim=-1)
        own = surprise.gather(1, labels[:, None]).squeeze(1)
        loss = own
        if self.label_smoothing:
            loss = (1 - self.label_smoothing) * own + self.label_smoothing * surprise.mean(dim=1)
        if self.focal_gamma:
            # 1 − p without cancellation. Above 0, where the derivative of a power below 1 is infinite.
            missing = (-torch.expm1(-own)).clamp_min(torch.finfo(own.dtype).tiny)
            loss = missing**self.focal_gamma * loss
        if self.weights is not None:
            loss = self.weights.to(loss)[labels] * loss
        return loss


class CriterionObjective:
    """One forward pass, and a criterion instead of the plain cross-entropy.

    Args:
        task: gives the logits.
        criterion: the loss of single rows.
    """

    def __init__(self, task: ClassificationTask, criterion: Criterion) -> None:
        self.task = task
        self.criterion = criterion

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The criterion summed over the rows, and the number of rows (class weights have a mean of 1)."""
        labels = labels_of(batch)
        return self.criterion(self.task.logits(forward(batch.inputs)), labels).sum(), len(labels)


def labels_of(batch: Batch) -> torch.Tensor:
    """The labels of a batch.

    Raises:
        ValueError: it has none.
    """
    if batch.labels is None:
        raise ValueError("a batch without labels has no loss")
    return batch.labels


def class_weights(
    wanted: Literal["balanced", "sqrt"] | Mapping[str, float], labels: Sequence[str], train_labels: np.ndarray
) -> np.ndarray:
    """The weight of each class, with a mean of 1 over the training rows, float64 `[classes]`.

    The mean keeps the scale of the loss, so that the learning rate means what it did.

    Args:
        wanted: `balanced`: n/(k·n_c) for n rows, k classes that have rows, n_c rows of class c, by which every class
            counts as much as any other; `sqrt`: proportional to 1/√n_c, halfway there; or label -> weight, 1 for
            labels that are not named.
        labels: names of the classes.
        train_labels: class id of each training row, `[rows]`.

    Raises:
        RecipeError: there are no training rows.
        UnknownNameError: a label is none of the classes.
    """
    counts = np.bincount(train_labels, minlength=len(labels)).astype(np.float64)
    if not counts.sum():
        raise RecipeError("regularization.class_weights: there are no training rows to weight.")
    if wanted == "balanced" or wanted == "sqrt":
        return inverse_weights(counts, wanted)
    unknown = list(unknown_labels(wanted, labels))
    if unknown:
        raise UnknownNameError(unknown[0])
    return scaled(np.array([wanted.get(label, 1.0) for label in labels]), counts)


def unknown_labels(wanted: Iterable[str], labels: Sequence[str]) -> Iterator[str]:
    """A sentence for each label of `regularization.class_weights` that the data do not have."""
    for label in wanted:
        if label not in labels:
            yield (
                f"regularization.class_weights: the data have no label {label!r}.{nearest(label, labels)} Labels: "
                f"{', '.join(labels)}."
            )
