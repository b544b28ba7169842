"""A small real batch, and passes over it with one setting or another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.data.batching import Batch
from trimtab.models.attention import set_attention
from trimtab.tasks.base import Examples, Task
from trimtab.training.choices import Candidate
from trimtab.training.objective import TaskObjective
from trimtab.training.trial_steps import Outcome, outcome, timed_pass


@dataclass(frozen=True)
class Bench:
    """What trial passes need.

    Args:
        recipe: may hold `auto` for precision, attention and compilation.
        task: gives the loss.
        model: on its device.
        examples: encoded training rows.
    """

    recipe: Recipe
    task: Task
    model: nn.Module
    examples: Examples

    @property
    def most_rows(self) -> int:
        """Rows of typical length that pass through the model at once in training."""
        training = self.recipe.training
        budget = training.max_tokens_per_batch
        within = max(1, budget // self.typical_length) if isinstance(budget, int) else training.batch_size
        return min(training.batch_size, within, len(self.examples))

    @property
    def typical_length(self) -> int:
        """The median length of a row, in tokens."""
        return max(1, int(np.median(self.examples.lengths)))

    def batch(self, rows: int) -> Batch:
        """So many rows of typical length."""
        nearest = np.argsort(np.abs(self.examples.lengths - self.typical_length), kind="stable")
        return self.examples.collate(nearest[:rows]).to(next(self.model.parameters()).device)

    def seconds(self, candidate: Candidate, batch: Batch) -> float:
        """Seconds of a pass."""
        set_attention(self.model, candidate.attention)
        return timed_pass(self.model, TaskObjective(self.task), batch, candidate.precision)

    def outcome(self, candidate: Candidate, batch: Batch) -> Outcome:
        """Loss and gradient of a pass."""
        set_attention(self.model, candidate.attention)
        return outcome(self.model, TaskObjective(self.task), batch, candidate.precision)
