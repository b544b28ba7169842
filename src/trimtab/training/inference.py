"""Predictions over many rows: batches of like length, no gradients, memory bounded, rows back in their order.

Each batch is reduced at once to what judging needs (`metrics.scores`), so that no more is held than a few numbers a
row, and all probabilities where they are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn

from trimtab.core.errors import OutOfMemoryError
from trimtab.data.batching import cut_by_budget, piece_overhead
from trimtab.metrics.scores import FULL_BYTES, Scores
from trimtab.tasks.base import Examples, Task
from trimtab.training.memory import is_out_of_memory, release_memory
from trimtab.training.precision import autocast

# Tokens of a piece for each thread of the processor. Without a backward pass, small pieces whose activations stay in
# the processor's caches are the fastest: with 6 blocks of 384 units on two cores, pieces of 1,024 and 2,048 tokens took
# 0.6 of the time of 8,192 in float32 and 0.75 in bfloat16.
TOKENS_PER_THREAD = 1024
# Rows near a tie are computed again up to so many times the largest difference between the precisions.
SAFETY = 4.0


def forward_budget(token_budget: int, device: torch.device, task: Task) -> int:
    """Tokens of a piece without a backward pass: the budget, and on a processor no more than its caches hold.

    Args:
        token_budget: of training.
        device: where the model runs.
        task: whose rows pass.
    """
    if device.type != "cpu" or task.modality != "text":
        return token_budget
    return min(token_budget, TOKENS_PER_THREAD * torch.get_num_threads())


@dataclass(frozen=True)
class Predictions:
    """What a model says of rows.

    Args:
        scores: the class probabilities, as far as they are kept, float32.
        loss: mean loss over the rows in the predictor's precision; None without labels.
    """

    scores: Scores
    loss: float | None

    @property
    def values(self) -> np.ndarray:
        """Class probabilities `[rows, classes]`, float32.

        Raises:
            OutOfMemoryError: they are too many to be kept; `scores` has what metrics need.
        """
        if self.scores.probabilities is None:
            raise OutOfMemoryError(
                f"The probabilities of {self.scores.num_classes:,} classes for {len(self.scores):,} rows are not kept: "
                f"they take more than {FULL_BYTES >> 20} MiB.",
                remedy="Predict fewer rows at once.",
            )
        return self.scores.probabilities


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
        margin: in `bf16`, rows whose likeliest class is less than this ahead of the next are computed again in
            float32, so that labels are those of float32; 0 for none. See `choose_precision`.
        keep_bytes: all probabilities are kept where they take at most so many bytes; always when None.
    """

    model: nn.Module
    task: Task
    device: torch.device
    precision: str
    token_budget: int
    process_index: int = 0
    num_processes: int = 1
    progress: Callable[[int], None] | None = None
    margin: float = 0.0
    keep_bytes: int | None = FULL_BYTES

    def predict(self, examples: Examples) -> Predictions:
        """Predict every row; the result is in the rows' order, on every process. No rows give no scores."""
        mine = np.arange(len(examples))[self.process_index :: self.num_processes]
        found = Scores.empty(
            len(examples), len(self.task.labels), labelled=examples.labels is not None, keep_bytes=self.keep_bytes
        )
        total, weight = 0.0, 0
        for rows, part, loss, count in self._in_batches(examples, mine):
            found.put(rows, part)
            total += loss
            weight += count
        if self.precision == "bf16" and self.margin > 0:
            self._again_near_ties(examples, mine, found)
        if self.num_processes > 1:
            shares = gather_object([(mine, found.take(mine), total, weight)])
            for rows, part, _, _ in shares:
                found.put(rows, part)
            total, weight = sum(share[2] for share in shares), sum(share[3] for share in shares)
        return Predictions(found, total / weight if weight else None)

    def predict_rows(self, examples: Examples, rows: np.ndarray) -> np.ndarray:
        """The predictions of certain rows, `[n, …]` in their order, made by this process alone."""
        found = {
            int(row): value
            for part in self._in_batches(examples, rows)
            for row, value in zip(part[0], np.asarray(part[1].probabilities), strict=True)
        }
        return np.stack([found[int(row)] for row in rows])

    def _again_near_ties(self, examples: Examples, rows: np.ndarray, found: Scores) -> None:
        """Compute the rows of small margin in float32; the margin grows where the precisions differ more than known."""
        exact = replace(self, precision="fp32", progress=None)
        waiting, margin = rows, self.margin
        while len(near := waiting[found.margins[waiting] < margin]):
            for done, part, _, _ in exact._in_batches(examples, near):
                difference = np.abs(part.top_probabilities - found.top_probabilities[done]).max()
                margin = max(margin, SAFETY * float(difference))
                found.put(done, part)
            waiting = np.setdiff1d(waiting, near)

    @torch.inference_mode()
    def _in_batches(self, examples: Examples, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Scores, float, int]]:
        """Yield (rows, scores, summed loss, weight) of each batch; a lack of memory halves the budget."""
        self.model.eval()
        budget = forward_budget(self.token_budget, self.device, self.task)
        waiting = cut_by_budget(rows, examples.lengths, budget, piece_overhead(self.device.type))[::-1]
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

    def _one_batch(self, examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, Scores, float, int]:
        batch = examples.collate(rows).to(self.device)
        with autocast(self.device, self.precision):
            outputs = self.model(**batch.inputs)
        loss, weight = self.task.loss(outputs, batch) if batch.labels is not None else (0.0, 0)
        values = self.task.predict(outputs).float().cpu().numpy()
        labels = None if examples.labels is None else examples.labels[rows]
        return rows, Scores.of(values, labels), float(loss), weight
