"""The depth map of a model: its embeddings, its blocks in the order in which data pass them, and its head.

Every strategy reads this map. It is a partition: each parameter stands in exactly one block (a tied parameter once,
under the first of its names), and so does each module, so that freezing a block finds its dropout and batch norms too.

Where the parts that are neither block nor outside the base model go:

- what comes before the first block (token, position and patch embeddings, the stem of a convolutional net, projections
  of embeddings), position tables that every block reads, and a dropout outside the blocks (T5 applies its own before
  the first block and after the last): to the embeddings;
- what comes after a block and before the next (final norms, the last convolution): to that block, or to the next one
  where the two stand in the same stage (down-sampling layers);
- a pooler: to the head, wherever it stands. A classifier reads its output, it is often missing from pretrained
  weights (masked language models have none), and "train the head only" must train it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from trimtab.core.errors import ModelError
from trimtab.models.layouts import LAYOUTS, Layout, infer_chains

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["embeddings", "block", "head"]

EMBEDDINGS, HEAD = -1, -2
_EMBEDDING_NAME = re.compile(r"emb|drop|^wte$|^wpe$|^shared$", re.IGNORECASE)
_POOLER_NAME = re.compile(r"pooler")
_HEAD_NAME = re.compile(r"classif|^score$|head|out_proj|output_layer|logits|^fc$|drop", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """One step of the depth map.

    Args:
        name: `embeddings`, `block 0` …, or `head`.
        kind: `embeddings`, `block` or `head`.
        modules: dotted names of the modules that belong wholly to this block; no one contains another.
        parameters: full names of the parameters, in the model's order.
    """

    name: str
    kind: Kind
    modules: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model in depth order: embeddings first, head last.

    Args:
        blocks: all of them; embeddings and head are always there, though they may hold no parameter.
        architecture: the model type of the configuration, e.g. `bert`, or the class name where there is none.
        inferred: True where the architecture is not one we know, and the map was made by looking at the modules.
        shared_layers: how many layers share the blocks' weights (ALBERT: one block applied 12 times), else 0.
        sizes: number of elements of each parameter, by full name.
    """

    blocks: tuple[Block, ...]
    architecture: str
    inferred: bool
    shared_layers: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def embeddings(self) -> Block:
        """The first of the blocks."""
        return self.blocks[0]

    @property
    def body(self) -> tuple[Block, ...]:
        """The blocks between embeddings and head, first to last."""
        return self.blocks[1:-1]

    @property
    def head(self) -> Block:
        """The last of the blocks: pooler, if any, and classifier."""
        return self.blocks[-1]

    @property
    def depth(self) -> int:
        """Number of blocks between embeddings and head."""
        return len(self.body)

    @cached_property
    def _owners(self) -> dict[str, Block]:
        owners = {module: block for block in self.blocks for module in block.modules}
        owners.update({parameter: block for block in self.blocks for parameter in block.parameters})
        return owners

    def owner_of(self, name: str) -> Block | None:
        """The block of a parameter, buffer or module by its full name; None for a module that spans several."""
        while name:
            if name in self._owners:
                return self._owners[name]
            name = name.rpartition(".")[0]
        return None


def map_blocks(model: nn.Module) -> Blocks:
    """Map `model` to its embeddings, blocks and head.

    Args:
        model: a transformers model with its task head; any other module is mapped by inspection.

    Raises:
        ModelError: the model has no parameters.
    """
    config = getattr(model, "config", None)
    architecture = getattr(config, "model_type", "") or type(model).__name__
    base_name, base = _base_of(model)
    layout = LAYOUTS.get(architecture)
    chain = layout.find(base) if layout else []
    inferred = not chain
    if inferred:
        layout, chain = Layout(), infer_chains(base)
    chain = [_join(base_name, path) for path in chain]
    indices = _assign(model, base_name, layout or Layout(), chain)
    parameters: dict[int, list[str]] = {}
    for name, _ in model.named_parameters():
        parameters.setdefault(indices[name], []).append(name)
    if not parameters:
        raise ModelError(
            f"The model {type(model).__name__} has no parameters.", remedy="Choose another model with --model."
        )
    modules = _whole_modules(model, indices)
    count = max(len(chain), 1 + max(parameters))
    return Blocks(
        blocks=(
            _block("embeddings", "embeddings", EMBEDDINGS, modules, parameters),
            *(_block(f"block {index}", "block", index, modules, parameters) for index in range(count)),
            _block("head", "head", HEAD, modules, parameters),
        ),
        architecture=architecture,
        inferred=inferred,
        shared_layers=int(getattr(config, "num_hidden_layers", 0)) if layout and layout.shares_layers else 0,
        sizes={name: parameter.numel() for name, parameter in model.named_parameters()},
    )


def _block(name: str, kind: Kind, index: int, modules: dict[int, list[str]], parameters: dict[int, list[str]]) -> Block:
    return Block(name, kind, tuple(modules.get(index, ())), tuple(parameters.get(index, ())))


def _base_of(model: nn.Module) -> tuple[str, nn.Module]:
    """The base model below the task head, with its name; the model itself, named "", where it has none."""
    prefix = getattr(model, "base_model_prefix", "")
    base = getattr(model, prefix, None) if prefix else None
    return (prefix, base) if base is not None else ("", model)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _assign(model: nn.Module, base_name: str, layout: Layout, chain: Sequence[str]) -> dict[str, int]:
    """Block index of every parameter and of every module that has no children, by name.

    Modules are gone through in the order of their registration, and `reached` is the last block of the chain passed.
    """
    position = {path: index for index, path in enumerate(chain)}
    indices: dict[str, int] = {}
    reached = EMBEDDINGS
    base_is_model = not base_name
    for name in _items(model):
        inside = _chain_index(name, position)
        if inside is not None:
            reached = indices[name] = inside
        elif not base_is_model and not _within(name, base_name):
            indices[name] = HEAD
        else:
            indices[name] = _assign_loose(name, base_name, layout, chain, reached)
    headless = not any(indices[name] == HEAD for name, _ in model.named_parameters())
    # A base model of transformers says by its prefix what it is, and has no head.
    if headless and base_is_model and not getattr(model, "base_model_prefix", ""):
        _take_last_child_as_head(model, chain, indices)
    return indices


def _items(model: nn.Module) -> list[str]:
    """Names of all parameters and of all modules without children, in the order of registration, each object once."""
    first_names = {name for name, _ in model.named_parameters()}
    names: list[str] = []
    for module_name, module in model.named_modules():
        own = [_join(module_name, name) for name, _ in module.named_parameters(recurse=False)]
        names.extend(name for name in own if name in first_names)
        if module_name and next(module.children(), None) is None:
            names.append(module_name)
    return names


def _chain_index(name: str, position: dict[str, int]) -> int | None:
    while name:
        if name in position:
            return position[name]
        name = name.rpartition(".")[0]
    return None


def _assign_loose(name: str, base_name: str, layout: Layout, chain: Sequence[str], reached: int) -> int:
    """Block index of something in the base model that lies in none of the chain's blocks."""
    relative = name[len(base_name) + 1 :] if base_name else name
    for prefix, index in layout.extras.items():
        if _within(relative, prefix):
            return index
    parts = relative.split(".")
    if any(_POOLER_NAME.search(part) for part in parts):
        return HEAD
    if not base_name and reached == len(chain) - 1 and _HEAD_NAME.search(parts[0]):
        return HEAD
    if any(_EMBEDDING_NAME.search(part) for part in parts):
        return EMBEDDINGS
    if 0 <= reached < len(chain) - 1 and _shared_depth(name, chain[reached + 1]) > _shared_depth(name, chain[reached]):
        return reached + 1
    if not chain:
        return 0
    return reached


def _shared_depth(first: str, second: str) -> int:
    """How many leading components two dotted names have in common."""
    depth = 0
    for one, other in zip(first.split("."), second.split("."), strict=False):
        if one != other:
            break
        depth += 1
    return depth


def _take_last_child_as_head(model: nn.Module, chain: Sequence[str], indices: dict[str, int]) -> None:
    """Without a base model and a telling name, the last child with parameters is the head, if no block is in it."""
    children = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    if len(children) < 2 or any(_within(path, children[-1]) for path in chain):
        return
    indices.update({name: HEAD for name in indices if _within(name, children[-1])})


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def _whole_modules(model: nn.Module, indices: dict[str, int]) -> dict[int, list[str]]:
    """For each block the largest modules all of whose parts belong to it."""
    owners: dict[str, set[int]] = {}
    for name, index in indices.items():
        while name:
            owners.setdefault(name, set()).add(index)
            name = name.rpartition(".")[0]
    modules: dict[int, list[str]] = {}
    for name, _ in model.named_modules():
        whole = len(owners.get(name, ())) == 1
        if whole and len(owners.get(name.rpartition(".")[0], ())) != 1:
            modules.setdefault(next(iter(owners[name])), []).append(name)
    return modules
