"""When the device's memory runs out: telling it, giving it back, and doing a step again as if for the first time."""

from __future__ import annotations

import gc

import torch

RandomState = tuple[torch.Tensor, torch.Tensor | None]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory of the device or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def release_memory() -> None:
    """Give freed memory back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_random_state(device: torch.device) -> RandomState:
    """The random states that dropout on `device` draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_device_random_state(device: torch.device, state: RandomState) -> None:
    """Put back what `device_random_state` gave."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
