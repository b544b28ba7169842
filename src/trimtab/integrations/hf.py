"""The doctor beside the Trainer of transformers: `Trainer(..., callbacks=[trimtab.DoctorCallback()])`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trimtab.integrations.companion import FOLDER, Companion
from trimtab.integrations.described import model_fields, rows_of, split_fields
from trimtab.monitor.findings import Finding
from trimtab.monitor.foreign.names import meaning_of
from trimtab.monitor.foreign.points import Point, mend_hidden
from trimtab.monitor.foreign.trainer_state import point_of

# Fewer logged losses than this over the planned run tell little of it (our choice).
FEWEST_LOGS = 20


class DoctorCallback(TrainerCallback):
    """Records what the Trainer logs, diagnoses it at each evaluation and at the end, and says what is wrong.

    New findings are told by the logger `trimtab`. The record goes to `<output_dir>/trimtab_doctor/`, so that `trimtab
    diagnose <output_dir>` reads it, during the run and after it. The doctor sees what is logged: with
    `logging_steps=1` it sees every step. With `eval_dataset={"validation": …, "train": …}`, where `train` is a sample
    of the training rows, it compares the two losses.

    >>> trainer = Trainer(..., callbacks=[trimtab.DoctorCallback()])   # doctest: +SKIP

    Args:
        stop_on_act: end the training when something is found that makes the result wrong (severity `act`).
        write: whether to write the record.

    Attributes:
        findings: what is the matter at present, the gravest first.
    """

    def __init__(self, *, stop_on_act: bool = False, write: bool = True) -> None:
        self.stop_on_act = stop_on_act
        self.write = write
        self._companion: Companion | None = None
        self._running = False
        self._evaluated = Point(0)

    @property
    def findings(self) -> list[Finding]:
        """What is the matter at present, the gravest first."""
        return [] if self._companion is None else self._companion.findings

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the record: a new one, or going on with that of the run that is resumed."""
        first = state.is_world_process_zero
        folder = Path(args.output_dir) / FOLDER if self.write and args.output_dir and first else None
        self._companion = Companion(
            _start_fields(args, state, kwargs),
            origin="trainer",
            folder=folder,
            resumed=state.global_step > 0,
            quiet=not first,
        )
        self._running, self._evaluated = True, Point(0)
        every, total = _logging_steps(args, state), state.max_steps
        if every > 1 and 0 < total < FEWEST_LOGS * every:
            self._companion.say(
                logging.WARNING,
                "the losses are logged every %d of %d steps, which is too seldom for the doctor to see much: set "
                "TrainingArguments(logging_steps=%d)",
                every,
                total,
                max(1, total // 100),
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        """Record a training loss, and look for what cannot wait."""
        point = point_of({"step": state.global_step, "epoch": state.epoch, **(logs or {})})
        if self._companion is None or not self._running or point is None or not point.train:
            return control
        mend_hidden([point])
        self._companion.add(Point(point.step, point.epoch, train=point.train))
        return self._decide(self._companion.examine(urgent=True), control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        """Record an evaluation, and diagnose."""
        point = point_of({"step": state.global_step, "epoch": state.epoch, **(metrics or {})})
        if self._companion is None or point is None or not (point.validation or point.held_in):
            return control
        rows = rows_of(kwargs.get("eval_dataloader"))
        point.rows = rows if point.validation else 0
        if rows and point.held_in:
            point.put("held_in", "rows", float(rows))
        known = self._evaluated
        if known.step == point.step:
            if not self._running:
                # After the training, perhaps on other rows.
                return control
            # One of several sets of rows, which are evaluated in turn.
            point.validation = {**known.validation, **point.validation}
            point.held_in = {**known.held_in, **point.held_in}
            point.rows = point.rows or known.rows
        self._evaluated = point
        self._companion.add(self._evaluated)
        return self._decide(self._companion.examine(), control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Diagnose for the last time."""
        if self._companion is not None and self._running:
            self._companion.conclude()
        self._running = False

    def _decide(self, new: list[Finding], control: TrainerControl) -> TrainerControl:
        """Ask for the end of the training where that is wanted. Each process comes to the same decision."""
        if self.stop_on_act and self._running and any(finding.severity == "act" for finding in new):
            control.should_training_stop = True
        return control


def _start_fields(args: TrainingArguments, state: TrainerState, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the `start` event, those that the Trainer knows."""
    total = state.max_steps if state.max_steps > 0 else None
    epochs = float(state.num_train_epochs) if state.num_train_epochs else None
    train = split_fields("train", given.get("train_dataloader"))
    model = given.get("model")
    return {
        "total_steps": total,
        "num_epochs": epochs,
        "steps_per_epoch": math.ceil(total / epochs) if total and epochs else None,
        "warmup_steps": args.get_warmup_steps(total) if total else 0,
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "max_grad_norm": args.max_grad_norm or None,
        "learning_rate": args.learning_rate,
        "device": str(args.device.type),
        **_metric(args),
        **train,
        **({} if model is None else model_fields(model)),
    }


def _metric(args: TrainingArguments) -> dict[str, Any]:
    """The metric that chooses the best weights; nothing where none is named."""
    if not args.metric_for_best_model:
        return {}
    meaning = meaning_of(f"eval_{args.metric_for_best_model.removeprefix('eval_')}")
    return {} if meaning is None else {"metric": meaning.name, "higher_is_better": bool(args.greater_is_better)}


def _logging_steps(args: TrainingArguments, state: TrainerState) -> int:
    every = state.logging_steps or args.logging_steps
    return max(1, int(every)) if isinstance(every, int | float) else 1
