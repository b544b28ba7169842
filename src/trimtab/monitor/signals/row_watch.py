"""Each training row's margin and probability, taken from the forward passes that training makes anyway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trimtab.core.hooks import StepHook
from trimtab.data.batching import Batch
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.signals.features import FEWEST_ROWS, FeatureWatch, outside_view
from trimtab.tasks.base import ClassificationTask
from trimtab.training.objective import Forward, Objective

# Logits that wait to be reduced: few enough to stay small, many enough that one reduction serves many steps.
MOST_WAITING = 1 << 20

# Parts of the record that a checkpoint keeps.
KEPT = ("margin", "probability", "predicted", "outside")
# Share of the rows that must have been met for the first epoch to count as over.
WHOLE_EPOCH = 0.9

_Piece = tuple[int, np.ndarray, torch.Tensor, torch.Tensor]


class RowWatch:
    """Goes along with an objective, and keeps what the model says of each row when training meets it.

    It changes nothing: no further pass, no random number. An objective that passes a row several times (R-Drop) counts
    with the first; one that mixes rows (mixup) does so after the pass.

    Args:
        objective: what training minimises.
        task: gives the logits.
        record: takes the values.
        steps_per_epoch: optimizer steps of an epoch.
        accelerator: whose processes share the rows.
        features: catches the features of rows in the first epoch; None for none.
    """

    def __init__(
        self,
        objective: Objective,
        task: ClassificationTask,
        record: RowRecord,
        steps_per_epoch: int,
        accelerator: Accelerator,
        features: FeatureWatch | None = None,
    ) -> None:
        self.objective = objective
        self.task = task
        self.record = record
        self.steps_per_epoch = steps_per_epoch
        self.accelerator = accelerator
        self.features = features
        self._waiting: list[_Piece] = []
        self._size = 0

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The objective's loss."""
        passed: list[Any] = []

        def watched(inputs: dict[str, torch.Tensor]) -> Any:
            outputs = forward(inputs)
            if not passed and self.features is not None and step <= self.steps_per_epoch and not self.features.done:
                self.features.note(batch)
            passed.append(outputs)
            return outputs

        loss = self.objective.loss(watched, batch, step)
        if passed and batch.rows is not None and batch.labels is not None:
            logits = self.task.logits(passed[0]).detach()[: len(batch.rows)]
            self._waiting.append(((step - 1) // self.steps_per_epoch, batch.rows, logits, batch.labels))
            self._size += logits.numel()
            if self._size > MOST_WAITING:
                self.reduce()
        return loss

    def save(self, path: Path) -> None:
        """Write the record, with the rows of all processes; every process must call this."""
        self.reduce()
        self._look_from_outside()
        if self.accelerator.num_processes > 1:
            for margin, probability, predicted in gather_object(
                [(self.record.margin, self.record.probability, self.record.predicted)]
            ):
                seen = predicted >= 0
                self.record.margin[seen] = margin[seen]
                self.record.probability[seen] = probability[seen]
                self.record.predicted[seen] = predicted[seen]
        if self.accelerator.is_main_process:
            path.parent.mkdir(exist_ok=True)
            self.record.save(path)

    def _look_from_outside(self) -> None:
        """Once the first epoch is over, see what the other rows say of each."""
        if self.features is None or self.features.done or self.record.seen_share(0) < WHOLE_EPOCH:
            return
        rows, vectors = self.features.take()
        labels = self.record.labels[rows]
        if len(rows) < FEWEST_ROWS or not np.isfinite(vectors).all() or len(np.unique(labels)) < 2:
            return
        margin, sure, choice = outside_view(vectors, labels, len(self.task.labels))
        self.record.outside[:, rows] = np.stack([margin, sure, choice])

    def reduce(self) -> None:
        """Take margins and probabilities from the logits that wait."""
        for epoch in sorted({piece[0] for piece in self._waiting}):
            pieces = [piece for piece in self._waiting if piece[0] == epoch]
            if epoch < len(self.record.margin):
                rows = np.concatenate([piece[1] for piece in pieces])
                logits = torch.cat([piece[2] for piece in pieces]).float()
                labels = torch.cat([piece[3] for piece in pieces])
                margin, probability = margins(logits, labels)
                self.record.margin[epoch, rows] = margin.clamp(-6e4, 6e4).cpu().numpy()
                self.record.probability[epoch, rows] = probability.cpu().numpy()
                self.record.predicted[epoch, rows] = logits.argmax(dim=1).cpu().numpy()
        self._waiting.clear()
        self._size = 0


class RowMemory(StepHook):
    """Makes the record of the rows a part of checkpoints, so that a resumed run knows what it had seen, and no more.

    Args:
        record: of the rows.
        features: what catches features in the first epoch; None for none.
    """

    watches_only = True

    def __init__(self, record: RowRecord, features: FeatureWatch | None) -> None:
        super().__init__("rows")
        self.record = record
        self.features = features
        self.before_saving: Callable[[], object] = lambda: None

    def tensors(self) -> dict[str, torch.Tensor]:
        """The record, and the features while they are being caught."""
        self.before_saving()
        kept = {name: torch.from_numpy(getattr(self.record, name)) for name in KEPT}
        return {**kept, **(self.features.tensors() if self.features is not None else {})}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take both back; nothing where the checkpoint has none, as one of an older version."""
        if all(name in tensors and tensors[name].shape == getattr(self.record, name).shape for name in KEPT):
            for name in KEPT:
                getattr(self.record, name)[...] = tensors[name].numpy()
        if self.features is not None:
            self.features.load_tensors(tensors)
            self.features.done = bool(np.isfinite(self.record.outside).any())


def margins(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Margin of each row's label over the largest other class, and the label's probability, `[rows]` each.

    Args:
        logits: float32 `[rows, classes]`.
        labels: class ids, `[rows]`.
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(dim=1), (own - logits.logsumexp(dim=1)).exp()
