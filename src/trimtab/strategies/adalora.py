"""AdaLoRA: low-rank updates that share one budget of ranks, given to the layers that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field, model_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.hooks import StepHook
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._adapters import (
    AdapterStrategy,
    BiasOptions,
    adapter_learning_rate,
    peft_bias,
    refuse_idle_rank,
)
from trimtab.strategies._peft import ADAPTER, peft
from trimtab.strategies._rank_budget import RankBudget, Triplets

if TYPE_CHECKING:
    from torch import nn

    from trimtab.models.adapter_targets import Kind, Layer

# `peft` wants a number before the run's length is known; it plays no part, as the schedule is ours.
_SOME_STEPS = 1_000_000


class AdaLoraOptions(BiasOptions):
    """Options of `adalora`."""

    init_r: int = Field(12, ge=2, description="Rank of every layer's update at the start.")
    target_r: int = Field(8, ge=1, description="Mean rank of a layer's update at the end; less than `init_r`.")
    alpha: float = Field(16.0, gt=0, description="Strength of the update, which is scaled by alpha / init_r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the input of the update.")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of the run before ranks are taken away.")
    final_share: float = Field(0.3, ge=0, lt=1, description="Share of the run after the last ranks were taken away.")
    interval: int = Field(10, ge=1, description="Steps from one choice of ranks to the next.")
    orthogonality: float = Field(
        0.1, ge=0, description="Weight of the penalty that keeps the singular vectors near to orthogonal."
    )

    @model_validator(mode="after")
    def _check_budget(self) -> AdaLoraOptions:
        if self.target_r >= self.init_r:
            raise ValueError(f"target_r ({self.target_r}) must be less than init_r ({self.init_r})")
        if self.warmup_share + self.final_share >= 1:
            raise ValueError("warmup_share and final_share leave no part of the run in which ranks are taken away")
        return self


@STRATEGIES.register("adalora")
class AdaLora(AdapterStrategy):
    """Adaptive low-rank adapters (Zhang et al. 2023, arXiv 2303.10512): W + (alpha / init_r) · P · Λ · Q.

    Over the run, the least important entries of the diagonal Λ are set to zero, in whichever layers they stand.
    """

    Options: ClassVar[type[PluginOptions]] = AdaLoraOptions
    title: ClassVar[str] = "AdaLoRA"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "transposed", "pointwise", "convolution"})
    parts: ClassVar[tuple[str, ...]] = ("lora_A", "lora_B", "lora_E")

    def config(self, layers: tuple[Layer, ...]) -> Any:
        """AdaLoRA on these layers.

        Raises:
            RecipeError: the rank is above that of every layer.
        """
        options = cast(AdaLoraOptions, self.options)
        refuse_idle_rank("init_r", options.init_r, layers)
        return peft().AdaLoraConfig(
            init_r=options.init_r,
            target_r=options.target_r,
            lora_alpha=options.alpha,
            lora_dropout=options.dropout,
            orth_reg_weight=options.orthogonality,
            deltaT=options.interval,
            total_step=_SOME_STEPS,
            target_modules=[layer.name for layer in layers],
            fan_in_fan_out=all(layer.kind == "transposed" for layer in layers),
            bias=peft_bias(options.bias, "lora"),
        )

    def step_hooks(self, model: nn.Module) -> tuple[StepHook, ...]:
        """The budget of ranks."""
        options = cast(AdaLoraOptions, self.options)
        layers: dict[str, Any] = {name: module for name, module in model.named_modules() if hasattr(module, "ranknum")}
        triplets = {
            name: Triplets(layer.lora_B[ADAPTER], layer.lora_E[ADAPTER], layer.lora_A[ADAPTER])
            for name, layer in layers.items()
        }
        return (
            RankBudget(
                triplets,
                target_rank=options.target_r,
                warmup_share=options.warmup_share,
                final_share=options.final_share,
                interval=options.interval,
                orthogonality=options.orthogonality,
            ),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """Forty times that of full fine-tuning, as singular values start at zero: 2e-3 at 768 units."""
        return adapter_learning_rate(hidden_size, 40)
