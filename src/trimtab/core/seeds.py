"""Separate random streams, all derived from the run's one seed.

Data order, head initialisation, dropout, splits and the bootstrap each draw from a stream of their own, so that
changing one (another number of evaluations, another head) leaves the others as they were.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, e.g. `stream_seed(0, "order", epoch)`.

    SHA-256 of the seed and the names, so that neighbouring seeds give unrelated streams on every platform.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream called `names`."""
    import numpy as np

    return np.random.default_rng(stream_seed(seed, *names))


def seed_torch(seed: int, *names: str | int) -> None:
    """Seed torch's global generators (CPU and every accelerator) with the stream called `names`."""
    import torch

    torch.manual_seed(stream_seed(seed, *names))
