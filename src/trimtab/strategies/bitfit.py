"""BitFit: the biases and the head train, all weight matrices stay frozen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import ParameterGroup, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from trimtab.models.blocks import Blocks

BIAS_FACTOR = 15

_BIAS = re.compile(r"(^|[._])bias$")


class BitFitOptions(PluginOptions):
    """Options of `bitfit`."""

    norms: bool = Field(True, description="Whether the biases of normalisation layers train, as in the paper.")
    head_factor: float = Field(
        1.0, gt=0, description="Learning rate of the head, as a multiple of the biases' learning rate."
    )


@STRATEGIES.register("bitfit")
class BitFit(Strategy):
    """Train the biases and the head (Ben Zaken et al. 2022, arXiv 2106.10199).

    A batch norm whose bias trains goes on taking its statistics from the batches; with `norms: false` they stay.
    """

    Options: ClassVar[type[PluginOptions]] = BitFitOptions
    unsupported: ClassVar[frozenset[str]] = frozenset({"llama", "mistral", "modernbert", "mt5", "t5"})
    """Architectures, of those known by name, without biases outside the head."""

    def __init__(self, options: PluginOptions) -> None:
        super().__init__(options)
        self._norms: frozenset[str] | None = None

    def adapt(self, model: nn.Module, blocks: Blocks) -> tuple[nn.Module, Blocks]:
        """Note which biases belong to normalisation layers; the model stays as it is.

        Raises:
            RecipeError: the model has no biases outside the head.
        """
        self._norms = frozenset(
            f"{name}.bias" for name, module in model.named_modules() if "norm" in type(module).__name__.lower()
        )
        self._biases(blocks)
        return model, blocks

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Groups `biases` and `head`.

        Raises:
            RecipeError: the model has no biases outside the head.
            ValueError: with `norms: false`, `adapt` was not called before.
        """
        biases = self._biases(blocks)
        factor = cast(BitFitOptions, self.options).head_factor
        trained = sum(blocks.sizes[name] for name in biases)
        share = trained / sum(blocks.sizes.values())
        return TrainingPlan(
            groups=(
                ParameterGroup("biases", biases, learning_rate),
                ParameterGroup("head", blocks.head.parameters, factor * learning_rate),
            ),
            notes=(
                f"{len(biases)} biases with {trained:,} parameters ({share:.2%} of the model) train beside the head.",
            ),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """Fifteen times that of full fine-tuning: 7.5e-4 at 768 units, of the 1e-4 to 1e-3 that the paper tries."""
        rate, _ = full_learning_rate(hidden_size)
        return rate * BIAS_FACTOR, f"biases, {BIAS_FACTOR} times the rate of full fine-tuning"

    def _biases(self, blocks: Blocks) -> tuple[str, ...]:
        left_out = frozenset() if cast(BitFitOptions, self.options).norms else self._norms
        if left_out is None:
            raise ValueError("adapt was not called before")
        biases = tuple(
            name
            for block in blocks.blocks[:-1]
            for name in block.parameters
            if _BIAS.search(name) and name not in left_out
        )
        if not biases:
            which = " beside those of normalisation layers" if left_out else ""
            raise RecipeError(
                f"bitfit trains biases, and {blocks.architecture} has none outside its head{which}.",
                remedy="Use strategy.norms=true."
                if left_out and any(_BIAS.search(name) for block in blocks.blocks[:-1] for name in block.parameters)
                else "Use --strategy lora, ia3 or partial.",
            )
        return biases
