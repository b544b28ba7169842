"""LoRA and its variants: a low-rank update beside each weight matrix, which is merged into it in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._adapters import (
    LORA_FACTOR,
    AdapterStrategy,
    BiasOptions,
    adapter_learning_rate,
    peft_bias,
    refuse_idle_rank,
)
from trimtab.strategies._peft import peft

if TYPE_CHECKING:
    from trimtab.models.adapter_targets import Kind, Layer


class LoraOptions(BiasOptions):
    """Options of `lora`."""

    variant: Literal["plain", "rslora", "dora", "pissa"] = Field(
        "plain",
        description="`plain` LoRA; `rslora`, whose update is scaled by alpha / √r, so that high ranks do not fade; "
        "`dora`, which learns the length of each output's weight vector apart from its direction (slower steps); "
        "`pissa`, which starts from the largest singular vectors of the weights (linear layers only).",
    )
    r: int = Field(8, ge=1, description="Rank of the update.")
    alpha: float = Field(16.0, gt=0, description="Strength of the update, which is scaled by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the input of the update.")


@STRATEGIES.register("lora")
class Lora(AdapterStrategy):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): W + (alpha / r) · B · A, with A and B trained.

    Variants: rsLoRA (Kalajdzievski 2023, arXiv 2312.03732), DoRA (Liu et al. 2024, arXiv 2402.09353) and PiSSA (Meng
    et al. 2024, arXiv 2404.02948), in which the frozen weights are what the start of B · A leaves of W.
    """

    Options: ClassVar[type[PluginOptions]] = LoraOptions
    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "transposed", "pointwise", "convolution"})
    parts: ClassVar[tuple[str, ...]] = ("lora_A", "lora_B", "lora_magnitude_vector")

    @property
    def title(self) -> str:  # type: ignore[override]
        """The name of the variant."""
        variant = cast(LoraOptions, self.options).variant
        return {"plain": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "pissa": "PiSSA"}[variant]

    @property
    def adaptable(self) -> frozenset[Kind]:
        """Linear layers and convolutions; linear layers alone for PiSSA, which decomposes a matrix."""
        if cast(LoraOptions, self.options).variant == "pissa":
            return frozenset({"linear", "transposed"})
        return self.kinds

    def config(self, layers: tuple[Layer, ...]) -> Any:
        """LoRA on these layers.

        Raises:
            RecipeError: the rank is above that of every layer, or PiSSA is asked for more singular vectors than a
                layer has.
        """
        options = cast(LoraOptions, self.options)
        refuse_idle_rank("r", options.r, layers)
        smallest = min(layers, key=lambda layer: min(layer.inputs, layer.outputs))
        most = min(smallest.inputs, smallest.outputs)
        if options.variant == "pissa" and options.r > most:
            raise RecipeError(
                f"strategy.r: {options.r} singular vectors asked for, but {smallest.name} has {most}.",
                remedy=f"Use strategy.r={most} or less, or leave out that layer with strategy.targets.",
            )
        return peft().LoraConfig(
            r=options.r,
            lora_alpha=options.alpha,
            lora_dropout=options.dropout,
            target_modules=[layer.name for layer in layers],
            fan_in_fan_out=all(layer.kind == "transposed" for layer in layers),
            bias=peft_bias(options.bias, "lora"),
            use_rslora=options.variant == "rslora",
            use_dora=options.variant == "dora",
            init_lora_weights="pissa" if options.variant == "pissa" else True,
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """Ten times that of full fine-tuning."""
        return adapter_learning_rate(hidden_size, LORA_FACTOR)
