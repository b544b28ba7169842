"""What a run says of itself: its start, its phases, the rows behind indices, and the room that it needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimtab.data.batching import steps_per_epoch
from trimtab.pipeline.final_weights import soup_size
from trimtab.pipeline.parts import Parts
from trimtab.training.engine import total_steps
from trimtab.training.schedules import warmup_steps


@dataclass
class Timer:
    """Seconds of each phase, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Charge the time since the last lap to `phase`."""
        now = time.perf_counter()
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + now - self._began, 3)
        self._began = now

    def leave_out(self, seconds: float) -> None:
        """Charge so many of the seconds since the last lap to nothing: the run waited."""
        self._began += seconds


def start_fields(parts: Parts) -> dict[str, Any]:
    """The fields of the `start` event."""
    tensors = _tensors(parts)
    training = parts.recipe.training
    count = len(parts.examples["train"])
    steps = total_steps(parts.recipe, count)
    return {
        "total_steps": steps,
        "steps_per_epoch": steps_per_epoch(count, training.batch_size, training.gradient_accumulation_steps),
        "warmup_steps": warmup_steps(parts.recipe.schedule, steps),
        "batch_size": training.batch_size * training.gradient_accumulation_steps,
        "max_grad_norm": training.max_grad_norm,
        "groups": {group.name: group.learning_rate for group in parts.plan.groups},
        "untrained": _untrained(parts),
        "task": parts.ground.task.name,
        "labels": list(parts.ground.task.labels),
        "label_counts": _label_counts(parts),
        "max_length": parts.ground.task.max_length(parts.ground.context) or 0,
        "higher_is_better": parts.ground.task.higher_is_better(
            parts.ground.task.primary_metric(parts.recipe.evaluation.metric)
        ),
        "model": parts.recipe.model.name,
        "strategy": parts.recipe.strategy.name,
        "rows": {name: len(frame) for name, frame in parts.ground.dataset.splits.items()},
        "parameters": sum(tensor["parameters"] for tensor in tensors),
        "trained_parameters": sum(tensor["trained"] for tensor in tensors),
        "device": str(parts.accelerator.device),
        "precision": parts.recipe.training.precision,
        "attention": parts.recipe.model.attention,
        "compile": parts.recipe.training.compile,
        "metric": parts.recipe.evaluation.metric,
        "learning_rate": parts.recipe.optimizer.learning_rate,
        "num_epochs": parts.recipe.training.num_epochs,
        "reasons": parts.notes,
        "notes": [*parts.loaded.notes, *parts.plan.notes, *parts.care_notes],
    }


def _untrained(parts: Parts) -> list[str]:
    """Blocks with parameters that hold no pretrained values and never train."""
    left = set(parts.loaded.new_parameters) - parts.plan.trained
    return [block.name for block in parts.loaded.blocks.blocks if left & set(block.parameters)]


def _label_counts(parts: Parts) -> dict[str, list[int]]:
    """Split -> rows of each class."""
    classes = len(parts.ground.task.labels)
    return {
        split: np.bincount(examples.labels, minlength=classes).tolist()
        for split, examples in parts.examples.items()
        if examples.labels is not None
    }


def describe_rows(parts: Parts, rows: tuple[int, ...]) -> str:
    """The rows of the user's files behind row indices of the training split, at most ten."""
    frame = parts.ground.dataset.splits["train"].iloc[list(rows[:10])]
    words = ", ".join(f"{source} row {row}" for source, row in zip(frame["source"], frame["row"], strict=True))
    return words + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")


def bytes_needed(parts: Parts) -> int:
    """Room for the kept checkpoints, the best, the one being written, and the model: weights and two moments each."""
    weights = sum(p.numel() * p.element_size() for p in parts.model.parameters())
    trained = parts.plan.trained
    moments = 2 * sum(p.numel() * p.element_size() for name, p in parts.model.named_parameters() if name in trained)
    kept = parts.recipe.checkpoint.keep_last + soup_size(parts.recipe) + 1
    if parts.recipe.monitor.autopilot == "act":
        # The state of the start, and that before the action whose effect is not settled.
        kept += 2
    return kept * (weights + moments) + weights


def describe_plan(parts: Parts) -> dict[str, Any]:
    """What trains, when, and at which rate: by group, by block, and tensor by tensor."""
    tensors = _tensors(parts)
    stages = parts.plan.stages
    return {
        "name": parts.recipe.strategy.name,
        "parameters": sum(tensor["parameters"] for tensor in tensors),
        "trained": sum(tensor["trained"] for tensor in tensors),
        "notes": list(parts.plan.notes),
        "groups": [
            {"group": group.name, "learning_rate": group.learning_rate, "tensors": len(group.parameters)}
            for group in parts.plan.groups
        ],
        "stages": [
            {"stage": stage.name, "groups": list(stage.groups), "length": stage.length, "unit": stage.unit}
            for stage in stages
        ],
        "blocks": [
            {
                "block": block.name,
                "parameters": sum(t["parameters"] for t in tensors if t["block"] == block.name),
                "trained": sum(t["trained"] for t in tensors if t["block"] == block.name),
            }
            for block in parts.loaded.blocks.blocks
        ],
        "tensors": tensors,
    }


def _tensors(parts: Parts) -> list[dict[str, Any]]:
    """Each tensor of the model in depth order: its block, its size, and how many of its elements train."""
    parameters = dict(parts.model.named_parameters())
    trained, masks = parts.plan.trained, parts.plan.masks
    found = []
    for block in parts.loaded.blocks.blocks:
        for name in block.parameters:
            size = parameters[name].numel()
            count = int(masks[name].sum()) if name in masks else size
            found.append(
                {"tensor": name, "block": block.name, "parameters": size, "trained": count if name in trained else 0}
            )
    return found
