"""What a step minimises: the task's loss, or another loss built on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from trimtab.data.batching import Batch
from trimtab.tasks.base import Task

Forward = Callable[[dict[str, torch.Tensor]], Any]


class Objective(Protocol):
    """A training loss. Evaluation always uses the task's own, so that runs compare."""

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The summed loss of a batch and its weight, to be divided once an optimizer step.

        Args:
            forward: passes inputs (`[batch, …]` each) through the model, in the run's precision, and gives its outputs.
            batch: rows with labels.
            step: number of the step about to be taken, from 1, for schedules and random streams.
        """
        ...


class TaskObjective:
    """The task's own loss.

    Args:
        task: gives the loss.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """One forward pass and the task's loss."""
        return self.task.loss(forward(batch.inputs), batch)
