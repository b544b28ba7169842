"""Predictions over many rows: batches of like length, no gradients, memory bounded, rows back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn

from trimtab.core.errors import OutOfMemoryError
from trimtab.data.batching import cut_by_budget
from trimtab.tasks.base import Examples, Task
from trimtab.training.memory import is_out_of_memory, release_memory
from trimtab.training.precision import autocast


@dataclass(frozen=True)
class Predictions:
    """What a model says of rows.

    Args:
        values: the task's predictions, `[rows, …]` (class probabilities), float32.
        loss: mean loss over the rows; None without labels.
    """

    values: np.ndarray
    loss: float | None


@dataclass(frozen=True)
class Predictor:
    """A model that predicts.

    Args:
        model: on its device.
        task: turns outputs into predictions and loss.
        device: where the model runs.
        precision: `fp32` (what transformers alone gives) or `bf16`.
        token_budget: most tokens that pass through at once, padding included.
        process_index: number of this process.
        num_processes: processes among which the rows are shared.
        progress: called with the number of rows done after each batch.
    """

    model: nn.Module
    task: Task
    device: torch.device
    precision: str
    token_budget: int
    process_index: int = 0
    num_processes: int = 1
    progress: Callable[[int], None] | None = None

    def predict(self, examples: Examples) -> Predictions:
        """Predict every row; the result is in the rows' order, on every process. No rows give `[0, classes]`."""
        mine = np.arange(len(examples))[self.process_index :: self.num_processes]
        parts = list(self._in_batches(examples, mine))
        if self.num_processes > 1:
            parts = gather_object(parts)
        values = np.zeros((len(examples), len(self.task.labels)), dtype=np.float32)
        total, weight = 0.0, 0
        for rows, part, loss, count in parts:
            values[rows] = part
            total += loss
            weight += count
        return Predictions(values, total / weight if weight else None)

    def predict_rows(self, examples: Examples, rows: np.ndarray) -> np.ndarray:
        """The predictions of certain rows, `[n, …]` in their order, made by this process alone."""
        found = {
            int(row): value for part in self._in_batches(examples, rows) for row, value in zip(*part[:2], strict=True)
        }
        return np.stack([found[int(row)] for row in rows])

    @torch.inference_mode()
    def _in_batches(self, examples: Examples, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, float, int]]:
        """Yield (rows, predictions, summed loss, weight) of each batch; a lack of memory halves the budget."""
        self.model.eval()
        budget = self.token_budget
        waiting = cut_by_budget(rows, examples.lengths, budget)[::-1]
        while waiting:
            piece = waiting.pop()
            try:
                result = self._one_batch(examples, piece)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(piece) == 1:
                    raise OutOfMemoryError(
                        f"A single row of {examples.lengths[piece[0]]} tokens does not fit the device's memory.",
                        remedy="Use a smaller model or a smaller task.max_length.",
                    ) from error
                result = None
            if result is None:
                release_memory()
                waiting.extend([piece[len(piece) // 2 :], piece[: len(piece) // 2]])
                continue
            yield result
            if self.progress is not None:
                self.progress(len(piece))

    def _one_batch(self, examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, int]:
        batch = examples.collate(rows).to(self.device)
        with autocast(self.device, self.precision):
            outputs = self.model(**batch.inputs)
        loss, weight = self.task.loss(outputs, batch) if batch.labels is not None else (0.0, 0)
        return rows, self.task.predict(outputs).float().cpu().numpy(), float(loss), weight
