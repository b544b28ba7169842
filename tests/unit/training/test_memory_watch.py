"""The most memory that was held, by the system's own mark and by looking."""

from __future__ import annotations

import time

import pytest
import torch

import trimtab.training.memory as memory
from trimtab.training.memory import MemoryWatch, held_bytes, room_bytes

CPU = torch.device("cpu")
SIZE = 64 << 20


def allocate() -> None:
    tensor = torch.ones(SIZE // 4)
    time.sleep(0.05)
    del tensor


@pytest.mark.parametrize("allowed", [True, False])
def test_a_peak_is_seen_though_it_is_over(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    if not allowed:
        monkeypatch.setattr(memory, "_reset_high_water", lambda: False)
    before = held_bytes(CPU)
    with MemoryWatch(CPU) as watch:
        allocate()
    assert watch.peak - before >= 0.9 * SIZE
    held_bytes(CPU)  # what was freed may wait in the heap; this gives it back
    with MemoryWatch(CPU) as later:
        pass
    assert later.peak < watch.peak - 0.5 * SIZE


def test_an_error_within_is_not_swallowed() -> None:
    with pytest.raises(ValueError, match="inside"), MemoryWatch(CPU):
        raise ValueError("inside")


def test_room_is_what_is_held_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    room = room_bytes(CPU)
    assert room is not None and room > held_bytes(CPU)
    monkeypatch.setattr(memory, "_container_limit", lambda: 123)
    assert room_bytes(CPU) == 123
    assert room_bytes(torch.device("mps")) is None
