"""The recipe's section `forgetting`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trimtab.config.section import Section

Target = Literal["pooled", "tokens", "logits"]
Distance = Literal["mse", "cosine"]

# Weight of a measure -> the options that mean nothing without it.
_DEPENDENT = {
    "ewc": ("ewc_rows", "text"),
    "replay": ("replay_text", "replay_rows", "replay_mask_probability"),
    "distillation": ("distillation_target", "distillation_distance", "distillation_temperature"),
}


class ForgettingSection(Section):
    """What keeps the model from forgetting what it knew."""

    ewc: float = Field(
        0.0,
        ge=0,
        description="Weight of elastic weight consolidation: pretrained weights are held back where the Fisher "
        "information of the pretrained model says that they matter. The information is scaled to a mean of 1, so that "
        "the weight compares with that of L2-SP. 0 is off.",
    )
    ewc_rows: int = Field(256, ge=1, description="Texts (or images) on which `ewc` measures the Fisher information.")
    text: str | None = Field(
        None,
        description="File of unlabelled texts, one a line, on which `ewc` measures the Fisher information; the "
        "training rows without their labels when absent.",
    )
    replay: float = Field(
        0.0,
        ge=0,
        description="Weight of replay: the loss of the pretraining objective (masked or causal language modelling), "
        "added in every step. 0 is off.",
    )
    replay_text: str | None = Field(
        None,
        description="File of unlabelled texts, one a line, for `replay`; the training rows without their labels when "
        "absent.",
    )
    replay_rows: int = Field(16, ge=1, description="Texts that `replay` draws for each step, over all processes.")
    replay_mask_probability: float = Field(
        0.15, gt=0, lt=1, description="Share of tokens that `replay` masks, for masked language models."
    )
    distillation: float = Field(
        0.0,
        ge=0,
        description="Weight of distillation (learning without forgetting): on each training row the model is drawn "
        "towards what the frozen original makes of it. Needs memory for a second copy of the model. 0 is off.",
    )
    distillation_target: Target = Field(
        "pooled",
        description="What `distillation` compares: `pooled` (mean of the last hidden states of a row), `tokens` (each "
        "of them), or `logits` (class probabilities; only where the model keeps its original classifier).",
    )
    distillation_distance: Distance = Field(
        "mse",
        description="Distance of representations: `mse` (mean squared difference of their units) or `cosine` "
        "(1 − cosine).",
    )
    distillation_temperature: float = Field(
        2.0, gt=0, description="Temperature by which both models' logits are divided, for the target `logits`."
    )

    @model_validator(mode="after")
    def _options_belong_to_what_is_on(self) -> ForgettingSection:
        """Refuse an option whose weight is 0, or whose target is another one."""
        idle = {
            name: f"has no effect without forgetting.{weight}; give that weight a value above 0"
            for weight, names in _DEPENDENT.items()
            for name in names
            if getattr(self, weight) == 0 and self._given(name)
        }
        if not idle and self.distillation_target == "logits" and self._given("distillation_distance"):
            idle["distillation_distance"] = "is for the targets pooled and tokens; logits are compared by KL"
        if not idle and self.distillation_target != "logits" and self._given("distillation_temperature"):
            idle["distillation_temperature"] = "is for forgetting.distillation_target: logits"
        if idle:
            raise ValueError("; ".join(f"{name} {reason}" for name, reason in idle.items()))
        return self

    def _given(self, name: str) -> bool:
        """Whether an option has another value than its default (a written recipe names the defaults too)."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)
