"""Faults in the process: what a broken program, machine or loader would do, done to a run from outside.

A patch is a context manager that takes a `Clock`. They use PyTorch's global hooks where these reach; two take the place
of a function of Trimtab. None does anything before the `start` event, so that checks before training stay sound.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as global_hooks
from torch.optim.optimizer import register_optimizer_step_post_hook

LARGEST_HALF = 65504.0
BLOCKS = ("BertLayer", "ElectraLayer", "TransformerBlock")


class Clock:
    """Where a run stands, from its events.

    Args:
        total_steps: optimizer steps of the whole run.
        mark_id: id of the token that marks bad rows.

    Attributes:
        step: the newest step that was taken.
        planted: the step in which a fault showed first, where only the run itself can tell; else 0.
        compute_seconds: of the newest step, without waiting for rows.
    """

    def __init__(self, total_steps: int, mark_id: int = -1) -> None:
        self.total_steps = total_steps
        self.mark_id = mark_id
        self.started = False
        self.step = 0
        self.planted = 0
        self.compute_seconds = 0.1

    def __call__(self, event: dict[str, Any]) -> None:
        """Take note of an event; the listener of the run."""
        if event["type"] == "start":
            self.started = True
        elif event["type"] == "step":
            self.step = event["step"]
            self.compute_seconds = max(0.02, event["seconds"] - (event.get("data_seconds") or 0.0))

    def at(self, share: float) -> int:
        """The step at this share of the run, from 1."""
        return max(1, round(share * self.total_steps))


Patch = Callable[[Clock], AbstractContextManager[None]]


@contextmanager
def overflow(clock: Clock) -> Iterator[None]:
    """From 40 % of the run on, activations times a scale that doubles a step are kept in half precision."""
    begin = clock.at(0.4)

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if not clock.started or clock.step + 1 < begin or not isinstance(module, nn.Linear | nn.Conv2d):
            return None
        scale = 2.0 ** (10 + 2 * (clock.step + 1 - begin))
        return torch.where(output.abs() * scale > LARGEST_HALF, output.sign() * torch.inf, output)

    with _removed(global_hooks.register_module_forward_hook(hook)):
        yield


@contextmanager
def nan_at_mark(clock: Clock) -> Iterator[None]:
    """The embedding of the marked rows' first token is NaN."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if not clock.started or not isinstance(module, nn.Embedding) or not module.training:
            return None
        marked = inputs[0] == clock.mark_id
        if not clock.planted and bool(marked.any()):
            clock.planted = clock.step + 1
        return torch.where(marked.unsqueeze(-1), torch.nan, output)

    with _removed(global_hooks.register_module_forward_hook(hook)):
        yield


def spikes(factor: float, shares: tuple[float, ...] = (0.5, 0.75)) -> Patch:
    """At single steps, the logits are this many times what they should be: a batch that fits nothing before it."""

    @contextmanager
    def patch(clock: Clock) -> Iterator[None]:
        steps = {clock.at(share) for share in shares}

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if clock.started and module.training and _is_classifier(module) and clock.step + 1 in steps:
                output.logits = output.logits * factor
                return output
            return None

        with _removed(global_hooks.register_module_forward_hook(hook)):
            yield

    return patch


@contextmanager
def in_order(clock: Clock) -> Iterator[None]:
    """Every epoch takes the rows in the order of the file."""
    from trimtab.training import engine

    def plan(lengths: np.ndarray, *, batch_size: int, accumulation: int = 1, **_: Any) -> list[list[np.ndarray]]:
        rows = np.arange(len(lengths))
        batches = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        return [batches[at : at + accumulation] for at in range(0, len(batches), accumulation)]

    with _replaced(engine, "plan_epoch", plan):
        yield


@contextmanager
def slow_rows(clock: Clock) -> Iterator[None]:
    """Each batch takes two and a half times as long to make as the step takes to compute."""
    from trimtab.data.prefetch import Prefetch

    original = Prefetch.batches

    @functools.cache
    def slowed(collate: Any) -> Any:
        def make(piece: np.ndarray) -> Any:
            if clock.started:
                time.sleep(min(1.0, 2.5 * clock.compute_seconds))
            return collate(piece)

        return make

    def batches(self: Prefetch, collate: Any, *arguments: Any, **named: Any) -> Any:
        return original(self, slowed(collate), *arguments, **named)

    with _replaced(Prefetch, "batches", batches):
        yield


@contextmanager
def out_of_memory(clock: Clock) -> Iterator[None]:
    """At two steps, the memory does not hold what passes through the model."""
    waiting = [clock.at(0.2), clock.at(0.4)]

    def hook(module: nn.Module, inputs: Any) -> None:
        if clock.started and waiting and module.training and clock.step + 1 >= waiting[0]:
            waiting.pop(0)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with _removed(global_hooks.register_module_forward_pre_hook(hook)):
        yield


def gradient_by_depth(factor: float) -> Patch:
    """The gradient that a block hands to the block below is this many times what it should be."""

    @contextmanager
    def patch(clock: Clock) -> Iterator[None]:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> Any:
            if not clock.started or type(module).__name__ not in BLOCKS:
                return None
            # The first input is what the block below gave; masks may follow.
            return (None if inputs[0] is None else inputs[0] * factor, *inputs[1:])

        with _removed(global_hooks.register_module_full_backward_hook(hook)):
            yield

    return patch


@contextmanager
def dead_units(clock: Clock) -> Iterator[None]:
    """At 40 % of the run, the first linear layer after attention gets biases so low that no unit speaks again."""
    begin = clock.at(0.4)
    found: dict[str, nn.Module] = {}

    def find(module: nn.Module, inputs: Any) -> None:
        if clock.started and "model" not in found and _is_classifier(module):
            found["model"] = module

    def kill(*_: Any) -> None:
        if clock.started and clock.step + 1 == begin and "model" in found:
            for name, parameter in found["model"].named_parameters():
                if ".layer.1." in name and name.endswith(("intermediate.dense.bias", "ffn.lin1.bias")):
                    with torch.no_grad():
                        parameter.fill_(-30.0)

    with (
        _removed(global_hooks.register_module_forward_pre_hook(find)),
        _removed(register_optimizer_step_post_hook(kill)),
    ):
        yield


def _is_classifier(module: nn.Module) -> bool:
    """Whether it is a whole model of transformers that classifies."""
    return type(module).__name__.endswith("Classification")


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    """Removes a hook when the patch ends."""
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute, and puts the old one back."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
