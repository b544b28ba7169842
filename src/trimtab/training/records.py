"""What the loop says of each step, and where the run stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from trimtab.training.watch import Watch


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
        stage: number of the strategy's stage, from 0.
        extras: what hooks said of the step, such as the value of a penalty.
        data_seconds: the part of `seconds` that the loop waited for batches: collating, and moving to the device.
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
    stage: int = 0
    extras: dict[str, float] = field(default_factory=dict)
    data_seconds: float = 0.0

    def to_event(self) -> dict[str, Any]:
        """The fields of the step's event; those of a normal step leave out what only a skipped one has."""
        fields = asdict(self)
        del fields["step"]
        fields["epoch"] = round(self.epoch, 4)
        fields["seconds"] = round(self.seconds, 4)
        fields["data_seconds"] = round(self.data_seconds, 4)
        fields["samples_per_second"] = round(self.weight / self.seconds, 2) if self.seconds > 0 else None
        fields["padding_share"] = round(1 - self.tokens / self.padded_tokens, 4) if self.padded_tokens else 0.0
        if self.skipped is None:
            del fields["skipped"], fields["rows"]
        if not self.extras:
            del fields["extras"]
        return fields


@dataclass
class Steered:
    """What was changed of a run while it ran; by default nothing.

    Args:
        rate_scale: factor on every learning rate.
        left_out: training rows (indices) that take part no more, ascending.
        frozen: names of blocks that train no more.
        unfrozen: names of blocks that train though the plan left them frozen.
        more_dropout: added to the probability of every dropout.
        weight_decay: of all groups that have any; None for that of the recipe.
        class_weights: weight of a row in the loss, by its class; None for those of the recipe.
    """

    rate_scale: float = 1.0
    left_out: list[int] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    unfrozen: list[str] = field(default_factory=list)
    more_dropout: float = 0.0
    weight_decay: float | None = None
    class_weights: list[float] | None = None


@dataclass
class Progress:
    """Where a run stands; all of it is part of a checkpoint.

    Args:
        step: optimizer steps taken.
        token_budget: the budget in force, which a lack of memory lowers.
        nonfinite_in_row: skipped steps since the last good one.
        best_value: best value of the chosen metric so far.
        best_step: step of that value.
        best: (step, value) of the best evaluations, the best first.
        examples: rows trained on, with repetition.
        seconds: training time so far, over all sessions.
        stage: number of the strategy's stage, from 0.
        stage_start: steps taken before the stage began.
        rate_reductions: times that a plateau has lowered the learning rate.
        stopped: why training ended before its last step; None when it did not.
        stage_watch: counts evaluations for stages that end on a plateau.
        rate_watch: counts them for the schedule that follows plateaus.
        stopping_watch: counts them for early stopping.
        steered: what was changed while the run ran.
        pilot: what the autopilot keeps of its actions, ready for JSON; empty without one.
    """

    step: int = 0
    token_budget: int = 0
    nonfinite_in_row: int = 0
    best_value: float | None = None
    best_step: int = 0
    best: list[tuple[int, float]] = field(default_factory=list)
    examples: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_start: int = 0
    rate_reductions: int = 0
    stopped: str | None = None
    stage_watch: Watch = field(default_factory=Watch)
    rate_watch: Watch = field(default_factory=Watch)
    stopping_watch: Watch = field(default_factory=Watch)
    steered: Steered = field(default_factory=Steered)
    pilot: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """What `dataclasses.asdict` made, as read from JSON; an older one holds nothing of steering."""
        watches = {name: Watch(**values[name]) for name in ("stage_watch", "rate_watch", "stopping_watch")}
        best = [(int(step), float(value)) for step, value in values["best"]]
        steered = Steered(**values.get("steered", {}))
        return cls(**{**values, **watches, "best": best, "steered": steered})

    def become(self, other: Progress) -> None:
        """Stand where `other` stands; all that refers to this object sees it."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(other, name))

    def note_best(self, value: float, higher_is_better: bool, count: int) -> None:
        """Keep the present step among the `count` best; of equal values, the earlier goes first."""
        if math.isfinite(value):
            ranked = sorted(
                [*self.best, (self.step, value)], key=lambda item: -item[1] if higher_is_better else item[1]
            )
            self.best = ranked[:count]
