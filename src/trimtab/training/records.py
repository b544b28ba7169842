"""What the loop says of each step, and where the run stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step.

    Args:
        step: number of the step, from 1.
        epoch: passes over the data done, as a fraction, after this step.
        loss: mean loss of the step's rows; None when it was not finite.
        learning_rates: rate of each group.
        grad_norm: norm of the whole gradient before clipping; None when it was not finite.
        weight: examples (or tokens) that the loss was divided by.
        tokens: tokens without padding.
        padded_tokens: tokens with padding.
        pieces: forward passes that the step took.
        seconds: wall time of the step.
        skipped: why the weights were left as they were; None for a normal step.
        rows: row indices of a skipped step, for finding the culprit.
    """

    step: int
    epoch: float
    loss: float | None
    learning_rates: dict[str, float]
    grad_norm: float | None
    weight: int
    tokens: int
    padded_tokens: int
    pieces: int
    seconds: float
    skipped: str | None = None
    rows: tuple[int, ...] = ()

    def to_event(self) -> dict[str, Any]:
        """The fields of the step's event; those of a normal step leave out what only a skipped one has."""
        fields = asdict(self)
        del fields["step"]
        fields["epoch"] = round(self.epoch, 4)
        fields["seconds"] = round(self.seconds, 4)
        fields["samples_per_second"] = round(self.weight / self.seconds, 2) if self.seconds > 0 else None
        fields["padding_share"] = round(1 - self.tokens / self.padded_tokens, 4) if self.padded_tokens else 0.0
        if self.skipped is None:
            del fields["skipped"], fields["rows"]
        return fields


@dataclass
class Progress:
    """Where a run stands; all of it is part of a checkpoint.

    Args:
        step: optimizer steps taken.
        token_budget: the budget in force, which a lack of memory lowers.
        nonfinite_in_row: skipped steps since the last good one.
        best_value: best value of the chosen metric so far.
        best_step: step of that value.
        examples: rows trained on, with repetition.
        seconds: training time so far, over all sessions.
    """

    step: int = 0
    token_budget: int = 0
    nonfinite_in_row: int = 0
    best_value: float | None = None
    best_step: int = 0
    examples: int = 0
    seconds: float = 0.0
