"""Dropout by depth, and where a model has dropout at all.

The configuration keeps its own probabilities (it has one for all blocks), so that a saved model loads as ever.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import Block, Blocks

_KEY = "regularization.dropout_by_depth"
# Attention holds its probability as a number (`attention_dropout`, T5's `dropout`); `layerdrop` is another thing.
_DROPOUT_NAME = re.compile(r"dropout|pdrop")
# Stochastic depth: whole branches or layers are left out.
_DEPTH_NAME = re.compile(r"^drop_prob$|layerdrop")


@dataclass(frozen=True)
class Place:
    """Where a dropout probability is held.

    Args:
        module: a dropout module, or one that applies dropout by a number of its own.
        attribute: the name of the number.
    """

    module: nn.Module
    attribute: str

    @property
    def probability(self) -> float:
        """The probability that is set."""
        return float(getattr(self.module, self.attribute))


def set_dropout_by_depth(
    model: nn.Module, blocks: Blocks, trained: Collection[str], probabilities: Sequence[float]
) -> dict[str, float]:
    """Set the dropout of each block.

    Args:
        model: changed in place.
        blocks: its depth map.
        trained: names of the parameters that train at some time; the dropout of other blocks is off.
        probabilities: one a block, embeddings and head included; or two, the ends of a line over the depth, from the
            first to the last block that has dropout and trains.

    Returns:
        Block name -> probability, of the blocks that have dropout and train.

    Raises:
        RecipeError: the model has dropout nowhere, or not in a block for which a probability is given; the number of
            probabilities does not fit.
    """
    places = _by_block(model, blocks)
    live = [
        index
        for index, block in enumerate(blocks.blocks)
        if places[block.name] and (not block.parameters or not set(block.parameters).isdisjoint(trained))
    ]
    if len(probabilities) == 2 and len(blocks.blocks) > 2:
        chosen = _line(blocks, live, probabilities[0], probabilities[1])
    else:
        chosen = _one_each(blocks, places, live, probabilities)
    for index, probability in chosen.items():
        for place in places[blocks.blocks[index].name]:
            setattr(place.module, place.attribute, probability)
    return {blocks.blocks[index].name: probability for index, probability in chosen.items()}


def draws_dropout(model: nn.Module, frozen: Iterable[nn.Module]) -> bool:
    """Whether two passes in training mode differ by dropout or stochastic depth.

    Args:
        model: the model.
        frozen: modules that are kept in evaluation mode, with all that they hold.
    """
    still = {id(part) for module in frozen for part in module.modules()}
    awake = [module for module in model.modules() if id(module) not in still]
    return any(place.probability > 0 for module in awake for place in _places(module, _DROPOUT_NAME, _DEPTH_NAME))


def _by_block(model: nn.Module, blocks: Blocks) -> dict[str, list[Place]]:
    """The places of each block; a number held by a module that spans several acts before the first: embeddings."""
    found: dict[str, list[Place]] = {block.name: [] for block in blocks.blocks}
    for name, module in model.named_modules():
        owner: Block = blocks.owner_of(name) or blocks.embeddings
        found[owner.name].extend(_places(module, _DROPOUT_NAME))
    return found


def _places(module: nn.Module, *names: re.Pattern[str]) -> Iterator[Place]:
    if isinstance(module, _DropoutNd):
        yield Place(module, "p")
        return
    for attribute, value in vars(module).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and any(pattern.search(attribute) for pattern in names):
            yield Place(module, attribute)


def _line(blocks: Blocks, live: list[int], first: float, last: float) -> dict[int, float]:
    if len(live) < 2:
        there = f"only in {blocks.blocks[live[0]].name}" if live else "nowhere"
        raise RecipeError(
            f"{_KEY}: two numbers are the ends of a line over the depth, but this model ({blocks.architecture}) has "
            f"dropout {there} among the parts that train.",
            remedy=f"Use model.dropout instead of {_KEY}." if live else f"Remove {_KEY} from the recipe.",
        )
    start, length = live[0], live[-1] - live[0]
    return {index: first + (last - first) * (index - start) / length for index in live}


def _one_each(
    blocks: Blocks, places: dict[str, list[Place]], live: list[int], probabilities: Sequence[float]
) -> dict[int, float]:
    names = [block.name for block in blocks.blocks]
    if len(probabilities) != len(names):
        raise RecipeError(
            f"{_KEY}: found {len(probabilities)} numbers, but this model ({blocks.architecture}) has {len(names)} "
            f"parts: {', '.join(names)}.",
            remedy=f"Give {len(names)} numbers, or two for the ends of a line.",
        )
    idle = [index for index, probability in enumerate(probabilities) if probability > 0 and index not in live]
    if idle:
        why = [f"{names[index]} {'is frozen' if places[names[index]] else 'has no dropout'}" for index in idle]
        raise RecipeError(
            f"{_KEY}: numbers above 0 would do nothing for some parts of this model ({blocks.architecture}): "
            f"{', '.join(why)}.",
            remedy="Give 0 for these parts, or two numbers for the ends of a line.",
        )
    return {index: probabilities[index] for index in live}
