"""Parameter groups by depth, shared by the strategies that go through the model from the head down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.core.errors import RecipeError
from trimtab.strategies.base import ParameterGroup

if TYPE_CHECKING:
    from trimtab.models.blocks import Blocks


def depth_groups(blocks: Blocks, learning_rate: float, decay: float) -> tuple[ParameterGroup, ...]:
    """One group for each block that has parameters, named like it, the embeddings first.

    The rate is `learning_rate` × `decay` ^ distance, with distance 0 for the head, 1 for the last block, and so on
    (Howard & Ruder 2018, arXiv 1801.06146, section 3.2, with decay 1 / 2.6).
    """
    last = len(blocks.blocks) - 1
    return tuple(
        ParameterGroup(block.name, block.parameters, learning_rate * decay ** (last - index))
        for index, block in enumerate(blocks.blocks)
        if block.parameters
    )


def refuse_shared_layers(blocks: Blocks, strategy: str) -> None:
    """Refuse what needs layers of their own where one set of weights serves them all.

    Raises:
        RecipeError: the layers share their weights (ALBERT).
    """
    if blocks.shared_layers:
        raise RecipeError(
            f"strategy: the {blocks.shared_layers} layers of {blocks.architecture} share one set of weights, so that "
            f"{strategy} has nothing to go through layer by layer.",
            remedy="Use --strategy full, lora, or lp-ft.",
        )
