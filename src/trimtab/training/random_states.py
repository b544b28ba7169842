"""The random states of a process: what a checkpoint keeps of them, and what a new process begins with."""

from __future__ import annotations

import hashlib

import torch


def random_states(process_index: int = 0) -> dict[str, torch.Tensor]:
    """This process's random states, on the CPU and on its accelerators, by `<process>/<device>`."""
    states = {f"{process_index}/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"{process_index}/cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_random_states(states: dict[str, torch.Tensor], process_index: int) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states[f"{process_index}/cpu"])
    for index in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(states[f"{process_index}/cuda:{index}"], index)


def derived_state(random: dict[str, torch.Tensor], name: str, step: int) -> torch.Tensor | None:
    """A random state for a process, or an accelerator of one, of which none was saved.

    It follows from that of process 0 on the same kind of device, from the step and from its own name, so that resuming
    twice gives the same. None where process 0 has none either.
    """
    process, _, device = name.partition("/")
    kind = device.partition(":")[0]
    first = next((random[key] for key in (f"0/{device}", f"0/{kind}", f"0/{kind}:0") if key in random), None)
    if first is None:
        return None
    digest = hashlib.sha256(first.numpy().tobytes() + f"/{step}/{process}/{device}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1).get_state()
