"""The recipe's sections on how weights are updated: optimizer and learning-rate schedule.

The options of both belong to certain names only. One that is left out takes the default of the optimizer (or shape)
that is named; one that is given for a name without it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trimtab.config.section import AUTO, Auto, Section, flag

_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
# Chen et al. 2023 (arXiv 2302.06675): rates 3 to 10 times smaller than AdamW's, and a decay larger by as much.
_LION = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.03}

OPTIMIZER_OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {**_ADAM, "weight_decay": 0.01},
    "adam": _ADAM,
    "sgd": {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    "adafactor": {"beta1": 0.0, "weight_decay": 0.01},
    "lion": _LION,
    "adamw_8bit": {**_ADAM, "weight_decay": 0.01},
    "lion_8bit": _LION,
    "schedule_free_adamw": {**_ADAM, "weight_decay": 0.01},
    "schedule_free_sgd": {"momentum": 0.9, "weight_decay": 0.0},
}
SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_sgd")

# Shapes that rise by themselves, and take no warm-up beside it.
OWN_RISE = ("one_cycle", "cyclical", "slanted_triangular")
WARMUP_RATIO = 0.1

SCHEDULE_OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {},
    "linear": {"min_factor": 0.0},
    "cosine": {"min_factor": 0.0},
    "cosine_restarts": {"cycles": 3, "min_factor": 0.0},
    "one_cycle": {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4},
    "cyclical": {"cycles": 3, "min_factor": 0.25},
    "exponential": {"min_factor": 0.01},
    "polynomial": {"power": 2.0, "min_factor": 0.0},
    "inverse_sqrt": {"timescale": None},
    "slanted_triangular": {"cut_frac": 0.1, "ratio": 32.0},
    "plateau": {"plateau_factor": 0.5, "plateau_patience": 2, "plateau_min_change": 0.0, "min_factor": 0.0},
}
for _name, _options in SCHEDULE_OPTIONS.items():
    if _name not in OWN_RISE:
        _options |= {"warmup_ratio": WARMUP_RATIO, "warmup_steps": None}


class OptimizerSection(Section):
    """How weights are updated."""

    name: Literal[
        "adamw",
        "adam",
        "sgd",
        "adafactor",
        "lion",
        "adamw_8bit",
        "lion_8bit",
        "schedule_free_adamw",
        "schedule_free_sgd",
    ] = Field(
        "adamw",
        description="Optimizer: `adamw`, Adam with decoupled weight decay; `adam`, without decay; `sgd`; "
        "`adafactor`, with little memory; `lion`, by the sign of the momentum; `adamw_8bit` and `lion_8bit`, with "
        "states of 8 bits; `schedule_free_adamw` and `schedule_free_sgd`, which average weights in place of a falling "
        "rate and want `schedule.name=constant`.",
    )
    learning_rate: Annotated[float, Field(gt=0)] | Auto = Field(
        AUTO,
        description="Peak learning rate; `auto` follows the strategy, the model's width and the optimizer.",
        json_schema_extra=flag("--learning-rate"),
    )
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="Weight decay, none on biases and norms; by default 0.01, of Lion 0.03, of SGD 0. Decoupled from "
        "the gradient, but for SGD and schedule-free SGD a part of it; `adam` has none.",
    )
    beta1: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Decay of the first moment, 0.9 by default; of Adafactor 0, which keeps none. For "
        "`schedule_free_adamw`, how near to the average the gradient is taken.",
    )
    beta2: float | None = Field(
        None, ge=0, lt=1, description="Decay of the second moment, 0.999 by default; of Lion's momentum, 0.99."
    )
    epsilon: float | None = Field(
        None, gt=0, description="Term added to the denominator of the update, 1e-8 by default; of the Adam family."
    )
    momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Momentum of SGD, 0.9 by default. For `schedule_free_sgd`, how near to the average the gradient is "
        "taken.",
    )
    nesterov: bool | None = Field(None, description="Nesterov momentum, of `sgd`; off by default.")

    @model_validator(mode="after")
    def _options_are_of_the_optimizer(self) -> OptimizerSection:
        _refuse_others(self, self.name, "optimizer", OPTIMIZER_OPTIONS, _NO_DECAY)
        if self.nesterov and not self.setting("momentum"):
            raise ValueError("nesterov needs a momentum above 0")
        average = {"schedule_free_adamw": "beta1", "schedule_free_sgd": "momentum"}.get(self.name)
        if average is not None and not self.setting(average):
            raise ValueError(f"{average} of {self.name} must be above 0: the average is worked out by dividing by it")
        return self

    def setting(self, option: str) -> Any:
        """The value of an option: that given, or the default of the optimizer named.

        Raises:
            KeyError: the optimizer has no such option.
        """
        given = getattr(self, option)
        default = OPTIMIZER_OPTIONS[self.name][option]
        return default if given is None else given


class ScheduleSection(Section):
    """How the learning rate moves over the run."""

    name: Literal[
        "linear",
        "cosine",
        "constant",
        "cosine_restarts",
        "one_cycle",
        "cyclical",
        "exponential",
        "polynomial",
        "inverse_sqrt",
        "slanted_triangular",
        "plateau",
    ] = Field(
        "linear",
        description="Shape after the warm-up: `linear`, `cosine`, `polynomial` or `exponential` decay, `inverse_sqrt`, "
        "`cosine_restarts`, `constant`, or `plateau`, which falls when the metric stops getting better. With a rise of "
        "their own: `one_cycle`, `cyclical` (triangles), `slanted_triangular`.",
    )
    warmup_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of all steps over which the rate rises from zero, 0.1 by default; none for shapes with a "
        "rise of their own.",
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="Steps over which the rate rises from zero; takes the place of `warmup_ratio`."
    )
    min_factor: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the peak rate that the shape falls to: `linear`, `cosine`, `cosine_restarts`, "
        "`polynomial` and `plateau` 0 by default, `exponential` 0.01, `cyclical` 0.25.",
    )
    cycles: int | None = Field(
        None, ge=1, description="Number of waves of `cosine_restarts`, or triangles of `cyclical`; 3 by default."
    )
    power: float | None = Field(None, gt=0, description="Exponent of `polynomial`, 2 by default; 1 is `linear`.")
    timescale: int | None = Field(
        None,
        ge=1,
        description="Steps of `inverse_sqrt` after which its decay sets in: the rate falls to 1/√2 in as many further "
        "steps; those of the warm-up by default.",
    )
    pct_start: float | None = Field(
        None, gt=0, lt=1, description="Share of the steps over which `one_cycle` rises, 0.3 by default."
    )
    div_factor: float | None = Field(None, ge=1, description="Peak rate over first rate of `one_cycle`, 25 by default.")
    final_div_factor: float | None = Field(
        None, ge=1, description="First rate over last rate of `one_cycle`, 10000 by default."
    )
    cut_frac: float | None = Field(
        None, gt=0, lt=1, description="Share of the steps over which `slanted_triangular` rises, 0.1 by default."
    )
    ratio: float | None = Field(
        None, ge=1, description="Peak rate over lowest rate of `slanted_triangular`, 32 by default."
    )
    plateau_factor: float | None = Field(
        None, gt=0, lt=1, description="What `plateau` multiplies the rate by each time, 0.5 by default."
    )
    plateau_patience: int | None = Field(
        None,
        ge=0,
        description="Evaluations in a row without a better value that `plateau` bears with, 2 by default; the rate "
        "falls at the next.",
    )
    plateau_min_change: float | None = Field(
        None, ge=0, description="Change of the metric above which a value counts as better for `plateau`, 0 by default."
    )

    @model_validator(mode="after")
    def _options_are_of_the_shape(self) -> ScheduleSection:
        _refuse_others(self, self.name, "schedule", SCHEDULE_OPTIONS, _NO_WARMUP)
        if self.name == "exponential" and self.min_factor == 0:
            raise ValueError("min_factor of exponential must be above 0: a geometric fall never reaches 0")
        no_warmup = self.warmup_steps == 0 or (self.warmup_steps is None and self.warmup_ratio == 0)
        if self.name == "inverse_sqrt" and no_warmup and self.timescale is None:
            raise ValueError("inverse_sqrt takes its time scale from the warm-up; give timescale, or a warm-up")
        return self

    def setting(self, option: str) -> Any:
        """The value of an option: that given, or the default of the shape named.

        Raises:
            KeyError: the shape has no such option.
        """
        given = getattr(self, option)
        default = SCHEDULE_OPTIONS[self.name][option]
        return default if given is None else given


def refuse_decay_of_schedule_free(optimizer: OptimizerSection, schedule: ScheduleSection) -> None:
    """See that a schedule-free optimizer keeps its rate.

    Its average of the weights stands in for the falling rate, and weighs each step by the square of the rate (Defazio
    et al. 2024, arXiv 2405.15682); a warm-up is recommended.

    Raises:
        ValueError: the schedule is another than `constant`.
    """
    if optimizer.name in SCHEDULE_FREE and schedule.name != "constant":
        raise ValueError(
            f"optimizer.name={optimizer.name} averages weights in place of a falling rate, and schedule.name is "
            f"{schedule.name!r}; set schedule.name=constant (its warm-up stays)"
        )


_NO_DECAY = {"weight_decay": "Adam would mix it into the gradient and rescale it; take adamw, or regularization.l2"}
_NO_WARMUP = dict.fromkeys(("warmup_ratio", "warmup_steps"), "it rises by itself")


def _refuse_others(
    section: Section, name: str, kind: str, table: Mapping[str, Mapping[str, Any]], reasons: Mapping[str, str]
) -> None:
    """Refuse options that were given and that the optimizer (or shape) `name` does not have.

    Raises:
        ValueError: with every such option, the reason where one is known, and the options that there are.
    """
    others = {option for options in table.values() for option in options} - set(table[name])
    fields = type(section).model_fields
    given = [option for option in fields if option in others and getattr(section, option) is not None]
    if given:
        why = "; ".join(dict.fromkeys(reasons[option] for option in given if option in reasons))
        raise ValueError(
            f"{' and '.join(given)}: not an option of the {kind} {name!r}{f' ({why})' if why else ''}; its options: "
            f"{', '.join(table[name]) or 'none'}"
        )
