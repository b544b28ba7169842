"""Forward and backward passes that leave no trace: to time settings against each other, and to see what they keep.

Nothing here moves a weight; gradients, buffers, modes and random states are put back.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from trimtab.data.batching import Batch
from trimtab.training.objective import Objective
from trimtab.training.precision import autocast

# Most elements of the gradient that two settings are compared on; more would cost memory and tell no more.
GRADIENT_ELEMENTS = 20_000_000

Key = TypeVar("Key")


@dataclass(frozen=True)
class Outcome:
    """What a pass gives, to be compared with that of another setting.

    Args:
        loss: the mean loss.
        gradient: every k-th element of the gradients of what trains, float32 `[elements]`.
    """

    loss: float
    gradient: torch.Tensor


def one_pass(model: nn.Module, objective: Objective, batch: Batch, precision: str) -> float:
    """Forward and backward over a batch; gradients are added to `.grad`.

    Returns:
        The mean loss.
    """
    device = next(model.parameters()).device

    def forward(inputs: dict[str, torch.Tensor]) -> Any:
        with autocast(device, precision):
            return model(**inputs)

    loss, weight = objective.loss(forward, batch, 1)
    loss.backward()
    return float(loss.detach()) / weight


def timed_pass(model: nn.Module, objective: Objective, batch: Batch, precision: str) -> float:
    """Seconds of a forward and backward pass, the device's work included; the gradients are dropped."""
    wait = _waiter(next(model.parameters()).device)
    wait()
    began = time.perf_counter()
    one_pass(model, objective, batch, precision)
    wait()
    seconds = time.perf_counter() - began
    model.zero_grad(set_to_none=True)
    return seconds


def outcome(model: nn.Module, objective: Objective, batch: Batch, precision: str) -> Outcome:
    """Loss and gradient of a batch with everything random switched off."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        loss = one_pass(model, objective, batch, precision)
        found = [p.grad for p in model.parameters() if p.grad is not None]
        total = sum(gradient.numel() for gradient in found)
        every = max(1, math.ceil(total / GRADIENT_ELEMENTS))
        pieces = [gradient.detach().reshape(-1)[::every].float().clone() for gradient in found]
    finally:
        model.zero_grad(set_to_none=True)
        _set_modes(modes)
    return Outcome(loss, torch.cat(pieces) if pieces else torch.zeros(0))


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """Cosine of the angle between two gradients; NaN where one is zero, is not finite, or has another size."""
    if one.shape != other.shape:
        return math.nan
    lengths = float(one.norm()) * float(other.norm())
    return float(torch.dot(one, other)) / lengths if lengths > 0 else math.nan


def interleaved_medians(settings: Sequence[Key], run: Callable[[Key], float], rounds: int) -> dict[Key, float]:
    """The median seconds of each setting, measured in turn (A, B, A, B, …) so that a slow moment meets them all."""
    seconds: dict[Key, list[float]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in settings:
            seconds[setting].append(run(setting))
    return {setting: statistics.median(found) for setting, found in seconds.items()}


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Put gradients, buffers (batch-norm statistics), modes, what trains and all random states back."""
    device = next(model.parameters()).device
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    trains = {parameter: parameter.requires_grad for parameter in model.parameters()}
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    drawn, numpy_drawn = random.getstate(), np.random.get_state()
    for parameter in gradients:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)
        for parameter, gradient in gradients.items():
            parameter.requires_grad_(trains[parameter])
            parameter.grad = gradient
        _set_modes(modes)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def _set_modes(modes: Mapping[nn.Module, bool]) -> None:
    # Not by `train()`, which would change the modules within.
    for module, training in modes.items():
        module.training = training


def _waiter(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None
