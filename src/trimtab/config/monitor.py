"""The recipe's section on the doctor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trimtab.config.section import AUTO, Auto, Section, flag


class MonitorSection(Section):
    """What is recorded of a run for its diagnosis, and what is done about what is found."""

    signals: bool = Field(
        True,
        description="Record, beside losses and rates: norms of gradients and updates by depth, the loss on a fixed "
        "sample of training rows, each row's margin, dead units, attention and drift on a few rows.",
    )
    autopilot: Literal["off", "advise", "act"] = Field(
        "advise",
        description="What the doctor does: nothing; tell its findings with a remedy each; or apply remedies during the "
        "run, measure what they did, and undo what did not help.",
        json_schema_extra=flag("--autopilot"),
    )
    sample_rows: Annotated[int, Field(ge=8)] | Auto = Field(
        AUTO,
        description="Training rows on which the loss is measured in evaluation mode at each evaluation; `auto` takes "
        "2 % of them, 64 to 512.",
    )

    @model_validator(mode="after")
    def _nothing_without_signals(self) -> MonitorSection:
        if not self.signals and self.sample_rows != AUTO:
            raise ValueError("sample_rows would do nothing while signals is false")
        return self
