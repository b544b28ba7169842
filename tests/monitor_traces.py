"""Synthetic records of runs, for the tests of the doctor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.monitor.facts import Facts
from trimtab.monitor.trace import Trace


def make_events(
    train: Sequence[float | None] = (),
    val: Sequence[float] = (),
    *,
    held_in: Sequence[float] | None = None,
    steps_per_epoch: int = 10,
    rate: float | Sequence[float] = 1e-4,
    grad_norm: float | Sequence[float | None] = 1.0,
    metrics: Mapping[str, Sequence[float]] | None = None,
    held_in_metrics: Mapping[str, Sequence[float]] | None = None,
    detail: Sequence[Mapping[str, Any]] | None = None,
    loss_error: float = 0.02,
    rows: int = 200,
    step_fields: Mapping[str, Sequence[Any]] | None = None,
) -> list[dict[str, Any]]:
    """Events of a run: a step for each training loss, and an evaluation after each epoch.

    Args:
        train: loss of each step; None marks a skipped step.
        val: validation loss after each epoch.
        held_in: loss on the training sample after each epoch; not recorded when None.
        steps_per_epoch: steps between evaluations.
        rate: learning rate of all steps, or of each.
        grad_norm: likewise.
        metrics: validation metrics by name, a value an evaluation.
        held_in_metrics: the same on the training sample.
        detail: further fields of each evaluation's `detail`.
        loss_error: standard error of both losses.
        rows: validation rows.
        step_fields: further fields of the steps by name, a value a step.
    """
    events: list[dict[str, Any]] = []
    for index, loss in enumerate(train):
        step = index + 1
        event: dict[str, Any] = {
            "type": "step",
            "step": step,
            "epoch": step / steps_per_epoch,
            "loss": loss,
            "learning_rates": {"all": rate if isinstance(rate, float | int) else rate[index]},
            "grad_norm": grad_norm if isinstance(grad_norm, float | int) else grad_norm[index],
            "weight": 32,
            "tokens": 320,
            "padded_tokens": 330,
            "seconds": 0.1,
            "data_seconds": 0.001,
            "stage": 0,
        }
        if loss is None:
            event |= {"skipped": "the loss is NaN", "rows": [1, 2, 3], "grad_norm": None}
        event |= {name: values[index] for name, values in (step_fields or {}).items()}
        events.append(event)
        if step % steps_per_epoch == 0 and step // steps_per_epoch <= len(val):
            events.append(_evaluation(step, step // steps_per_epoch - 1, val, held_in, metrics, held_in_metrics, detail,
                                      loss_error, rows))  # fmt: skip
    return events


def make_trace(*args: Any, facts: Facts | None = None, **fields: Any) -> Trace:
    """The trace of `make_events`."""
    return Trace.from_events(make_events(*args, **fields), facts or make_facts())


def make_facts(**fields: Any) -> Facts:
    """Facts of a small healthy run of two classes, 320 training rows."""
    known: dict[str, Any] = {
        "model": "starter",
        "strategy": "full",
        "task": "text-classification",
        "metric": "macro_f1",
        "total_steps": 100,
        "steps_per_epoch": 10,
        "num_epochs": 10,
        "warmup_steps": 10,
        "batch_size": 32,
        "max_grad_norm": 1.0,
        "learning_rate": 1e-4,
        "rows": {"train": 320, "validation": 200, "test": 200},
        "labels": ("negative", "positive"),
        "label_counts": {"train": [160, 160], "validation": [100, 100]},
        "max_length": 512,
        "parameters": 1000,
        "trained_parameters": 1000,
        "device": "cpu",
    }
    return Facts(**{**known, **fields})


def falling(start: float, end: float, count: int, *, noise: float = 0.03, seed: int = 0) -> list[float]:
    """Losses that fall exponentially towards `end`, with noise, as those of a healthy run."""
    draw = np.random.default_rng(seed)
    curve = end + (start - end) * np.exp(-4 * np.arange(count) / max(1, count))
    return [float(value) for value in curve + noise * draw.standard_normal(count)]


def _evaluation(
    step: int,
    index: int,
    val: Sequence[float],
    held_in: Sequence[float] | None,
    metrics: Mapping[str, Sequence[float]] | None,
    held_in_metrics: Mapping[str, Sequence[float]] | None,
    detail: Sequence[Mapping[str, Any]] | None,
    loss_error: float,
    rows: int,
) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": "evaluation",
        "step": step,
        "epoch": index + 1.0,
        "split": "validation",
        "metric": "macro_f1",
        "metrics": {"loss": val[index], **{name: values[index] for name, values in (metrics or {}).items()}},
        "best": False,
        "detail": {"rows": rows, "loss_error": loss_error, **(detail[index] if detail else {})},
    }
    if held_in is not None:
        further = {name: values[index] for name, values in (held_in_metrics or {}).items()}
        event["held_in"] = {"rows": 64, "loss": held_in[index], "loss_error": loss_error, **further}
    return event
