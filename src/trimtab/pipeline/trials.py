"""Several trainings of one recipe with changes, judged on the validation rows; nothing is delivered.

What the changes leave alone is made once for all trials: the data and their report, tokens, and the output of frozen
blocks. No checkpoint is written, and the test rows are not looked at: the one who compares trials chooses by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.config.origins import ResolvedRecipe
from trimtab.config.plugins import parse_options
from trimtab.config.recipe import AUTO, Recipe
from trimtab.core.errors import RecipeError
from trimtab.core.events import EventLog, Listener
from trimtab.core.registry import STRATEGIES
from trimtab.core.seeds import seed_torch
from trimtab.pipeline.care import check_care
from trimtab.pipeline.check import check, describe_dataset
from trimtab.pipeline.describe import describe_rows
from trimtab.pipeline.judge import judge
from trimtab.pipeline.loop import build_engine
from trimtab.pipeline.parts import Groundwork, Parts, build_parts
from trimtab.pipeline.prefix import with_frozen_prefix
from trimtab.pipeline.token_rows import train_rows_in_use
from trimtab.tasks.base import Examples
from trimtab.training.checkpoints import Checkpoint, CheckpointStore
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress
from trimtab.training.session import Session

# Sections on which all trials agree: data, tokens and pretrained weights are made from them once.
SHARED = ("data", "task", "model", "output", "cache")


@dataclass(frozen=True)
class TrialResult:
    """What one trial gave.

    Args:
        changes: what it changed in the recipe, by dotted key.
        metric: name of the metric that chooses the best weights.
        value: its best value on the validation rows; None when no evaluation was finite.
        step: optimizer step of that value.
        steps: optimizer steps taken.
        seconds: wall time, the building of the model included.
        evaluations: (step, metrics) of each evaluation.
    """

    changes: dict[str, Any]
    metric: str
    value: float | None
    step: int
    steps: int
    seconds: float
    evaluations: tuple[tuple[int, dict[str, float | None]], ...]


class Trials:
    """Trainings over one data set and one pretrained model.

    Args:
        resolve: gives the recipe with some changes, by dotted key.
        source: path, id, DataFrame or `datasets` object.
        listener: called with every event.

    Raises:
        TrimtabError: whatever training would raise before its first step.
    """

    def __init__(
        self, resolve: Callable[[Mapping[str, Any]], ResolvedRecipe], source: Any, listener: Listener | None = None
    ) -> None:
        self.resolve = resolve
        self.base = resolve({})
        self.listener = listener
        self.ground, report = check(self.base, source)
        self._events().write("report", 0, report=report.to_dict(), dataset=describe_dataset(self.ground.dataset))
        report.raise_if_refused(self.base.recipe.data.force)
        self._examples: dict[tuple[str, int], dict[str, Examples]] = {}

    def run(self, changes: Mapping[str, Any]) -> TrialResult:
        """Train with some changes of the recipe.

        Args:
            changes: dotted key -> value; anything but data, task, model, output and cache.

        Raises:
            RecipeError: a change is of what all trials share, or does not fit the model.
        """
        began = time.perf_counter()
        resolved = self.resolve(changes)
        self._refuse_unshared(resolved.recipe)
        parts = self._parts(resolved)
        found: list[tuple[int, dict[str, float | None]]] = []
        progress = self._train(parts, found)
        return TrialResult(
            changes=dict(changes),
            metric=parts.ground.task.primary_metric(parts.recipe.evaluation.metric),
            value=progress.best_value,
            step=progress.best_step,
            steps=progress.step,
            seconds=time.perf_counter() - began,
            evaluations=tuple(found),
        )

    def _parts(self, resolved: ResolvedRecipe) -> Parts:
        recipe = resolved.recipe
        strategy = STRATEGIES.get(recipe.strategy.name)(parse_options("strategy", recipe.strategy))
        if strategy.stands_for_another:
            raise RecipeError(
                f"strategy: {recipe.strategy.name!r} chooses among strategies by trials of its own.",
                remedy="Name the strategies as trials, or one strategy for all.",
            )
        if recipe.training.sharding != "none":
            raise RecipeError(
                "training.sharding: trials train a whole copy in each process.",
                remedy="Leave training.sharding out of the trials; set it for the run itself.",
            )
        if recipe.monitor.autopilot == "act":
            raise RecipeError(
                "monitor.autopilot: nothing acts in a trial, so that trials compare.",
                remedy="Leave monitor.autopilot=act out of the trials; set it for the run itself.",
            )
        notes = check_care(recipe, self.ground.task, self.ground.device)
        ground: Groundwork = replace(self.ground, recipe=recipe, strategy=strategy, care_notes=notes, retention=None)
        key = (recipe.strategy.name, strategy.extra_tokens)
        parts = build_parts(resolved, ground, encoded=self._examples.get(key))
        self._examples[key] = parts.examples
        return parts

    def _train(self, parts: Parts, found: list[tuple[int, dict[str, float | None]]]) -> Progress:
        seed_torch(parts.recipe.seed, "dropout", parts.accelerator.process_index)
        progress = Progress(token_budget=int(parts.recipe.training.max_tokens_per_batch))
        events = self._events()
        kept, prefix = with_frozen_prefix(
            parts, lambda action, **fields: events.write("action", progress.step, action=action, **fields)
        )
        events.listen(
            lambda event: found.append((event["step"], event["metrics"])) if event["type"] == "evaluation" else None
        )
        train_rows_in_use(parts)
        optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
        engine = build_engine(
            kept,
            optimizer,
            progress,
            lambda action, **fields: events.write("action", progress.step, action=action, **fields),
        )
        session = Session(
            engine=engine,
            model=parts.model,
            evaluate=lambda: judge(kept),
            store=_NoStore(),
            events=events,
            describe_rows=lambda rows: describe_rows(parts, rows),
            resume_command="",
        )
        try:
            session.run()
        finally:
            if prefix is not None:
                prefix.close()
        return progress

    def _refuse_unshared(self, recipe: Recipe) -> None:
        for name in SHARED:
            mine, base = getattr(recipe, name), getattr(self.base.recipe, name)
            if mine != base and not (name == "task" and AUTO in (mine.name, base.name)):
                raise RecipeError(
                    f"{name}: trials share it, and one changes it.",
                    remedy="Run the trials of each data set and model by themselves.",
                )

    def _events(self) -> EventLog:
        events = EventLog(None)
        if self.listener is not None:
            events.listen(self.listener)
        return events


class _NoStore(CheckpointStore):
    """Keeps no checkpoints: a trial is short, and its weights are not wanted."""

    def __init__(self) -> None:
        super().__init__(Path(), 1)

    def save(self, *args: Any, **kwargs: Any) -> Checkpoint:
        """Nothing is written."""
        return Checkpoint(Path(), 0)

    def all(self) -> list[Checkpoint]:
        """As if this one were there already, so that nothing is said of it."""
        return [Checkpoint(Path(), 0)]


def run_trials(
    resolve: Callable[[Mapping[str, Any]], ResolvedRecipe],
    source: Any,
    changes: Sequence[Mapping[str, Any]],
    listener: Listener | None = None,
) -> list[TrialResult]:
    """One `TrialResult` for each of `changes`, in their order; see `Trials`."""
    trials = Trials(resolve, source, listener)
    return [trials.run(change) for change in changes]
