"""A look inside the model on a few rows: units that never react, spread of attention, drift of representations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from trimtab.metrics.similarity import Floats
from trimtab.models.blocks import Blocks
from trimtab.models.representations import catch_blocks, pool, unwrapped
from trimtab.tasks.base import Examples

# A unit whose output stays below this on every token of the rows passes on next to nothing.
DEAD = 1e-3
ACTIVATION_WORDS = ("GELU", "ReLU", "SiLU", "Swish", "Mish", "Hardswish", "ELU")


class Inspector:
    """Looks at a fixed sample of rows, and compares with how the model saw them before training.

    Args:
        model: the bare model, as it is before the first step.
        blocks: its depth map.
        examples: encoded rows.
        rows: the sample, `[n]`.
    """

    def __init__(self, model: nn.Module, blocks: Blocks, examples: Examples, rows: np.ndarray) -> None:
        self.model = model
        self.examples = examples
        self.rows = rows
        self._prefixes = {name: block.name for block in blocks.body for name in block.modules}
        self._names = [block.name for block in blocks.body]
        self._before, _ = self._pass()

    def look(self) -> dict[str, dict[str, float]]:
        """`dead_units`, `attention_entropy` and `drift`, each block -> value; what cannot be seen is left out.

        `dead_units` is the share of a block's hidden units (channels of a convolutional net) whose activation stays
        within ±0.001 on every token; `attention_entropy` the mean entropy of attention over its largest possible value;
        `drift` 1 − mean cosine of the rows' mean representations to those before training. The model is left in
        evaluation mode.
        """
        with self._watching() as largest:
            after, entropies = self._pass(attention=True)
        drift = {name: 1 - _mean_cosine(self._before[name], after[name]) for name in after if name in self._before}
        dead = {
            name: float(np.mean([float((peak < DEAD).float().mean()) for peak in peaks]))
            for name, peaks in largest.items()
        }
        found = {"dead_units": dead, "attention_entropy": entropies, "drift": drift}
        return {name: {block: round(value, 5) for block, value in values.items()} for name, values in found.items()}

    @contextmanager
    def _watching(self) -> Iterator[dict[str, list[torch.Tensor]]]:
        """Fill the mapping with the largest activation of each unit, by block, a tensor a module."""
        peaks: dict[str, dict[str, torch.Tensor]] = {}
        handles = []
        for name, module in self.model.named_modules():
            block = self._block_of(name)
            if block is None or not type(module).__name__.startswith(ACTIVATION_WORDS):
                continue

            def keep(module: nn.Module, args: Any, output: Any, block: str = block, name: str = name) -> None:
                if torch.is_tensor(output) and output.ndim in (3, 4):
                    peak = output.detach().abs().amax(dim=(0, 1) if output.ndim == 3 else (0, 2, 3))
                    known = peaks.setdefault(block, {})
                    known[name] = torch.maximum(known[name], peak) if name in known else peak

            handles.append(module.register_forward_hook(keep))
        largest: dict[str, list[torch.Tensor]] = {}
        try:
            yield largest
        finally:
            for handle in handles:
                handle.remove()
        largest.update({block: list(known.values()) for block, known in peaks.items()})

    def _block_of(self, module: str) -> str | None:
        for prefix, block in self._prefixes.items():
            if module == prefix or module.startswith(prefix + "."):
                return block
        return None

    @torch.inference_mode()
    def _pass(self, attention: bool = False) -> tuple[dict[str, Floats], dict[str, float]]:
        """One pass: each block's mean vector of each row, `[rows, features]`, and its entropy of attention."""
        self.model.eval()
        device = next(self.model.parameters()).device
        inputs = self.examples.collate(self.rows).to(device).inputs
        mask = inputs.get("attention_mask")
        with catch_blocks(unwrapped(self.model)) as caught:
            outputs = self._with_attention(inputs) if attention else self.model(**inputs)
        vectors = {name: pool(caught[name], mask).float().cpu().numpy() for name in self._names if name in caught}
        attentions = getattr(outputs, "attentions", None) or ()
        if len(attentions) != len(self._names) or any(layer is None for layer in attentions):
            return vectors, {}
        return vectors, {
            name: _relative_entropy(layer.float(), mask) for name, layer in zip(self._names, attentions, strict=True)
        }

    def _with_attention(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The outputs with each layer's attention, which only plain attention gives; without it where there is none."""
        model = unwrapped(self.model)
        switch = getattr(model, "set_attn_implementation", None)
        used = getattr(getattr(model, "config", None), "_attn_implementation", None)
        if switch is None or used is None:
            return self.model(**inputs)
        try:
            switch("eager")
            return self.model(**inputs, output_attentions=True)
        except (TypeError, ValueError, NotImplementedError):
            # Convolutional nets have none, and some models cannot switch.
            return self.model(**inputs)
        finally:
            switch(used)


def _relative_entropy(attention: torch.Tensor, mask: torch.Tensor | None) -> float:
    """Mean entropy over its largest value, the logarithm of the number of keys that a query may see.

    Args:
        attention: `[batch, heads, queries, keys]`.
        mask: 1 on tokens, `[batch, keys]`; None where all are.
    """
    entropy = -torch.xlogy(attention, attention).sum(dim=-1).mean(dim=1)
    # Causal attention sees no later keys: those that got any weight are counted.
    keys = (attention > 0).any(dim=1).sum(dim=-1)
    counts = keys > 1
    if mask is not None and mask.shape[1] == attention.shape[2]:
        counts &= mask.bool()
    if not counts.any():
        return 0.0
    return float((entropy[counts] / keys[counts].float().log()).mean())


def _mean_cosine(before: Floats, after: Floats) -> float:
    """Mean over the rows of the cosine between two vectors, `[rows, features]` each."""
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    products = (before * after).sum(axis=1)
    return float(np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0).mean())
