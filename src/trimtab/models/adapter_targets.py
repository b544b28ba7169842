"""The layers of a model that adapters can be put into, found by looking at its modules.

Nothing here knows an architecture by name: the depth map says which modules belong to a block, the class of a module
says what it computes, and its place in the block says whether it belongs to attention.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trimtab.core.errors import RecipeError, nearest

if TYPE_CHECKING:
    from torch import nn

    from trimtab.models.blocks import Block, Blocks

Kind = Literal["linear", "transposed", "pointwise", "convolution", "grouped"]

KIND_NAMES: dict[Kind, str] = {
    "linear": "linear layers",
    "transposed": "linear layers with transposed weights (Conv1D of GPT-2)",
    "pointwise": "1x1 convolutions",
    "convolution": "convolutions",
    "grouped": "grouped (depthwise) or dilated convolutions",
}
ALL, ATTENTION = "all", "attention"

_ATTENTION_PART = re.compile(r"attn|attention", re.IGNORECASE)
_KEY_OR_VALUE = re.compile(r"(k|key|v|value)(_.*)?|.*qkv.*|query_key_value|c_attn|in_proj", re.IGNORECASE)
_UP_TO_NUMBER = re.compile(r"^(.*\.)?\d+\.")
_MOST_NAMES = 12


@dataclass(frozen=True)
class Layer:
    """A layer that computes a matrix product, or a convolution, in one of the blocks between embeddings and head.

    Args:
        name: full name of the module.
        short: its name below its block and below a number, e.g. `attention.self.query`; the same in blocks built alike.
        block: name of its block.
        kind: `linear`; `transposed`, whose weight is `[inputs, outputs]`; `pointwise`, a 1x1 convolution;
            `convolution`; `grouped`, a convolution in groups (depthwise) or a dilated one.
        inputs: features, or channels, that go in.
        outputs: features, or channels, that come out.
        in_attention: whether it is part of an attention.
    """

    name: str
    short: str
    block: str
    kind: Kind
    inputs: int
    outputs: int
    in_attention: bool

    @property
    def gives_keys_or_values(self) -> bool:
        """Whether the layer computes keys or values of an attention, alone or together with the queries."""
        return self.in_attention and bool(_KEY_OR_VALUE.fullmatch(self.short.rpartition(".")[2]))

    @property
    def closes_feed_forward(self) -> bool:
        """Whether the layer brings the widened features of a feed-forward part back to the width of the block."""
        return not self.in_attention and self.kind in ("linear", "transposed") and self.inputs > self.outputs


def find_layers(model: nn.Module, blocks: Blocks, last_blocks: int = 0) -> tuple[Layer, ...]:
    """The layers of the body in the order of registration.

    Args:
        model: any model, without adapters.
        blocks: its depth map.
        last_blocks: only those of so many last blocks; 0 for all blocks.

    Raises:
        RecipeError: more blocks than the model has, or layers that share their weights.
    """
    _check_last_blocks(blocks, last_blocks)
    wanted = {block.name for block in (blocks.body[-last_blocks:] if last_blocks else blocks.body)}
    # An attention module of torch reads the weights of its parts without calling them, so that an adapter would do
    # nothing there.
    uncalled = {name for name, module in model.named_modules() if type(module).__name__ == "MultiheadAttention"}
    found = []
    for name, module in model.named_modules():
        block = blocks.owner_of(name)
        if block is not None and block.name in wanted and name.rpartition(".")[0] not in uncalled:
            layer = _describe(name, module, block)
            if layer is not None:
                found.append(layer)
    return tuple(found)


def select_layers(layers: Sequence[Layer], targets: Iterable[str]) -> tuple[Layer, ...]:
    """The layers that the recipe names.

    Args:
        layers: from `find_layers`.
        targets: `all`, `attention`, names of layers or of modules around them (a run of dotted parts), or shell
            patterns over whole names.

    Raises:
        RecipeError: one of them matches nothing.
    """
    chosen: set[str] = set()
    for target in targets:
        hits = {layer.name for layer in layers if _matches(layer, target)}
        if not hits:
            raise RecipeError(
                f"strategy.targets: {target!r} matches no layer of the blocks.{nearest(target, short_names(layers))}",
                remedy=f"Give 'all', 'attention' (transformers only), or names: {some(short_names(layers))}.",
            )
        chosen |= hits
    return tuple(layer for layer in layers if layer.name in chosen)


def short_names(layers: Iterable[Layer]) -> list[str]:
    """The distinct names of layers below their blocks, in order."""
    return list(dict.fromkeys(layer.short for layer in layers))


def some(names: Sequence[str]) -> str:
    """Names for a message, no more than fit a line or two."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _check_last_blocks(blocks: Blocks, count: int) -> None:
    if count and blocks.shared_layers:
        raise RecipeError(
            f"strategy.last_blocks: the {blocks.shared_layers} layers of {blocks.architecture} share one set of "
            f"weights, so that the last {count} cannot have adapters alone.",
            remedy="Use strategy.last_blocks=0: adapters that every layer shares.",
        )
    if count > blocks.depth:
        raise RecipeError(
            f"strategy.last_blocks: {count} asked for, but the model has {blocks.depth} blocks.",
            remedy=f"Give a number from 0 to {blocks.depth}; 0 puts adapters into every block.",
        )


def _describe(name: str, module: nn.Module, block: Block) -> Layer | None:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    owner = next(outer for outer in block.modules if name == outer or name.startswith(f"{outer}."))
    below = name[len(owner) + 1 :] or name.rpartition(".")[2]
    kind: Kind
    if isinstance(module, nn.Linear):
        kind, inputs, outputs = "linear", module.in_features, module.out_features
    elif isinstance(module, Conv1D):
        kind, (inputs, outputs) = "transposed", module.weight.shape
    elif isinstance(module, nn.Conv2d):
        kind, inputs, outputs = _convolution_kind(module), module.in_channels, module.out_channels
    else:
        return None
    in_attention = any(_ATTENTION_PART.search(part) for part in below.split("."))
    return Layer(name, _UP_TO_NUMBER.sub("", below), block.name, kind, inputs, outputs, in_attention)


def _convolution_kind(module: nn.Conv2d) -> Kind:
    if module.groups > 1 or set(module.dilation) != {1} or module.padding_mode != "zeros":
        return "grouped"
    return "pointwise" if set(module.kernel_size) == {1} else "convolution"


def _matches(layer: Layer, target: str) -> bool:
    if target == ALL:
        return True
    if target == ATTENTION:
        return layer.in_attention
    return fnmatch.fnmatchcase(layer.name, target) or f".{target}." in f".{layer.name}."
