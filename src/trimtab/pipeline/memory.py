"""The memory of a run: told before, measured after, both in the record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from trimtab.core.devices import GIB
from trimtab.core.events import EventLog
from trimtab.pipeline.parts import Parts
from trimtab.strategies.base import train_mode
from trimtab.training.forecast import Forecast, forecast_memory
from trimtab.training.memory import MemoryWatch, held_bytes, release_memory, room_bytes
from trimtab.training.records import Progress
from trimtab.training.state_bytes import tensor_bytes

FAULTS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError)


@contextmanager
def watched_memory(
    parts: Parts, optimizer: torch.optim.Optimizer, events: EventLog, progress: Progress
) -> Iterator[None]:
    """Tell the forecast in an event `memory`, and after the block what was measured, in another with both.

    A forecast above what the device has gives a finding with a remedy; the run goes on, as the engine makes smaller
    pieces where memory runs out.

    Args:
        parts: ready to train.
        optimizer: over what trains, with its state where the run is resumed.
        events: the run's record.
        progress: gives the step.
    """
    device = parts.accelerator.device
    forecast = forecast_of(parts, optimizer)
    if forecast is not None:
        events.write("memory", progress.step, device=device.type, forecast=forecast.peak, parts=forecast.to_dict())
        _warn(parts, forecast, events, progress.step)
    watch = MemoryWatch(device)
    try:
        with watch:
            yield
    finally:
        events.write(
            "memory",
            progress.step,
            device=device.type,
            forecast=None if forecast is None else forecast.peak,
            measured=watch.peak,
        )


def forecast_of(parts: Parts, optimizer: torch.optim.Optimizer | None = None) -> Forecast | None:
    """The forecast for a run; None where a small pass fails, which the first step will tell of, or weights are sharded.

    Args:
        parts: ready to train.
        optimizer: whose state, if any, is there already.
    """
    device = parts.accelerator.device
    if any(hasattr(parameter, "placements") for parameter in parts.model.parameters()):
        return None
    try:
        forecast = forecast_memory(
            parts.model,
            parts.plan,
            parts.objective,
            parts.examples["train"],
            parts.recipe,
            set_modes=lambda: train_mode(parts.model, parts.frozen),
            validation=parts.examples.get("validation"),
            depth=parts.loaded.blocks.depth,
            processes=parts.accelerator.num_processes,
        )
    except FAULTS:
        release_memory()
        return None
    state = tensor_bytes(_state(optimizer)) if optimizer is not None else 0
    return replace(forecast, baseline=max(0, held_bytes(device) - forecast.weights - state))


def _state(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def _warn(parts: Parts, forecast: Forecast, events: EventLog, step: int) -> None:
    room = room_bytes(parts.accelerator.device)
    if room is None or forecast.peak <= room:
        return
    events.write(
        "finding",
        step,
        name="memory",
        severity="warning",
        message=f"Training is forecast to take {forecast.peak / GIB:.1f} GiB at its peak, and the "
        f"{parts.accelerator.device.type} has {room / GIB:.1f} GiB for it.",
        remedy=remedy(parts, forecast),
    )


def remedy(parts: Parts, forecast: Forecast) -> str:
    """What would take less memory, the greatest part first."""
    training, ways = parts.recipe.training, []
    if forecast.activations > forecast.optimizer + forecast.gradients:
        budget = int(training.max_tokens_per_batch)
        ways.append(f"a smaller token budget (training.max_tokens_per_batch={max(1, budget // 4)})")
        if not training.gradient_checkpointing:
            ways.append("training.gradient_checkpointing=true")
    else:
        ways.append("adapters (--strategy lora) or fewer blocks (--strategy partial)")
        if parts.recipe.optimizer.name != "adafactor":
            ways.append("optimizer.name=adafactor")
        ways.append("a smaller token budget (training.max_tokens_per_batch)")
    return f"Take {', '.join(ways[:-1])} or {ways[-1]}." if len(ways) > 1 else f"Take {ways[0]}."
