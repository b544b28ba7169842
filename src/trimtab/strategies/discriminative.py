"""Train every parameter, each depth at a rate of its own: the nearer to the head, the larger."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._depth import depth_groups
from trimtab.strategies.base import Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class DiscriminativeOptions(PluginOptions):
    """Options of `discriminative`."""

    decay: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Factor of the learning rate from each block to the one below it. ULMFiT divides by 2.6 (0.385), "
        "ELECTRA takes 0.8 to 0.9.",
    )


@STRATEGIES.register("discriminative")
class Discriminative(Strategy):
    """Layer-wise learning rates: the base rate at the head, times `decay` for each block further down."""

    Options: ClassVar[type[PluginOptions]] = DiscriminativeOptions

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """A group for each block. Layers that share their weights (ALBERT) are one block and share one rate."""
        decay = cast(DiscriminativeOptions, self.options).decay
        groups = depth_groups(blocks, learning_rate, decay)
        lowest = min(group.learning_rate for group in groups)
        return TrainingPlan(
            groups=groups,
            notes=(f"Rates fall from {learning_rate:.3g} at the head to {lowest:.3g} at the {groups[0].name}.",),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """That of full fine-tuning; it is the head's, all others are smaller."""
        return full_learning_rate(hidden_size)
