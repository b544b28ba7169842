"""The helm of a run: the one place where it is changed while it goes on, by the autopilot or by a person who asks.

The rules stand in `monitor.autopilot`, the changes in `training.steering`, the way back in `training.rewind`; here they
meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from trimtab.config.optimization import SCHEDULE_FREE
from trimtab.monitor.autopilot import Moment, Remedy
from trimtab.pipeline.parts import Parts
from trimtab.pipeline.resolve import hidden_size
from trimtab.regularization.criteria import Criterion, CriterionObjective
from trimtab.strategies.base import ParameterGroup, TrainingPlan, full_learning_rate
from trimtab.tasks.base import ClassificationTask
from trimtab.training.checkpoints import Checkpoint, CheckpointStore
from trimtab.training.engine import Engine
from trimtab.training.objective import TaskObjective
from trimtab.training.optimizers import auto_rate_factor
from trimtab.training.records import Progress, Steered
from trimtab.training.rewind import Rewind
from trimtab.training.steering import CannotSteerError, SetWeights, Steering


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


def build_helm(parts: Parts, engine: Engine, store: CheckpointStore) -> Helm:
    """The helm of a run.

    Args:
        parts: of the run.
        engine: over an optimizer that holds `with_reserve(parts)`.
        store: the run's checkpoints.
    """
    labels = parts.examples["train"].labels
    counts = () if labels is None else tuple(np.bincount(labels, minlength=len(parts.ground.task.labels)).tolist())
    steering = Steering(engine, _reserve(parts), class_weights_of(engine))
    return Helm(engine, steering, Rewind(engine, parts.model, store), counts)


@dataclass(frozen=True)
class Course:
    """A change of a run, ready to be made.

    Args:
        before: what is changed, as it was.
        steered: as it is to be.
        target: the state that the run goes back to; None where it goes on from where it stands.
    """

    before: Steered
    steered: Steered
    target: Checkpoint | None = None

    @property
    def back_to(self) -> int | None:
        """The step of the target."""
        return None if self.target is None else self.target.step

    def told(self) -> dict[str, Any]:
        """What changes, for the record: `before`, `after` and `back_to`; of rows, their number."""
        old, new = asdict(self.before), asdict(self.steered)
        keys = [key for key in old if old[key] != new[key]]
        plain = [{key: len(side[key]) if key == "left_out" else side[key] for key in keys} for side in (old, new)]
        return {"before": plain[0], "after": plain[1], "back_to": self.back_to}


class Helm:
    """See the module.

    Args:
        engine: the loop.
        steering: changes the run.
        rewind: takes it back.
        class_counts: training rows of each class; empty where the task has none.
    """

    def __init__(self, engine: Engine, steering: Steering, rewind: Rewind, class_counts: tuple[int, ...] = ()) -> None:
        self.engine = engine
        self.steering = steering
        self.rewind = rewind
        self.class_counts = class_counts
        self._begun = False

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self.engine.progress

    def begin(self) -> None:
        """After a resume, change again what was changed; only the first call of a session does anything."""
        if not self._begun and self.progress.steered != Steered():
            self.steering.apply()
        self._begun = True

    def moment(self, waited: int = 0) -> Moment:
        """Where the run stands, for the rules.

        Args:
            waited: evaluations in a row without a better value.
        """
        return Moment(
            step=self.progress.step,
            total_steps=self.engine.total_steps,
            learning_rate=float(self.engine.recipe.optimizer.learning_rate),
            rate_scale=self.progress.steered.rate_scale,
            waited=waited,
            class_counts=self.class_counts,
        )

    def change(self, name: str, settings: Mapping[str, Any]) -> Course:
        """A change from where the run stands.

        Args:
            name: of the change, see `Steering.changed`.
            settings: its arguments.

        Raises:
            CannotSteerError: the run does not admit it.
        """
        return Course(self.progress.steered, self.steering.changed(name, settings))

    def course(self, remedy: Remedy, latest: int | None = None) -> Course:
        """What a remedy changes, and where it begins.

        Args:
            remedy: whose rule changes something.
            latest: the last step that the run may go back to, which an action not yet settled has set.

        Raises:
            CannotSteerError: the run does not admit it, or no state is left to go back to.
        """
        course = self.change(remedy.rule.changes, remedy.settings)
        return replace(course, target=self._target(remedy, latest)) if remedy.rule.goes_back else course

    def turn(self, course: Course) -> None:
        """Make a change for good: nothing leads back from it.

        Afterwards the run needs a checkpoint of its present step, and then `close_behind`.
        """
        if course.target is not None:
            self.rewind.become(course.target)
            self.progress.steered = course.steered
            self.steering.apply()
        else:
            self.steering.set(course.steered)

    def close_behind(self, course: Course) -> None:
        """Give up the checkpoints of the way that a change left."""
        if course.target is not None:
            self.rewind.discard_after(course.target.step)

    def _target(self, remedy: Remedy, latest: int | None) -> Checkpoint:
        """The best state from before a fault began; the start where there is none, or the fault was there before it."""
        progress = self.progress
        steps = [0]
        known = progress.best_value is not None and not remedy.rule.from_start
        if known and remedy.finding.since > progress.best_step:
            # What came since an action that is not settled is given up with it.
            steps = [progress.best_step if latest is None else min(progress.best_step, latest), 0]
        for step in steps:
            checkpoint = self.rewind.state_at(step)
            if checkpoint is not None:
                return checkpoint
        raise NoStateError("no sound state is left that it could go back to")


class NoStateError(CannotSteerError):
    """A change would have to begin at an earlier state, and none is kept."""


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
