"""Runs of a tiny model under an autopilot, with findings and evaluations that are told by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny_engine
import torch

from trimtab.core.events import EventLog, read_events
from trimtab.monitor.findings import Finding
from trimtab.pipeline.autopilot import AutoPilot
from trimtab.pipeline.helm import Helm, class_weights_of
from trimtab.strategies.base import ParameterGroup, TrainingPlan
from trimtab.training.checkpoints import CheckpointStore, restore
from trimtab.training.engine import Engine
from trimtab.training.records import Steered
from trimtab.training.rewind import Rewind
from trimtab.training.session import Judgement, Session
from trimtab.training.steering import Steering

ROWS, PER_EPOCH, EPOCHS = 48, 6, 5

Examine = Callable[[Engine, bool], list[Finding]]


class KilledError(Exception):
    """Stands for a process that is killed."""


class Run:
    """A run in a folder: its engine, session and autopilot; over the same folder again, it resumes.

    Args:
        folder: of the run.
        examine: what is found, from the engine and whether only what is urgent is asked for; None for no autopilot.
        values: the metric by step; that of the last step before where there is none.
        plan: what trains; all when None.
        reserve: groups that the optimizer holds besides.
        die_at: number of the event after which the process dies.
        sections: of the recipe.
    """

    def __init__(
        self,
        folder: Path,
        examine: Examine | None,
        values: Mapping[int, float],
        *,
        plan: TrainingPlan | None = None,
        reserve: tuple[ParameterGroup, ...] = (),
        die_at: int | None = None,
        losses: Mapping[int, float] | None = None,
        **sections: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.values, self.losses = folder, values, losses or {}
        training = {"num_epochs": EPOCHS, **sections.pop("training", {})}
        optimizer = {"learning_rate": 1e-3, **sections.pop("optimizer", {})}
        recipe = tiny_engine.make_recipe(training=training, optimizer=optimizer, **sections)
        torch.manual_seed(7)
        model = tiny_engine.make_model(dropout=0.1)
        torch.manual_seed(1)
        self.engine = tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe, plan, reserve=reserve)
        self.store = CheckpointStore(folder / "checkpoints", recipe.checkpoint.keep_last)
        newest, _ = self.store.newest_sound()
        if newest is not None:
            self.engine.progress.become(restore(newest, model, self.engine.optimizer, hooks=self.engine.hooks))
            self.engine.renew()
        events = EventLog(folder / "events.jsonl")
        steering = Steering(self.engine, reserve, class_weights_of(self.engine))
        self.helm = Helm(self.engine, steering, Rewind(self.engine, model, self.store), class_counts=(16, 16, 16))
        self.log = events
        self.pilot = None
        if examine is not None:
            self.pilot = AutoPilot(self.helm, events, lambda urgent: examine(self.engine, urgent))
        seen = 0

        def hear(event: dict[str, Any]) -> None:
            nonlocal seen
            seen += 1
            if seen == die_at:
                raise KilledError

        events.listen(hear)
        self.session = Session(
            engine=self.engine,
            model=model,
            evaluate=self._judge,
            store=self.store,
            events=events,
            describe_rows=str,
            resume_command="",
            pilot=self.pilot,
        )

    def run(self) -> dict[str, torch.Tensor]:
        """Train to the end; the last weights."""
        self.session.run()
        return tiny_engine.weights_of(self.engine.model)

    def events(self, action: str) -> list[dict[str, Any]]:
        """The `action` events of a name."""
        return [event for event in read_events(self.folder / "events.jsonl") if event.get("action") == action]

    def steps(self) -> list[int]:
        """Numbers of the steps, in the order in which they were taken."""
        return [event["step"] for event in read_events(self.folder / "events.jsonl") if event["type"] == "step"]

    def _judge(self) -> Judgement:
        step = self.engine.progress.step
        value = self.values[max(known for known in self.values if known <= step)]
        loss = self.losses.get(step, 1.0)
        detail = {"rows": 400, "loss_error": 0.01}
        return Judgement("accuracy", value, True, {"accuracy": value, "loss": loss}, detail)


def finding(name: str, since: int = 1, severity: Any = "act", **fields: Any) -> Finding:
    """A finding that calls for action."""
    return Finding(name, severity, f"There is {name}", since, {}, "Do something", **fields)


def at(step: int, *found: Finding) -> Examine:
    """Findings at the evaluation after a step while nothing is changed, and nothing else."""

    def examine(engine: Engine, urgent: bool) -> list[Finding]:
        progress = engine.progress
        return list(found) if progress.step == step and not urgent and progress.steered == Steered() else []

    return examine
