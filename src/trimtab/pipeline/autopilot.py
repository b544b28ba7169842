"""The autopilot: applies remedies during a run, measures what they did, and undoes what did not help.

The rules stand in `monitor.autopilot`, the changes in `training.steering`, the way back in `training.rewind`; here they
meet. Everything the autopilot remembers is a part of the run's progress, and hence of every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from trimtab.config.optimization import SCHEDULE_FREE
from trimtab.core.errors import NonFiniteError, RecipeError
from trimtab.core.events import EventLog
from trimtab.monitor.autopilot import LOWER, Moment, Pending, Remedy, State, decide, standard_error, verdict
from trimtab.monitor.findings import Finding
from trimtab.pipeline.parts import Parts
from trimtab.pipeline.resolve import hidden_size
from trimtab.regularization.criteria import Criterion, CriterionObjective
from trimtab.strategies.base import ParameterGroup, TrainingPlan, full_learning_rate
from trimtab.tasks.base import ClassificationTask
from trimtab.training.checkpoints import Checkpoint, CheckpointStore
from trimtab.training.engine import Engine
from trimtab.training.objective import TaskObjective
from trimtab.training.optimizers import auto_rate_factor
from trimtab.training.records import Progress, Steered, StepRecord
from trimtab.training.rewind import Rewind
from trimtab.training.session import Judgement
from trimtab.training.steering import CannotSteerError, SetWeights, Steering

# Between evaluations, what is urgent is looked for so many times a run, and no more often than every so many steps.
URGENT_LOOKS, URGENT_STEPS = 50, 10

Examine = Callable[[bool], Sequence[Finding]]


def refuse_unfit_autopilot(parts: Parts) -> None:
    """See, before a run directory is made, that the autopilot can act in this run.

    Raises:
        RecipeError: several processes train.
    """
    if parts.recipe.monitor.autopilot == "act" and parts.accelerator.num_processes > 1:
        raise RecipeError(
            f"monitor.autopilot: act works in one process, and {parts.accelerator.num_processes} train.",
            remedy="Use --autopilot advise, or train in one process.",
        )


def with_reserve(parts: Parts) -> TrainingPlan:
    """The plan whose groups the optimizer is to hold: where the autopilot may unfreeze blocks, also those.

    They do not train until it does, but every checkpoint holds them.
    """
    return replace(parts.plan, groups=(*parts.plan.groups, *_reserve(parts)))


def _reserve(parts: Parts) -> tuple[ParameterGroup, ...]:
    """A group for each block that the strategy `partial` leaves frozen as a whole, the lowest first."""
    recipe, plan, blocks = parts.recipe, parts.plan, parts.loaded.blocks
    if recipe.monitor.autopilot != "act" or recipe.strategy.name != "partial" or recipe.optimizer.name in SCHEDULE_FREE:
        return ()
    if plan.stages or plan.masks or blocks.shared_layers:
        return ()
    rate = full_learning_rate(hidden_size(parts.model.config))[0] * auto_rate_factor(recipe.optimizer.name)[0]
    frozen = [block for block in blocks.body if block.parameters and plan.trained.isdisjoint(block.parameters)]
    return tuple(ParameterGroup(block.name, block.parameters, rate) for block in frozen)


def build_pilot(
    parts: Parts, engine: Engine, store: CheckpointStore, events: EventLog, examine: Examine
) -> AutoPilot | None:
    """The autopilot of a run; None where the recipe wants none that acts.

    Args:
        parts: of the run.
        engine: over an optimizer that holds `with_reserve(parts)`.
        store: the run's checkpoints.
        events: the run's record.
        examine: gives what is the matter now; with True, only what cannot wait for an evaluation.
    """
    if parts.recipe.monitor.autopilot != "act":
        return None
    labels = parts.examples["train"].labels
    counts = () if labels is None else tuple(np.bincount(labels, minlength=len(parts.ground.task.labels)).tolist())
    steering = Steering(engine, _reserve(parts), class_weights_of(engine))
    task = parts.ground.task
    return AutoPilot(
        engine,
        steering,
        Rewind(engine, parts.model, store),
        events,
        examine,
        higher_is_better=task.higher_is_better(task.primary_metric(parts.recipe.evaluation.metric)),
        class_counts=counts,
    )


class AutoPilot:
    """See the module.

    Args:
        engine: the loop.
        steering: changes the run.
        rewind: takes it back.
        events: the run's record.
        examine: see `build_pilot`.
        higher_is_better: direction of the metric that chooses the best weights.
        class_counts: training rows of each class; empty where the task has none.
    """

    def __init__(
        self,
        engine: Engine,
        steering: Steering,
        rewind: Rewind,
        events: EventLog,
        examine: Examine,
        *,
        higher_is_better: bool = True,
        class_counts: tuple[int, ...] = (),
    ) -> None:
        self.engine = engine
        self.steering = steering
        self.rewind = rewind
        self.events = events
        self.examine = examine
        self.higher_is_better = higher_is_better
        self.class_counts = class_counts
        self.state = State.from_dict(engine.progress.pilot)
        # Events to be written once a checkpoint knows of them: step and fields.
        self._untold: list[tuple[int, dict[str, Any]]] = []
        self._urgent_every = max(URGENT_STEPS, engine.total_steps // URGENT_LOOKS)

    def begin(self) -> None:
        """Keep the state of the start; or, after a resume, change again what was changed."""
        pending = self.state.pending
        if self._progress.step == 0:
            self.rewind.mark_start()
        elif pending is None:
            self.rewind.forget()
        else:
            self.rewind.store.pinned |= set(pending.pinned)
        if self._progress.steered != Steered():
            self.steering.apply()

    def after_step(self, record: StepRecord) -> bool:
        """Act on what cannot wait for an evaluation."""
        if record.skipped is None and record.step % self._urgent_every:
            return False
        findings = [finding for finding in self.examine(True) if finding.severity == "act"]
        return bool(findings) and self._act_at_once(findings)

    def after_evaluation(self, record: StepRecord, judgement: Judgement) -> bool:
        """Settle the action that waits for its effect, then take the next."""
        self._note(record, judgement)
        pending, done = self.state.pending, self.engine.is_done
        if pending is not None:
            helped = verdict(pending, higher_is_better=judgement.higher_is_better, is_last=done)
            if helped is False:
                return self._undo()
            if helped:
                self._settle(pending)
        if self._progress.stopped is not None:
            return False
        return self._take(self.examine(False))

    def rescue(self, error: NonFiniteError) -> bool:
        """Act in place of the end of the run."""
        first = self._progress.step - max(0, self._progress.nonfinite_in_row - 1)
        message = str(error.message).rstrip(".")
        return self._act_at_once([Finding("divergence", "act", message, first, {}, "Lower the learning rate.")])

    def after_save(self) -> None:
        """Write down what was done."""
        for step, fields in self._untold:
            self.events.write("action", step, **fields)
        self._untold.clear()

    def end(self) -> None:
        """Remove the states that were kept."""
        self.rewind.close()

    @property
    def _progress(self) -> Progress:
        return self.engine.progress

    def _moment(self) -> Moment:
        progress, rate = self._progress, self.engine.recipe.optimizer.learning_rate
        return Moment(
            step=progress.step,
            total_steps=self.engine.total_steps,
            learning_rate=float(rate),
            rate_scale=progress.steered.rate_scale,
            waited=self.state.waited,
            class_counts=self.class_counts,
        )

    def _note(self, record: StepRecord, judgement: Judgement) -> None:
        """Keep what an evaluation gave; the loss before it is compared with that since."""
        value, loss = judgement.value, judgement.values.get("loss")
        item = {
            "step": record.step,
            "value": value if math.isfinite(value) else None,
            "loss": loss,
            "error": standard_error(value, judgement.detail, higher_is_better=judgement.higher_is_better),
            "loss_error": float(judgement.detail.get("loss_error") or 0.0),
        }
        if self.state.pending is not None:
            self.state.pending.seen.append(item)
        known = [number for number in (self.state.lowest_loss, loss) if number is not None]
        self.state.lowest_loss = min(known, default=None)
        self.state.waited = 0 if self._progress.best_step == record.step else self.state.waited + 1
        self._remember()

    def _remember(self) -> None:
        self._progress.pilot = self.state.to_dict()

    def _act_at_once(self, findings: Sequence[Finding]) -> bool:
        """Where the run goes to pieces under an action that is not settled, undo that; else take the remedy."""
        pending = self.state.pending
        if pending is not None and pending.remedy != "lower_rate":
            broken = any(finding.name in LOWER and finding.since > pending.branched for finding in findings)
            return broken and self._undo()
        return self._take(findings)

    def _take(self, findings: Sequence[Finding]) -> bool:
        """Apply the remedy that is due, passing over those that this run does not admit."""
        while (remedy := decide(findings, self.state, self._moment())) is not None:
            try:
                self._apply(remedy)
            except CannotSteerError as error:
                self.state.given_up.append(remedy.rule.remedy)
                self._remember()
                self._tell("autopilot_skip", remedy, reason=error.message)
                self.after_save()
                continue
            return True
        return False

    def _apply(self, remedy: Remedy) -> None:
        """Change the run.

        Raises:
            CannotSteerError: the run does not admit it; nothing was changed.
        """
        rule, progress = remedy.rule, self._progress
        if not rule.changes:
            progress.stopped = f"the autopilot found {remedy.finding.name}"
            self.state.taken.append((rule.remedy, progress.step))
            self._remember()
            self._tell("autopilot", remedy, reason=remedy.reason, before={}, after={"stopped": True})
            return
        steered = self.steering.changed(rule.changes, remedy.settings)
        target = self._target(remedy) if rule.goes_back else None
        before, after = _differences(progress.steered, steered)
        back_to = None if target is None else target.step
        self._tell("autopilot", remedy, reason=remedy.reason, before=before, after=after, back_to=back_to)
        earlier = self.state.pending
        if earlier is None:
            self.rewind.mark()
        pending = Pending(
            rule.remedy,
            remedy.finding.name,
            step=progress.step if earlier is None else earlier.step,
            back_to=back_to,
            value=progress.best_value if earlier is None else earlier.value,
            loss=self.state.lowest_loss if earlier is None else earlier.loss,
            pinned=sorted(self.rewind.store.pinned),
        )
        self.state.taken.append((rule.remedy, progress.step if back_to is None else back_to))
        if target is not None:
            self.rewind.go_back(target, left=None if earlier is None else earlier.branched)
            self.state.waited = 0
        self.state.pending = pending
        progress.steered = steered
        self._remember()
        self.steering.apply()

    def _target(self, remedy: Remedy) -> Checkpoint:
        """The best state from before a fault began; the start where there is none, or the fault was there before it.

        Raises:
            CannotSteerError: no such state is left.
        """
        progress, pending = self._progress, self.state.pending
        steps = [0]
        known = progress.best_value is not None and not remedy.rule.from_start
        if known and remedy.finding.since > progress.best_step:
            # What came since an action that is not settled is given up with it.
            steps = [progress.best_step if pending is None else min(progress.best_step, pending.branched), 0]
        for step in steps:
            checkpoint = self.rewind.state_at(step)
            if checkpoint is not None:
                return checkpoint
        raise CannotSteerError("no sound state is left that it could go back to")

    def _settle(self, pending: Pending) -> None:
        """The action helped, and stays."""
        self.state.pending = None
        self._remember()
        self.rewind.forget()
        self._tell_effect(pending, helped=True, undone=False)
        self.after_save()

    def _tell(self, action: str, remedy: Remedy, **fields: Any) -> None:
        names = {"action": action, "remedy": remedy.rule.remedy, "finding": remedy.finding.name}
        self._untold.append((self._progress.step, {**names, **fields}))

    def _undo(self) -> bool:
        """Take the run back to before the action, which is not tried again; False where that is not possible."""
        pending, taken = self.state.pending, self.state.taken
        if pending is None:
            return False
        given_up = [*self.state.given_up, pending.remedy]
        undone = self.rewind.can_undo()
        self._tell_effect(pending, helped=False, undone=undone)
        if undone:
            self.rewind.undo(pending.branched)
            self.state = State.from_dict(self._progress.pilot)
        self.state.pending, self.state.taken, self.state.given_up = None, taken, given_up
        self._remember()
        if undone:
            self.rewind.store.pinned.clear()
            self.steering.apply()
        else:
            self.after_save()
        return undone

    def _tell_effect(self, pending: Pending, *, helped: bool, undone: bool) -> None:
        values = [item["value"] for item in pending.seen if item["value"] is not None]
        losses = [item["loss"] for item in pending.seen if item["loss"] is not None]
        better = max if self.higher_is_better else min
        fields = {
            "action": "autopilot_effect",
            "remedy": pending.remedy,
            "finding": pending.finding,
            "before": pending.value,
            "after": better(values, default=None),
            "loss_before": pending.loss,
            "loss_after": min(losses, default=None),
            "helped": helped,
            "undone": undone,
            "back_to": pending.step if undone else None,
        }
        self._untold.append((self._progress.step, fields))


def class_weights_of(engine: Engine) -> SetWeights | None:
    """A setter of the class weights of a run's loss; None where the loss knows no classes.

    What goes along with the loss (a teacher, the record of rows) stays around it.
    """
    holder: Any = engine
    while (name := next((name for name in ("objective", "inner") if hasattr(holder, name)), None)) is not None:
        outer, key, holder = holder, name, getattr(holder, name)
    leaf, task = holder, getattr(holder, "task", None)
    if not isinstance(task, ClassificationTask):
        return None
    original = getattr(leaf, "criterion", None)
    if original is None and not isinstance(leaf, TaskObjective):
        return None

    def set_weights(weights: list[float] | None) -> None:
        tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        if original is not None:
            leaf.criterion = original if tensor is None else replace(original, weights=tensor)
        else:
            setattr(outer, key, leaf if tensor is None else CriterionObjective(task, Criterion(weights=tensor)))

    return set_weights


def _differences(before: Steered, after: Steered) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a change changes, for the record; of rows, their number."""
    old, new = asdict(before), asdict(after)
    keys = [key for key in old if old[key] != new[key]]
    plain = [{key: len(side[key]) if key == "left_out" else side[key] for key in keys} for side in (old, new)]
    return plain[0], plain[1]
