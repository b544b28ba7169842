"""What a pass keeps for its backward pass: measured on small batches, and carried over to larger ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from trimtab.data.batching import Batch
from trimtab.training.objective import Objective
from trimtab.training.precision import autocast


@dataclass(frozen=True)
class PassSize:
    """What a small pass keeps, in bytes.

    Args:
        rows: its rows.
        length: tokens of a row, padding included.
        kept: bytes that the backward pass needs, parameters not counted.
        largest: bytes of input and output of the layer where they are largest.
    """

    rows: int
    length: int
    kept: int
    largest: int


def kept_bytes(sizes: Sequence[PassSize], rows: int, length: int) -> int:
    """What a piece keeps for its backward pass, from small passes: constant + a · rows · length + b · rows · length².

    Negative parts, which rounding of small sizes can give, count as none.

    Args:
        sizes: of passes of two numbers of rows, and of two lengths where rows differ in length.
        rows: of the piece.
        length: of its longest row, in tokens.
    """
    tokens = np.array([size.rows * size.length for size in sizes], dtype=np.float64)
    lengths = np.array([size.length for size in sizes], dtype=np.float64)
    columns = [np.ones_like(tokens), tokens]
    wanted = [1.0, float(rows * length)]
    if len(set(lengths)) > 1:
        columns.append(tokens * lengths)
        wanted.append(float(rows * length) * length)
    # Equal weights would drown the smaller columns.
    scale = [float(column.max()) for column in columns]
    matrix = np.stack([column / top for column, top in zip(columns, scale, strict=True)], axis=1)
    solution = _non_negative(matrix, np.array([float(size.kept) for size in sizes]))
    return int(sum(part / top * value for part, top, value in zip(solution, scale, wanted, strict=True)))


def _non_negative(matrix: np.ndarray, kept: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    found: np.ndarray = nnls(matrix, kept)[0]
    return found


def measure_pass(model: nn.Module, objective: Objective, batch: Batch, precision: str) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass, and of the layer with the largest input and output.

    Storages are counted once; parameters, buffers and the batch are not counted.
    """
    device = next(model.parameters()).device
    ours = [*model.parameters(), *model.buffers(), *batch.inputs.values()]
    known = {tensor.untyped_storage().data_ptr() for tensor in ours}
    kept: dict[int, torch.Tensor] = {}
    largest = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known and tensor.device == device:
            # The tensor itself is held, so that its address is not given to another meanwhile.
            kept.setdefault(place, tensor)
        return tensor

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal largest
        tensors = [tensor for tensor in (*args, output) if isinstance(tensor, torch.Tensor)]
        largest = max(largest, sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    def forward(inputs: dict[str, torch.Tensor]) -> Any:
        with autocast(device, precision):
            return model(**inputs)

    leaves = [module for module in model.modules() if not any(module.children())]
    handles = [module.register_forward_hook(watch) for module in leaves]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, _ = objective.loss(forward, batch, 1)
    finally:
        for handle in handles:
            handle.remove()
    del loss
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), largest


def measured(model: nn.Module, objective: Objective, batch: Batch, precision: str) -> PassSize:
    """What a forward pass over a small batch keeps, with the size of the batch."""
    kept, largest = measure_pass(model, objective, batch, precision)
    rows = len(next(iter(batch.inputs.values())))
    return PassSize(rows, max(1, batch.padded_tokens // rows), kept, largest)


class without_checkpointing:  # noqa: N801 (used as a context)
    """Let a model keep its activations within the block."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]

    def __enter__(self) -> None:
        for module in self._modules:
            module.gradient_checkpointing = False  # type: ignore[assignment]

    def __exit__(self, *unused: object) -> None:
        for module in self._modules:
            module.gradient_checkpointing = True  # type: ignore[assignment]
