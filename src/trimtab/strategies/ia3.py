"""IA³: keys, values and feed-forward features are rescaled by learned vectors; nothing else trains but the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.models.adapter_targets import ALL, ATTENTION, select_layers
from trimtab.strategies._adapters import VECTOR_FACTOR, AdapterOptions, AdapterStrategy, adapter_learning_rate
from trimtab.strategies._peft import peft

if TYPE_CHECKING:
    from trimtab.models.adapter_targets import Kind, Layer


class Ia3Options(AdapterOptions):
    """Options of `ia3`; `all` stands for keys, values and feed-forward features, `attention` for keys and values."""


@STRATEGIES.register("ia3")
class Ia3(AdapterStrategy):
    """Rescaled activations (Liu et al. 2022, arXiv 2205.05638).

    Vectors that start at one multiply keys and values, which are the outputs of their layers, and the widened features
    of the feed-forward part, which are the inputs of the layer that closes it. Where one layer gives queries, keys and
    values (GPT-2), all three are rescaled. Layers named in `targets` have their outputs rescaled, those that close a
    feed-forward part their inputs.
    """

    Options: ClassVar[type[PluginOptions]] = Ia3Options
    title: ClassVar[str] = "IA³"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "transposed"})
    parts: ClassVar[tuple[str, ...]] = ("ia3_l",)
    unsupported: ClassVar[frozenset[str]] = frozenset({"mobilenet_v2", "resnet"})

    def choose(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers of keys, of values, and those that close a feed-forward part; or those that are named."""
        targets = cast(Ia3Options, self.options).targets
        chosen = {layer.name for layer in select_layers(layers, set(targets) - {ALL, ATTENTION})}
        if ALL in targets or ATTENTION in targets:
            chosen |= {layer.name for layer in layers if layer.gives_keys_or_values}
        if ALL in targets:
            chosen |= {layer.name for layer in layers if layer.closes_feed_forward}
        return tuple(layer for layer in layers if layer.name in chosen)

    def config(self, layers: tuple[Layer, ...]) -> Any:
        """IA³ on these layers."""
        return peft().IA3Config(
            target_modules=[layer.name for layer in layers],
            feedforward_modules=[layer.name for layer in layers if layer.closes_feed_forward],
            fan_in_fan_out=all(layer.kind == "transposed" for layer in layers),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """A hundred times that of full fine-tuning: 5e-3 at 768 units, near the 3e-3 of the paper's larger models."""
        return adapter_learning_rate(hidden_size, VECTOR_FACTOR)
