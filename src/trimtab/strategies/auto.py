"""Measure a few strategies on a slice of the data, and go on with the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from pydantic import Field, field_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import Strategy, TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class AutoOptions(PluginOptions):
    """Options of `auto`."""

    candidates: list[str] = Field(
        default_factory=lambda: ["partial", "lora", "lp-ft", "discriminative", "full"],
        min_length=1,
        description="Strategies to measure, each with its default options; one that does not fit the model, or whose "
        "library is not installed, is passed over.",
    )
    minutes: float = Field(
        3.0, gt=0, description="Time for all measurements together, in minutes; at least a few steps each are taken."
    )
    rows: int = Field(1000, ge=20, description="Most training rows that the measurements use, drawn by class.")
    validation_rows: int = Field(500, ge=20, description="Most validation rows that they are judged on.")

    @field_validator("candidates")
    @classmethod
    def _not_itself(cls, value: list[str]) -> list[str]:
        if "auto" in value:
            raise ValueError("auto cannot measure itself; name other strategies")
        if len(set(value)) < len(value):
            raise ValueError("names a strategy twice")
        return value


@STRATEGIES.register("auto")
class Auto(Strategy):
    """Successive halving over strategies (Jamieson & Talwalkar 2016, arXiv 1502.07943), settled before training."""

    Options: ClassVar[type[PluginOptions]] = AutoOptions
    stands_for_another = True

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Never called: `pipeline.probe` puts the strategy that it chose in this one's place.

        Raises:
            ValueError: always.
        """
        self._unsettled()

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """Never called, like `plan`.

        Raises:
            ValueError: always.
        """
        self._unsettled()

    def _unsettled(self) -> NoReturn:
        raise ValueError("strategy auto has to be settled by pipeline.probe before training")
