"""What the hardware can do: the device to train on, and whether it computes bfloat16 natively."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

GIB = 1 << 30


def computes_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices in hardware.

    CUDA: compute capability 8.0 and up, without emulation. CPU: AVX512-BF16 or AMX (x86), BF16 matrix instructions
    (Arm). Emulated bfloat16 is slower than float32, and does not count.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def process_index() -> int:
    """This process's number among those that `torchrun` or `accelerate launch` started together; 0 for one alone."""
    return int(os.environ.get("RANK", "0"))


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and accelerators of this machine, for `environment.json`."""
    import psutil
    import torch

    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "accelerators": [],
    }
    if torch.cuda.is_available():
        found["accelerators"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found
