"""The recipe's sections on how weights are updated: optimizer and learning-rate schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trimtab.config.section import AUTO, Auto, Section, flag


class OptimizerSection(Section):
    """How weights are updated."""

    name: Literal["adamw"] = Field("adamw", description="Optimizer: `adamw`, Adam with decoupled weight decay.")
    learning_rate: Annotated[float, Field(gt=0)] | Auto = Field(
        AUTO,
        description="Peak learning rate; `auto` follows the strategy and the model's width.",
        json_schema_extra=flag("--learning-rate"),
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay; none on biases and norms.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment.")
    epsilon: float = Field(1e-8, gt=0, description="Term added to the denominator of the update.")


class ScheduleSection(Section):
    """How the learning rate moves over the run."""

    name: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Shape after the warm-up: `linear` to zero, `cosine` to zero, or `constant`."
    )
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="Share of all steps over which the rate rises from zero.")
    warmup_steps: int | None = Field(
        None, ge=0, description="Steps over which the rate rises from zero; takes the place of `warmup_ratio`."
    )
