"""OFT: the inputs of a layer are rotated, so that the angles between its weight vectors stay as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._adapters import LORA_FACTOR, AdapterStrategy, BiasOptions, adapter_learning_rate, peft_bias
from trimtab.strategies._peft import peft

if TYPE_CHECKING:
    from trimtab.models.adapter_targets import Kind, Layer


class OftOptions(BiasOptions):
    """Options of `oft`."""

    block_size: int = Field(
        32,
        ge=2,
        description="Inputs that are rotated together. Where it does not divide a layer's inputs, the nearest number "
        "that does is taken there.",
    )


@STRATEGIES.register("oft")
class Oft(AdapterStrategy):
    """Orthogonal fine-tuning (Qiu et al. 2023, arXiv 2306.07280): W · R, with R block-diagonal and orthogonal.

    Each block of R is (I − Q)(I + Q)⁻¹ (Cayley), with Q skew-symmetric and trained, zero at the start; exactly, not by
    the shortened series that `peft` takes by default.
    """

    Options: ClassVar[type[PluginOptions]] = OftOptions
    title: ClassVar[str] = "OFT"
    # Before a larger convolution peft adds up overlapping patches, which is no rotation and cannot be merged.
    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "pointwise"})
    parts: ClassVar[tuple[str, ...]] = ("oft_R",)
    unsupported: ClassVar[frozenset[str]] = frozenset({"convnext", "gpt2"})

    def choose(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers that `targets` names.

        Raises:
            RecipeError: among them are linear layers that work on images, which `peft` takes for convolutions.
        """
        chosen = super().choose(layers)
        with_images = {layer.block for layer in layers if layer.kind not in ("linear", "transposed")}
        on_images = [layer for layer in chosen if layer.kind == "linear" and layer.block in with_images]
        if on_images:
            raise RecipeError(
                f"OFT cannot rotate the inputs of linear layers that stand between convolutions, as does "
                f"{on_images[0].name}.",
                remedy="Use --strategy lora or adalora, or name other layers in strategy.targets.",
            )
        return chosen

    def config(self, layers: tuple[Layer, ...]) -> Any:
        """OFT on these layers."""
        options = cast(OftOptions, self.options)
        return peft().OFTConfig(
            r=0,
            oft_block_size=options.block_size,
            target_modules=[layer.name for layer in layers],
            bias=peft_bias(options.bias, "oft"),
            use_cayley_neumann=False,
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """Ten times that of full fine-tuning."""
        return adapter_learning_rate(hidden_size, LORA_FACTOR)
