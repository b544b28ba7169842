"""Mixup of the representations that the last layer reads."""

from __future__ import annotations

import torch

from trimtab.core.seeds import stream
from trimtab.data.batching import Batch
from trimtab.regularization.criteria import Criterion, labels_of
from trimtab.tasks.base import ClassificationTask
from trimtab.training.objective import Forward


class MixupObjective:
    """λ·ℓ(z, y) + (1 − λ)·ℓ(z, y') for the representation λ·h + (1 − λ)·h' of two rows, λ ~ Beta(α, α).

    Mixup (Zhang et al. 2018, arXiv 1710.09412) where Guo, Mao & Zhang 2019 (arXiv 1905.08941, "senMixup") put it for
    text: before the layer that gives the logits. That layer is affine in every classification head of transformers,
    and W(λ·h + (1 − λ)·h') + b = λ·(W·h + b) + (1 − λ)·(W·h' + b) since the shares add up to 1: mixing the logits is
    mixing the representations. So the logits are mixed, in float32.

    λ and the partner of each row are drawn for each piece of a step from a stream of the seed, the step and the number
    of the piece, on the CPU: they are the same on every device and after a resume. Partners are rows of one piece; a
    row that passes the model alone stays unmixed.

    Args:
        task: gives the logits.
        criterion: ℓ.
        alpha: α.
        seed: the run's seed.
    """

    def __init__(self, task: ClassificationTask, criterion: Criterion, alpha: float, seed: int) -> None:
        self.task = task
        self.criterion = criterion
        self.alpha = alpha
        self.seed = seed
        self._step = -1
        self._piece = 0

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The loss summed over the rows, and their number."""
        labels = labels_of(batch)
        share, partners = self._draw(step, len(labels))
        partners = partners.to(labels.device)
        logits = self.task.logits(forward(batch.inputs))
        mixed = share * logits + (1 - share) * logits[partners]
        loss = share * self.criterion(mixed, labels) + (1 - share) * self.criterion(mixed, labels[partners])
        return loss.sum(), len(labels)

    def _draw(self, step: int, rows: int) -> tuple[float, torch.Tensor]:
        """λ and the partners of a piece, `[rows]`; pieces are counted by the calls of a step."""
        self._piece = self._piece + 1 if step == self._step else 0
        self._step = step
        generator = stream(self.seed, "mixup", step, self._piece)
        return float(generator.beta(self.alpha, self.alpha)), torch.from_numpy(generator.permutation(rows))
