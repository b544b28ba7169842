"""Linear probing, then full fine-tuning: the new head is good before it can spoil the pretrained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field, model_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import ParameterGroup, Stage, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class LpFtOptions(PluginOptions):
    """Options of `lp-ft`."""

    probe_length: float = Field(
        0.3, gt=0, description="Length of the first stage, in which the head trains alone, in `probe_unit`."
    )
    probe_unit: Literal["share", "epochs", "steps", "plateau"] = Field(
        "share",
        description="What `probe_length` counts: the `share` of the run, `epochs`, `steps`, or with `plateau` the "
        "evaluations in a row without a better validation metric.",
    )
    probe_rate_factor: float = Field(
        10.0, gt=0, description="Learning rate of the head while it trains alone, as a multiple of the base rate."
    )

    @model_validator(mode="after")
    def _share_leaves_a_rest(self) -> LpFtOptions:
        if self.probe_unit == "share" and self.probe_length >= 1:
            raise ValueError(
                f"probe_length {self.probe_length:g} is a share of the run, and has to be below 1; for a number of "
                "epochs or steps, set probe_unit to epochs or steps"
            )
        return self


@STRATEGIES.register("lp-ft")
class LpFt(Strategy):
    """Linear probing, then fine-tuning of everything (Kumar et al. 2022, arXiv 2202.10054)."""

    Options: ClassVar[type[PluginOptions]] = LpFtOptions

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Groups `head` and `body`, two stages, each with a learning-rate schedule of its own."""
        options = cast(LpFtOptions, self.options)
        body = tuple(name for block in blocks.blocks[:-1] for name in block.parameters)
        probe_rate = learning_rate * options.probe_rate_factor
        return TrainingPlan(
            groups=(
                ParameterGroup("head", blocks.head.parameters, learning_rate),
                ParameterGroup("body", body, learning_rate),
            ),
            stages=(
                Stage("head alone", ("head",), options.probe_length, options.probe_unit, {"head": probe_rate}),
                Stage("everything", ("head", "body")),
            ),
            restart_schedule=True,
            notes=(f"The head trains alone at {probe_rate:.3g} first, then everything at {learning_rate:.3g}.",),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """That of full fine-tuning, which is what the second stage does."""
        return full_learning_rate(hidden_size)
