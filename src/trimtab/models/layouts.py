"""Where the architectures we know keep their blocks, and how to find the blocks of one that we do not know.

The table holds only what cannot be seen from the order in which a model registers its modules: the path to its blocks
below the base model, and the few parts that act elsewhere than they stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# A chain with less than this share of the largest chain's parameters is a detail (adapters, a list of norms), no body.
_CHAIN_SHARE = 0.25


@dataclass(frozen=True)
class Layout:
    """How one family of architectures is laid out, in names below its base model.

    Args:
        blocks: paths of the lists that hold the blocks, in depth order; `*` stands for each child (stages).
        extras: part → index of the block it acts with: -1 the embeddings, 0 the first block.
        shares_layers: True where one block's weights serve several layers.
    """

    blocks: tuple[str, ...] = ()
    extras: dict[str, int] = field(default_factory=dict)
    shares_layers: bool = False

    def find(self, base: nn.Module) -> list[str]:
        """Paths of the blocks in `base`, in depth order; empty when a list is not where the layout says."""
        modules = dict(base.named_modules())
        found = []
        for pattern in self.blocks:
            regex = re.compile(re.escape(pattern).replace(r"\*", r"\d+") + r"\.\d+")
            matches = [name for name in modules if regex.fullmatch(name)]
            if not matches:
                return []
            found.extend(matches)
        return found


_ENCODER = Layout(blocks=("encoder.layer",))
_LAYERS = Layout(blocks=("layers",))
_STAGES = Layout(blocks=("encoder.stages.*.layers",))
_T5 = Layout(blocks=("encoder.block", "decoder.block"))
# The relative position table is read by every layer, so it and its norm go with the embeddings. The convolution of
# DeBERTa-v2 works on the output of the first layer.
_DEBERTA = Layout(
    blocks=("encoder.layer",), extras={"encoder.rel_embeddings": -1, "encoder.LayerNorm": -1, "encoder.conv": 0}
)

LAYOUTS: dict[str, Layout] = {
    "albert": Layout(blocks=("encoder.albert_layer_groups",), shares_layers=True),
    "bert": _ENCODER,
    "camembert": _ENCODER,
    "convnext": _STAGES,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "distilbert": Layout(blocks=("transformer.layer",)),
    "electra": _ENCODER,
    "gpt2": Layout(blocks=("h",)),
    "llama": _LAYERS,
    "mistral": _LAYERS,
    "mobilenet_v2": Layout(blocks=("layer",)),
    "modernbert": _LAYERS,
    "mpnet": Layout(blocks=("encoder.layer",), extras={"encoder.relative_attention_bias": -1}),
    "mt5": _T5,
    "qwen2": _LAYERS,
    "resnet": _STAGES,
    "roberta": _ENCODER,
    "t5": _T5,
    "vit": _LAYERS,
    "xlm-roberta": _ENCODER,
}


def infer_chains(base: nn.Module) -> list[str]:
    """Find the blocks of an architecture that the table does not know.

    A chain is a list of two or more modules of one class, not inside another chain. The largest chain by parameters is
    the body, together with any other of comparable size (encoder and decoder).

    Returns:
        Paths of the blocks below `base` in the order of registration; empty when there is no chain.
    """
    chains: dict[str, tuple[list[str], int]] = {}
    for name, module in base.named_modules():
        if name and not any(name.startswith(f"{outer}.") for outer in chains):
            members = _chain_members(name, module)
            if members:
                chains[name] = (members, sum(parameter.numel() for parameter in module.parameters()))
    largest = max((size for _, size in chains.values()), default=0)
    return [path for members, size in chains.values() if size and size >= _CHAIN_SHARE * largest for path in members]


def _chain_members(name: str, module: nn.Module) -> list[str]:
    from torch import nn

    if not isinstance(module, nn.ModuleList | nn.Sequential):
        return []
    children = list(module.named_children())
    alike = len({type(child) for _, child in children}) == 1
    composite = all(next(child.children(), None) is not None for _, child in children)
    return [f"{name}.{child}" for child, _ in children] if len(children) > 1 and alike and composite else []
