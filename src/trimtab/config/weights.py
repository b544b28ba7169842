"""The recipe's section on the weights that a run delivers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trimtab.config.section import Auto, Section

# Fields that only one source of weights reads.
_BELONGS_TO = {"ema_decay": "ema", "swa_start": "swa", "swa_every_steps": "swa", "soup_size": "soup"}


class WeightsSection(Section):
    """Which weights are delivered at the end."""

    source: Literal["best", "last", "ema", "swa", "soup"] = Field(
        "best",
        description="Weights delivered: those of the `best` evaluation, the `last`, their exponential moving average "
        "(`ema`), the plain average of the end of the run (`swa`), or a greedy `soup` of the best checkpoints.",
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="Decay of the moving average a step; 0.999 when absent. Lower in the first steps."
    )
    swa_start: float | None = Field(
        None, ge=0, lt=1, description="Share of the run after which `swa` begins to average; 0.5 when absent."
    )
    swa_every_steps: int | None = Field(
        None, ge=1, description="Steps between the weights that `swa` averages; one epoch when absent."
    )
    soup_size: int | None = Field(
        None, ge=2, description="Most checkpoints that a `soup` is chosen from, all of them kept; 5 when absent."
    )
    interpolation: Annotated[float, Field(gt=0, lt=1)] | Auto | None = Field(
        None,
        description="Share of the fine-tuned weights in a mixture with the pretrained ones (WiSE-FT); `auto` takes the "
        "best on the validation rows of 0.5, 0.6, …, 1. A new head stays as it was trained.",
    )

    @model_validator(mode="after")
    def _fields_belong_to_the_source(self) -> WeightsSection:
        for name, source in _BELONGS_TO.items():
            if getattr(self, name) is not None and self.source != source:
                raise ValueError(f"{name} is of source: {source}, and the source is {self.source}")
        return self
