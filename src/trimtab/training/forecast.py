"""How much memory training will take, told before it begins.

Weights, gradients and optimizer state are counted; what a pass keeps for the backward pass is measured on small real
batches and carried over to the largest piece of the run: a constant (weights copied to bfloat16), a part that grows
with the tokens, and one that grows with rows × length² (attention scores).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.data.batching import Batch, cut_by_budget, piece_overhead, plan_epoch
from trimtab.strategies.base import TrainingPlan, apply_plan
from trimtab.tasks.base import Examples
from trimtab.training.engine import total_steps
from trimtab.training.objective import Objective
from trimtab.training.pass_memory import kept_bytes, measured, without_checkpointing
from trimtab.training.state_bytes import optimizer_bytes, tensor_bytes, update_bytes
from trimtab.training.trial_steps import left_as_it_was

# Rows of the small passes that are measured.
PROBE_ROWS = 2
# Epochs whose batches are looked through for the largest piece.
EPOCHS_SEEN = 3
# What a process holds for each byte of tensors in a pass on the CPU: the C library keeps holes and layers take scratch
# space. Measured with the starter model on Linux: 1.20 to 1.30, and 1.45 for LoRA in float32.
HEAP_SHARE = 1.25


@dataclass(frozen=True)
class Forecast:
    """Peak memory by what takes it, in bytes.

    Args:
        baseline: what the process holds before training beside the weights: nothing on an accelerator.
        weights: parameters and buffers.
        optimizer: the optimizer's state, once all that trains has been moved.
        gradients: of what trains.
        activations: what the largest piece keeps for its backward pass, copies of weights in bfloat16 included.
        temporary: what the largest layer computes with beside.
        update: what the optimizer's step computes with.
        evaluation: what a pass without gradients over the largest piece of validation rows takes.
        accumulates: whether gradients stay while a further piece passes through the model.
        on_heap: whether tensors lie in the process's own memory, of which little that was freed is given back, so that
            what follows one another adds up.
    """

    baseline: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    temporary: int
    update: int
    evaluation: int
    accumulates: bool
    on_heap: bool

    @property
    def peak(self) -> int:
        """The most at any moment of training."""
        passing = self.activations + self.temporary
        updating = self.gradients + self.update
        if self.on_heap:
            most = max(int(HEAP_SHARE * passing) + self.gradients + self.evaluation, updating)
        else:
            kept = self.gradients if self.accumulates else 0
            most = max(passing + kept, self.gradients + self.temporary, updating, self.evaluation)
        return self.baseline + self.weights + self.optimizer + most

    def to_dict(self) -> dict[str, int | bool]:
        """For an event: the parts, and the peak."""
        return {**asdict(self), "peak": self.peak}


@dataclass(frozen=True)
class Pieces:
    """The largest pieces that pass through the model.

    Args:
        rows: rows of the largest piece of training.
        length: its longest row, in tokens.
        several: whether a step has more than one piece.
        evaluation_tokens: padded tokens of the largest piece of an evaluation.
    """

    rows: int
    length: int
    several: bool
    evaluation_tokens: int


def forecast_memory(
    model: nn.Module,
    plan: TrainingPlan,
    objective: Objective,
    examples: Examples,
    recipe: Recipe,
    *,
    set_modes: Callable[[], None],
    validation: Examples | None = None,
    depth: int = 1,
    baseline: int = 0,
    processes: int = 1,
) -> Forecast:
    """Forecast the peak of a run; the model and all random states are left as they were.

    Args:
        model: on its device.
        plan: what trains; of its stages, the one that trains most counts.
        objective: what training minimises.
        examples: the encoded training rows.
        recipe: resolved.
        set_modes: puts the model into training mode, what is frozen excepted.
        validation: the rows of the evaluations.
        depth: number of blocks, for gradient checkpointing.
        baseline: bytes that the process holds before training beside the weights.
        processes: how many share a batch.
    """
    stage = max(range(len(plan.stages) or 1), key=lambda number: len(plan.trained_in(number)))
    precision, device = recipe.training.precision, next(model.parameters()).device
    pieces = largest_pieces(examples, recipe, validation, processes, device.type)
    with left_as_it_was(model):
        apply_plan(model, plan, stage)
        set_modes()
        sizes = [measured(model, objective, batch, precision) for batch in _probes(examples, pieces, device)]
        held = kept_bytes(sizes, pieces.rows, pieces.length)
        if recipe.training.gradient_checkpointing:
            # One block at a time computes again what it did not keep.
            with without_checkpointing(model):
                whole = [measured(model, objective, batch, precision) for batch in _probes(examples, pieces, device)]
            held += max(0, kept_bytes(whole, pieces.rows, pieces.length) - held) // max(1, depth)
    trained = [p for name, p in model.named_parameters() if name in plan.trained]
    largest = max(size.largest / (size.rows * size.length) for size in sizes)
    weights = tensor_bytes([*model.parameters(), *model.buffers()])
    state = sum(optimizer_bytes(recipe.optimizer, p.shape) for p in trained)
    return Forecast(
        baseline=baseline,
        weights=weights,
        optimizer=state,
        gradients=tensor_bytes(p for name, p in model.named_parameters() if name in plan.trained_in(stage)),
        activations=held,
        temporary=int(largest * pieces.rows * pieces.length),
        update=update_bytes(recipe.optimizer, trained, device),
        evaluation=int(2 * largest * pieces.evaluation_tokens),
        accumulates=pieces.several,
        on_heap=device.type == "cpu",
    )


def largest_pieces(
    examples: Examples, recipe: Recipe, validation: Examples | None, processes: int = 1, device_type: str = "cpu"
) -> Pieces:
    """The largest pieces of a run, from the batches that its first epochs will have.

    Args:
        examples: the training rows.
        recipe: resolved.
        validation: the rows of the evaluations.
        processes: how many share a batch.
        device_type: kind of device that trains.
    """
    training, lengths = recipe.training, examples.lengths
    budget, overhead = int(training.max_tokens_per_batch), piece_overhead(device_type)
    left = total_steps(recipe, len(examples))
    most, rows, length, several = -1.0, 1, 1, False
    for epoch in range(EPOCHS_SEEN):
        steps = plan_epoch(
            lengths,
            batch_size=training.batch_size,
            accumulation=training.gradient_accumulation_steps,
            seed=recipe.seed,
            epoch=epoch,
        )[: max(0, left)]
        left -= len(steps)
        for batches in steps:
            shares = [batch[::processes] for batch in batches]
            pieces = [piece for share in shares for piece in cut_by_budget(share, lengths, budget, overhead)]
            several = several or len(pieces) > 1
            for piece in pieces:
                longest = max(1, int(lengths[piece].max()))
                # Longer rows weigh more than their tokens, for the attention scores.
                size = len(piece) * longest * (1 + longest / 1024)
                if size > most:
                    most, rows, length = size, len(piece), longest
    evaluated = 0 if validation is None else min(budget, int(validation.lengths.sum()))
    return Pieces(rows, length, several, evaluated)


def _probes(examples: Examples, pieces: Pieces, device: torch.device) -> list[Batch]:
    """Small batches: few rows of the piece's length, twice as many, and twice as many of half the length."""

    def near(length: int, count: int) -> Batch:
        nearest = np.argsort(np.abs(examples.lengths - length), kind="stable")
        return examples.collate(nearest[:count]).to(device)

    few = min(PROBE_ROWS, len(examples))
    many = min(2 * PROBE_ROWS, len(examples))
    return [near(pieces.length, few), near(pieces.length, many), near(max(1, pieces.length // 2), many)]
