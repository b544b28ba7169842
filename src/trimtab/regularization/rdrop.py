"""R-Drop: two passes with different dropout should predict the same."""

from __future__ import annotations

import torch

from trimtab.data.batching import Batch
from trimtab.regularization.criteria import Criterion, labels_of
from trimtab.tasks.base import ClassificationTask
from trimtab.training.objective import Forward


def symmetric_divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """½·(KL(p‖q) + KL(q‖p)) = ½·Σ (p − q)·(log p − log q) of each row, `[batch]`.

    Args:
        one: logits of p, `[batch, classes]`.
        other: logits of q.
    """
    log_p, log_q = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1) / 2


class RDropObjective:
    """R-Drop (Liang et al. 2021, arXiv 2106.14448): ½·(ℓ₁ + ℓ₂ + α·½·(KL(p₁‖p₂) + KL(p₂‖p₁))).

    That is half of the paper's equation 4, so that a row weighs as much as without R-Drop; α is the paper's. Both
    passes take part in the gradient. The batch passes once with every row in it twice, which draws two dropouts and
    needs one forward call (several processes exchange gradients once a call).

    Args:
        task: gives the logits.
        criterion: ℓ.
        alpha: α.
    """

    def __init__(self, task: ClassificationTask, criterion: Criterion, alpha: float) -> None:
        self.task = task
        self.criterion = criterion
        self.alpha = alpha

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The loss summed over the rows, and their number (not twice)."""
        labels = labels_of(batch)
        twice = {name: torch.cat([values, values]) for name, values in batch.inputs.items()}
        logits = self.task.logits(forward(twice))
        first, second = logits.chunk(2)
        fit = self.criterion(logits, torch.cat([labels, labels])).sum()
        divergence = symmetric_divergence(first, second).sum()
        return (fit + self.alpha * divergence) / 2, len(labels)
