"""VeRA: random matrices that all layers share, frozen, between two vectors of each layer that train."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._adapters import VECTOR_FACTOR, AdapterStrategy, BiasOptions, adapter_learning_rate, peft_bias
from trimtab.strategies._peft import ADAPTER, peft

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.adapter_targets import Kind, Layer


class VeraOptions(BiasOptions):
    """Options of `vera`."""

    r: int = Field(256, ge=1, description="Rank of the shared matrices; much higher than LoRA's, as vectors are small.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the input of the update.")


@STRATEGIES.register("vera")
class Vera(AdapterStrategy):
    """Vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv 2310.11454): W + diag(b) · B · diag(d) · A.

    A and B are random and the same in all layers, which take from them what fits their shape; b and d are a layer's.
    """

    Options: ClassVar[type[PluginOptions]] = VeraOptions
    title: ClassVar[str] = "VeRA"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "transposed"})
    parts: ClassVar[tuple[str, ...]] = ("vera_lambda_b", "vera_lambda_d")
    unsupported: ClassVar[frozenset[str]] = frozenset({"mobilenet_v2", "resnet"})

    def config(self, layers: tuple[Layer, ...]) -> Any:
        """VeRA on these layers; a checkpoint does not hold the shared matrices, which the seed brings back."""
        import torch

        options = cast(VeraOptions, self.options)
        return peft().VeraConfig(
            r=options.r,
            vera_dropout=options.dropout,
            target_modules=[layer.name for layer in layers],
            fan_in_fan_out=all(layer.kind == "transposed" for layer in layers),
            bias=peft_bias(options.bias, "vera"),
            projection_prng_key=int(torch.randint(2**31, ())),
            save_projection=False,
        )

    def extra_tensors(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The shared matrices: another version of torch may draw others from the seed."""
        layer: Any = next(module for module in model.modules() if hasattr(module, "vera_lambda_b"))
        return {f"base_model.{name}": getattr(layer, name)[ADAPTER] for name in ("vera_A", "vera_B")}

    def saved_config(self, config: Any) -> Any:
        """The same, with the shared matrices in the file."""
        saved = copy.copy(config)
        saved.save_projection = True
        return saved

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """A hundred times that of full fine-tuning: 5e-3 at 768 units, where the paper takes 4e-3 to 1e-2."""
        return adapter_learning_rate(hidden_size, VECTOR_FACTOR)
