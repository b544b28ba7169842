"""A rehearsal in seconds: one small batch goes the whole way before the first long step.

Encode, forward, loss, backward, evaluate, save, reload, predict. What would fail after an hour fails here, and says at
which stage.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trimtab.core.errors import ModelError, RunError, TrimtabError
from trimtab.pipeline.delivered import read_delivered, write_delivered
from trimtab.pipeline.parts import Parts, base_of
from trimtab.strategies.base import train_mode
from trimtab.tasks.base import TaskContext
from trimtab.training.memory import is_out_of_memory
from trimtab.training.precision import autocast

ROWS = 4
# Largest difference of probabilities between the model in memory and the one read back from disk.
RELOAD_TOLERANCE = 1e-4


def rehearse(parts: Parts) -> dict[str, float]:
    """Take one small batch through every stage; the model, its buffers and the random states are left as they were.

    Returns:
        `loss` of the batch, and `reload_difference`: the largest difference of predictions after saving and reading.

    Raises:
        ModelError: a stage fails; the message names it.
        RunError: the temporary folder cannot be written.
    """
    examples = parts.examples["train"]
    # Rows from the shortest to the longest, so that the longest shows what it needs.
    by_length = np.argsort(examples.lengths, kind="stable")
    rows = by_length[np.unique(np.linspace(0, len(by_length) - 1, ROWS).round().astype(int))]
    with _left_as_it_was(parts):
        loss = _rehearse_training(parts, rows)
        # One process is enough, and transformers writes files from that one only.
        difference = _rehearse_saving(parts, rows) if parts.accelerator.is_main_process else 0.0
    return {"loss": loss, "reload_difference": difference}


def _rehearse_training(parts: Parts, rows: np.ndarray) -> float:
    device, precision = parts.accelerator.device, parts.recipe.training.precision
    with stage("encode"):
        batch = parts.examples["train"].collate(rows).to(device)
    train_mode(parts.model, parts.frozen)

    def forward(inputs: dict[str, torch.Tensor]) -> Any:
        with stage("forward"), autocast(device, precision):
            return parts.model(**inputs)

    with stage("loss"):
        loss, weight = parts.objective.loss(forward, batch, 0)
        mean = float(loss.detach()) / weight
        if not np.isfinite(mean):
            raise ModelError(
                f"Pre-flight: the loss of the first small batch is {mean}.",
                remedy="Try training.precision=fp32; if it stays so, the weights of the model are damaged.",
            )
    with stage("backward"):
        loss.backward()
    without = [n for n, p in parts.model.named_parameters() if p.requires_grad and p.grad is None]
    if len(without) == len(parts.plan.trained):
        raise ModelError(
            "Pre-flight: no parameter that should train got a gradient.",
            remedy=f"The strategy chose {', '.join(sorted(without)[:3])}; choose some that the forward pass uses.",
        )
    return mean


def _rehearse_saving(parts: Parts, rows: np.ndarray) -> float:
    task, section = parts.ground.task, parts.recipe.model.model_copy(update={"dropout": None})
    frame = parts.ground.dataset.splits["train"].iloc[rows].reset_index(drop=True)
    examples = task.encode(frame, parts.ground.context)
    predictor = replace(parts.predictor("fp32"), process_index=0, num_processes=1)
    with stage("evaluate"):
        before = predictor.predict(examples).values
        if examples.labels is not None:
            task.metrics(examples.labels, before)
    folder = Path(tempfile.mkdtemp(prefix="trimtab-preflight-"))
    try:
        with stage("save"):
            strategy = parts.ground.strategy
            write_delivered(
                folder,
                trained=parts.model,
                plain=strategy.merged(parts.model),
                base=base_of(parts),
                processor=parts.loaded.processor,
                strategy=strategy,
            )
        with stage("reload"):
            again = read_delivered(folder, task, section)
        with stage("predict"):
            again.model.to(parts.accelerator.device)
            context = TaskContext(again.processor, parts.ground.context.max_length)
            after = replace(predictor, model=again.model).predict(task.encode(frame, context)).values
    except OSError as error:
        raise RunError(
            f"Pre-flight: the model cannot be written to {folder}: {error.strerror or error}.",
            remedy="Free some space there, or name another temporary folder in the environment variable TMPDIR.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    difference = float(np.abs(before - after).max())
    if not difference <= RELOAD_TOLERANCE:
        raise ModelError(
            f"Pre-flight: after saving and reading back, predictions differ by {difference:.2g} "
            f"(allowed: {RELOAD_TOLERANCE:g}), so that what is delivered would not be what was trained.",
            remedy="This model cannot be saved by transformers without loss; choose another model.",
        )
    return difference


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Turn whatever a stage raises into an error that names the stage.

    Raises:
        ModelError: model, task and data do not fit together, or memory ran out.
    """
    try:
        yield
    except TrimtabError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"Pre-flight: memory ran out at the stage {name!r} with {ROWS} rows.",
                remedy="Use a smaller model, a smaller task.max_length, or training.gradient_checkpointing=true.",
            ) from error
        raise ModelError(
            f"Pre-flight: the stage {name!r} failed with {type(error).__name__}: {error}",
            remedy="The model, the task and the data do not fit together; --debug shows where.",
        ) from error


@contextmanager
def _left_as_it_was(parts: Parts) -> Iterator[None]:
    """Put buffers (batch-norm statistics) and random states back, and drop the gradients."""
    model = parts.model
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    device = parts.accelerator.device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
