"""The device's memory: how much is held, the most that was, and what to do when it runs out.

Where it runs out, it is given back and the step is done again as if for the first time.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from pathlib import Path

import psutil
import torch

# Seconds between two looks at the process's memory, where the system keeps no high-water mark.
SAMPLING_SECONDS = 0.005

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


def held_bytes(device: torch.device) -> int:
    """Bytes held now: of tensors on an accelerator, else the process's resident memory, free heap given back first."""
    release_memory()
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    _trim_heap()
    return int(psutil.Process().memory_info().rss)


def room_bytes(device: torch.device) -> int | None:
    """Bytes that the process could hold in all: what it holds and what is free; None where that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + int(torch.cuda.memory_reserved(device))
    if device.type != "cpu":
        return None
    room = int(psutil.virtual_memory().available) + int(psutil.Process().memory_info().rss)
    limit = _container_limit()
    return room if limit is None else min(room, limit)


class MemoryWatch:
    """The most memory held between entering and leaving: of tensors on CUDA, else of the whole process.

    Linux keeps the process's high-water mark, which is set back on entering. Where that is not allowed, a thread looks
    every few milliseconds.

    Args:
        device: that trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0
        self._sampler: _Sampler | None = None

    def __enter__(self) -> MemoryWatch:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif not _reset_high_water():
            self._sampler = _Sampler()
            self._sampler.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self.device.type == "cuda":
            self.peak = int(torch.cuda.max_memory_allocated(self.device))
        elif self._sampler is not None:
            self.peak = self._sampler.finish()
        else:
            self.peak = _high_water()


class _Sampler(threading.Thread):
    """Looks at the process's resident memory again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process()
        self._over = threading.Event()
        self._peak = int(self._process.memory_info().rss)

    def run(self) -> None:
        while not self._over.wait(SAMPLING_SECONDS):
            self._look()

    def finish(self) -> int:
        """Stop, and return the most that was seen."""
        self._over.set()
        self.join()
        self._look()
        return self._peak

    def _look(self) -> None:
        self._peak = max(self._peak, int(self._process.memory_info().rss))


def _reset_high_water() -> bool:
    """Set the process's high-water mark of resident memory to the present; False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _high_water() > 0
    except (OSError, ValueError):
        return False


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _trim_heap() -> None:
    """Give the C library's free memory back, so that what is resident is what is held."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _container_limit() -> int | None:
    """The most memory that a container allows its processes; None where there is no such limit."""
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(place).read_text(encoding="ascii"))
    return None
