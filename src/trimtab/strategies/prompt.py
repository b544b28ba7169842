"""Prompt tuning: virtual tokens before the text, whose embeddings are learned; the model is frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.strategies._peft import peft
from trimtab.strategies._prompts import INSTEAD, PromptOptions, PromptStrategy

if TYPE_CHECKING:
    from torch import nn

    from trimtab.models.blocks import Blocks


class PromptTuningOptions(PromptOptions):
    """Options of `prompt`."""


@STRATEGIES.register("prompt")
class Prompt(PromptStrategy):
    """Prompt tuning (Lester et al. 2021, arXiv 2104.08691): learned embeddings before those of the text.

    They start as embeddings of random words. A model that classifies by its first position reads that of the first
    virtual token.
    """

    Options: ClassVar[type[PluginOptions]] = PromptTuningOptions
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"convnext", "gpt2", "llama", "mistral", "mobilenet_v2", "mt5", "qwen2", "resnet", "t5", "vit"}
    )

    def config(self, model: nn.Module) -> Any:
        """Prompt tuning of the width of the word embeddings, which is not always that of the blocks."""
        embeddings: Any = cast(Any, model).get_input_embeddings()
        return peft().PromptTuningConfig(
            task_type="SEQ_CLS",
            num_virtual_tokens=self.extra_tokens,
            token_dim=int(embeddings.weight.shape[1]),
            # Of no meaning here, but looked for in configurations that name them in other words.
            num_layers=1,
            num_attention_heads=1,
            prompt_tuning_init="SAMPLE_VOCAB",
        )

    def refuse(self, model: nn.Module, blocks: Blocks) -> None:
        """Refuse models that take no embeddings in place of ids, or look for the end of the text in the ids."""
        fault = _fault_with_embeddings(model)
        if fault:
            raise RecipeError(
                f"prompt gives the model embeddings in place of ids, and {blocks.architecture} {fault}.",
                remedy=f"{INSTEAD} Decoders also take --strategy prefix.",
            )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """1e-2: few parameters, far from the output."""
        return 1e-2, "virtual tokens"


def _fault_with_embeddings(model: nn.Module) -> str:
    """What goes wrong with embeddings as input, found by trying; "" where all is well."""
    import torch

    embeddings: Any = cast(Any, model).get_input_embeddings()
    width, was_training = embeddings.weight.shape[1], model.training
    text = embeddings.weight.detach()[:3].unsqueeze(0)
    padded = torch.cat((text, text.new_zeros(1, 1, width)), dim=1)
    masks = torch.tensor([[1, 1, 1]]), torch.tensor([[1, 1, 1, 0]])
    model.eval()
    try:
        with torch.no_grad(), quiet_transformers():
            alone, beside = (
                model(inputs_embeds=rows, attention_mask=mask.to(rows.device)).logits
                for rows, mask in zip((text, padded), masks, strict=True)
            )
    except (NotImplementedError, ValueError, TypeError, RuntimeError) as error:
        return f"does not take them ({reason_of(error)})"
    finally:
        model.train(was_training)
    if not torch.allclose(alone, beside, rtol=1e-3, atol=1e-4):
        return "finds the end of a text by its ids, so that padding would change the result"
    return ""
