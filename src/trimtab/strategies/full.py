"""Train every parameter at one learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import ParameterGroup, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class FullOptions(PluginOptions):
    """`full` has no options."""


@STRATEGIES.register("full")
class Full(Strategy):
    """Train every parameter at one learning rate."""

    Options: ClassVar[type[PluginOptions]] = FullOptions

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """One group with every parameter."""
        names = tuple(name for block in blocks.blocks for name in block.parameters)
        return TrainingPlan(groups=(ParameterGroup("all", names, learning_rate),))

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """2e-4 for narrow models and convolutional networks, 5e-5 for others."""
        return full_learning_rate(hidden_size)
