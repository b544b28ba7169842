"""A run of the loop with all that goes along with it: evaluations, checkpoints, events and signals.

What evaluates is a callable given from outside; this room knows nothing of metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from torch import nn

from trimtab.core.errors import STOP_ASKED, InterruptedRun, NonFiniteError
from trimtab.core.events import EventLog
from trimtab.training.checkpoints import CheckpointStore, random_states, summary, tensors_of
from trimtab.training.engine import Engine
from trimtab.training.optimizers import use_evaluation_weights, use_training_weights
from trimtab.training.records import StepRecord
from trimtab.training.sharding import make_whole
from trimtab.training.signals import StopRequest


@dataclass(frozen=True)
class Judgement:
    """What an evaluation during training gives.

    Args:
        metric: name of the metric that chooses the best checkpoint.
        value: its value.
        higher_is_better: its direction.
        values: all metrics and the loss.
        detail: what else is known of these rows: where the errors are, how exact the loss is.
        held_in: loss and metrics on a sample of training rows, in evaluation mode.
    """

    metric: str
    value: float
    higher_is_better: bool
    values: dict[str, float | None]
    detail: dict[str, Any] = field(default_factory=dict)
    held_in: dict[str, Any] = field(default_factory=dict)


class Pilot(Protocol):
    """What may change a run while it runs. Where it answers True, the run goes on another way: from an earlier step,
    or with something changed; the checkpoint of the step where it now stands is written anew.
    """

    def begin(self) -> None:
        """Called before the first step of a session; what was changed before an interruption is changed again."""

    def after_step(self, record: StepRecord) -> bool:
        """Called with each step, before it is judged."""

    def after_evaluation(self, record: StepRecord, judgement: Judgement) -> bool:
        """Called with each evaluation, after it was noted."""

    def rescue(self, error: NonFiniteError) -> bool:
        """Called in place of the end of a run whose losses or gradients are no numbers."""

    def after_save(self) -> None:
        """Called when the checkpoint of the new way is written: only now is what was done put on record.

        A record of what no checkpoint knows would mislead whoever reads it on a resume.
        """

    def end(self) -> None:
        """Called after the last step."""


class Control(Protocol):
    """What people ask of a run while it runs. Of several processes, all carry out what the first one was asked."""

    @property
    def paused(self) -> bool:
        """Whether the run is to wait."""

    @property
    def stop_asked(self) -> bool:
        """Whether it is to end here, to be resumed."""

    def begin(self) -> None:
        """Called before the first step of a session; what was changed before an interruption is changed again."""

    def requests(self) -> list[Any]:
        """Called between two steps, and while the run is paused: what was asked since. Cheap; none is given twice."""

    def carry_out(self, request: Any, session: Session) -> None:
        """Called with each of them, on every process at the same step."""

    def end(self) -> None:
        """Called when the run takes no more requests."""


PAUSED_SECONDS = 0.5
"""A paused run looks so often whether it is to go on."""


@dataclass
class Session:
    """Drives the engine to its end.

    Args:
        engine: the loop.
        model: the bare model, whose weights a checkpoint holds.
        evaluate: judges the model on the validation rows.
        store: the run's checkpoints.
        events: the run's record.
        describe_rows: turns row indices of training rows into words that lead to the user's files.
        resume_command: what to type after an interruption.
        keep_best: number of the best checkpoints that are kept, for a soup of them; with 1, that of the best.
        pilot: what may change the run while it runs, by itself.
        control: what people ask of it.
    """

    engine: Engine
    model: nn.Module
    evaluate: Callable[[], Judgement]
    store: CheckpointStore
    events: EventLog
    describe_rows: Callable[[tuple[int, ...]], str]
    resume_command: str
    keep_best: int = 1
    pilot: Pilot | None = None
    control: Control | None = None

    def run(self) -> None:
        """Train to the end.

        Raises:
            InterruptedRun: a signal came; a checkpoint was written.
            NonFiniteError, OutOfMemoryError: see `Engine.steps`.
        """
        for companion in (self.control, self.pilot):
            if companion is not None:
                companion.begin()
        try:
            with StopRequest() as stop:
                for record in self.engine.steps():
                    self._after_step(record)
                    self._attend(stop)
        finally:
            if self.control is not None:
                self.control.end()
        self.save()
        if self.pilot is not None:
            self.pilot.end()

    def _attend(self, stop: StopRequest) -> None:
        """Answer signals and requests between two steps; while the run is paused, wait here.

        Raises:
            InterruptedRun: the run is to end here; a checkpoint was written.
        """
        control, done = self.control, self.engine.is_done
        while True:
            asked = [] if control is None or done else control.requests()
            signal_name, asked = self._agreed(stop.received, asked)
            for request in asked:
                if control is not None:
                    control.carry_out(request, self)
            if self.engine.is_done:
                return
            if signal_name is None and control is not None and control.stop_asked:
                signal_name = STOP_ASKED
            if signal_name is not None:
                self.save()
                self._write("action", action="interrupted", signal=signal_name)
                raise InterruptedRun(signal_name, self.resume_command)
            if control is None or not control.paused:
                return
            time.sleep(PAUSED_SECONDS)

    def _after_step(self, record: StepRecord) -> None:
        self._write("step", **record.to_event())
        if self.pilot is not None and self.pilot.after_step(record):
            self.save_anew()
            return
        try:
            self.engine.check_finite(record, self.describe_rows)
            self._judge(record)
        except NonFiniteError as error:
            if self.pilot is None or not self.pilot.rescue(error):
                raise
            self.save_anew()

    def _judge(self, record: StepRecord) -> None:
        """Evaluate and write a checkpoint, where they are due after a step."""
        improved = False
        if self._is_due(record.step, self.engine.recipe.evaluation.every_steps):
            judgement, improved = self._evaluate(record)
            if self.pilot is not None and self.pilot.after_evaluation(record, judgement):
                self.save_anew()
                return
        every = self.engine.recipe.checkpoint.every_steps
        if (
            improved
            or self.engine.progress.stopped
            or self._is_due(record.step, every or self.engine.recipe.evaluation.every_steps)
        ):
            self.save()

    def _is_due(self, step: int, every: int | None) -> bool:
        """Whether something done every `every` steps (each epoch when None) is due after `step`."""
        return step == self.engine.total_steps or step % (every or self.engine.steps_per_epoch) == 0

    def _evaluate(self, record: StepRecord) -> tuple[Judgement, bool]:
        """Evaluate, note it, and say whether it is the best so far."""
        use_evaluation_weights(self.engine.optimizer)
        judgement = self.evaluate()
        use_training_weights(self.engine.optimizer)
        loss = judgement.values.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise NonFiniteError(
                f"Step {record.step}: the loss on the validation rows is {loss}; the weights have diverged.",
                remedy="Train again with a lower rate (--learning-rate), or with training.precision=fp32.",
            )
        self.engine.train_mode()
        progress = self.engine.progress
        improved = _is_better(judgement, progress.best_value)
        if improved:
            progress.best_value, progress.best_step = judgement.value, record.step
        progress.note_best(judgement.value, judgement.higher_is_better, self.keep_best)
        self._write(
            "evaluation",
            epoch=round(record.epoch, 4),
            split="validation",
            metric=judgement.metric,
            metrics=judgement.values,
            best=improved,
            **{name: value for name in ("detail", "held_in") if (value := getattr(judgement, name))},
        )
        if self.engine.observe(judgement.value, judgement.higher_is_better):
            self._write("action", action="early_stop", reason=progress.stopped, best_step=progress.best_step)
        return judgement, improved

    def save_anew(self, *, at_start: bool = False) -> None:
        """Write the checkpoint of the present step in place of one that is there.

        Args:
            at_start: also before the first step. What the same steps lead to again needs none there.
        """
        step = self.engine.progress.step
        if step or at_start:
            if self.engine.accelerator.is_main_process:
                self.store.discard([checkpoint.path.name for checkpoint in self.store.all() if checkpoint.step == step])
            self.save()
        if self.pilot is not None:
            self.pilot.after_save()

    def save(self) -> None:
        """Write a checkpoint of the present step, if there is none. All processes call this together."""
        accelerator = self.engine.accelerator
        random = random_states(accelerator.process_index)
        if accelerator.num_processes > 1:
            gathered: list[tuple[str, torch.Tensor]] = gather_object(list(random.items()))
            random = dict(gathered)
        tensors = tensors_of(self.model, self.engine.optimizer, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            known = {checkpoint.step for checkpoint in self.store.all()}
            checkpoint = self.store.save(
                self.model, self.engine.optimizer, self.engine.progress, random, self.engine.hooks, tensors
            )
            if checkpoint.step not in known:
                self._write("checkpoint", **summary(checkpoint))
        accelerator.wait_for_everyone()
        if self.engine.is_done:
            # What follows, the choice of the weights and their delivery, works on a plain model.
            make_whole(self.model, self.engine.optimizer)

    def _agreed(self, signal_name: str | None, asked: list[Any]) -> tuple[str | None, list[Any]]:
        """The signal that any process received, and what was asked of the first: all must act at the same step."""
        if self.engine.accelerator.num_processes == 1:
            return signal_name, asked
        told: list[tuple[str | None, list[Any]]] = gather_object([(signal_name, asked)])
        return next((name for name, _ in told if name), None), [request for _, some in told for request in some]

    def _write(self, kind: str, **fields: Any) -> None:
        if self.engine.accelerator.is_main_process:
            self.events.write(kind, self.engine.progress.step, **fields)


def _is_better(judgement: Judgement, best: float | None) -> bool:
    if not math.isfinite(judgement.value):
        return False
    if best is None:
        return True
    return judgement.value > best if judgement.higher_is_better else judgement.value < best
