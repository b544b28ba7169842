"""What each block of a model makes of rows: one vector a row, caught by hooks in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from trimtab.data.batching import cut_by_budget
from trimtab.metrics.similarity import Floats
from trimtab.models.blocks import Block, map_blocks
from trimtab.tasks.base import Examples

TOKEN_BUDGET = 2048
"""Most tokens of a batch, padding included: small ones hold rows of like length."""
OUTPUT = "output"


@dataclass(frozen=True)
class Representations:
    """Vectors of rows.

    Args:
        blocks: name of the block -> `[rows, features]`, float32, in depth order.
        output: those of the model below its head, `[rows, features]`, float32.
    """

    blocks: dict[str, Floats]
    output: Floats


@torch.inference_mode()
def represent(model: nn.Module, examples: Examples, rows: np.ndarray) -> Representations:
    """Run rows through a model and take what comes out of each block, averaged over tokens or places.

    The model is put into evaluation mode, and stays there. Blocks that the forward pass does not call are left out;
    one that it calls several times (ALBERT) counts with its last call.

    Args:
        model: on its device; its blocks are found by `map_blocks`, inside a wrapper of `peft`.
        examples: encoded rows.
        rows: indices of the rows, `[n]`.

    Raises:
        ModelError: the model has no parameters.
    """
    model.eval()
    device = next(model.parameters()).device
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    with catch_blocks(unwrapped(model)) as caught:
        for piece in cut_by_budget(rows, examples.lengths, TOKEN_BUDGET):
            caught.clear()
            inputs = examples.collate(piece).to(device).inputs
            model(**inputs)
            mask = inputs.get("attention_mask")
            for name, hidden in caught.items():
                parts.setdefault(name, []).append((piece, pool(hidden, mask).float().cpu().numpy()))
    found = {name: _in_order(pieces, rows) for name, pieces in parts.items()}
    output = found.pop(OUTPUT, None)
    blocks = dict(sorted(found.items(), key=lambda item: int(item[0].split()[-1])))
    if output is None:
        output = list(blocks.values())[-1] if blocks else np.zeros((len(rows), 0), np.float32)
    return Representations(blocks, output)


def pool(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """One vector a row: the mean over tokens (those that `mask` marks), or over places of an image.

    Args:
        hidden: `[batch, seq, features]`, `[batch, features, height, width]` or `[batch, features]`.
        mask: 1 on tokens, 0 on padding, `[batch, tokens]`, for the last tokens of `seq`; None for images.

    Returns:
        `[batch, features]`.
    """
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    if hidden.ndim != 3:
        return hidden
    if mask is None or mask.shape[1] > hidden.shape[1]:
        return hidden.mean(dim=1)
    # Virtual tokens of an adapter stand before those of the text, and belong to no text.
    hidden = hidden[:, hidden.shape[1] - mask.shape[1] :]
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside a wrapper of `peft`; one that is not wrapped as it is."""
    inside = getattr(model, "get_base_model", None)
    return inside() if callable(inside) else model


@contextmanager
def catch_blocks(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Fill the mapping with the output of each block, and of the base model, whenever the model runs.

    Args:
        model: not wrapped by `peft` (see `unwrapped`).
    """
    caught: dict[str, torch.Tensor] = {}
    modules = {block.name: _main_module(model, block) for block in map_blocks(model).body}
    base = getattr(model, getattr(model, "base_model_prefix", "") or "_", None)
    modules[OUTPUT] = base if isinstance(base, nn.Module) else None
    handles = []
    for name, module in modules.items():
        if module is not None:

            def keep(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                hidden = _hidden(output)
                if hidden is not None:
                    caught[name] = hidden

            handles.append(module.register_forward_hook(keep))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def last_block(model: nn.Module) -> nn.Module | None:
    """The module whose output is that of the last block; None where the model has no blocks."""
    inside = unwrapped(model)
    body = map_blocks(inside).body
    return _main_module(inside, body[-1]) if body else None


def _main_module(model: nn.Module, block: Block) -> nn.Module | None:
    """The module whose output is the block's: the largest of it, and of a mere list the last in it."""
    modules = [model.get_submodule(name) for name in block.modules]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in modules]
    if not any(sizes):
        return None
    module = modules[int(np.argmax(sizes))]
    while isinstance(module, nn.ModuleList) and len(module):
        module = module[-1]
    return module


def _hidden(output: Any) -> torch.Tensor | None:
    """The hidden states in what a module returned: a tensor, a tuple that begins with one, or a mapping."""
    if isinstance(output, torch.Tensor):
        return output
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None and isinstance(output, tuple | list) and output:
        hidden = output[0]
    return hidden if isinstance(hidden, torch.Tensor) else None


def _in_order(pieces: list[tuple[np.ndarray, np.ndarray]], rows: np.ndarray) -> Floats:
    """The vectors of all pieces in the order of `rows`."""
    places = np.argsort(np.concatenate([piece for piece, _ in pieces]), kind="stable")
    vectors = np.concatenate([part for _, part in pieces])[places]
    order: Floats = np.empty_like(vectors)
    order[np.argsort(rows, kind="stable")] = vectors
    return order
