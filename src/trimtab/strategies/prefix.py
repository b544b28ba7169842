"""Prefix tuning: learned keys and values before those of the text, in every layer; the model is frozen."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._peft import peft
from trimtab.strategies._prompts import INSTEAD, PromptOptions, PromptStrategy

if TYPE_CHECKING:
    from torch import nn

    from trimtab.models.blocks import Blocks


class PrefixOptions(PromptOptions):
    """Options of `prefix`."""


@STRATEGIES.register("prefix")
class Prefix(PromptStrategy):
    """Prefix tuning (Li & Liang 2021, arXiv 2101.00190), without the reparametrisation, as in P-tuning v2 (2110.07602).

    Every layer's attention finds learned keys and values before those of the text.
    """

    Options: ClassVar[type[PluginOptions]] = PrefixOptions
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"albert", "convnext", "deberta", "deberta-v2", "distilbert", "mobilenet_v2", "modernbert", "mpnet", "mt5"}
        | {"resnet", "t5", "vit"}
    )

    def config(self, model: nn.Module) -> Any:
        """Prefix tuning; `peft` reads layers, heads and width from the model's configuration."""
        return peft().PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=self.extra_tokens)

    def refuse(self, model: nn.Module, blocks: Blocks) -> None:
        """Refuse models whose attention takes no keys and values from outside, and encoder-decoders."""
        base: Any = getattr(model, getattr(model, "base_model_prefix", "") or "-", model)
        encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        if encoder_decoder or "past_key_values" not in inspect.signature(base.forward).parameters:
            raise RecipeError(
                f"prefix puts keys and values before those of the text, and {blocks.architecture} takes none from "
                "outside" + (" in its encoder." if encoder_decoder else "."),
                remedy=INSTEAD,
            )
        if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
            raise RecipeError(
                "prefix does not go with gradient checkpointing, which drops the keys and values.",
                remedy="Set training.gradient_checkpointing=false, or use --strategy lora.",
            )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """1e-2, within the range that P-tuning v2 takes for classification."""
        return 1e-2, "virtual keys and values"
