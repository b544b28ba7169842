"""The doctor beside a run: what it records, what it finds while the run goes on, and what it says at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from trimtab.core.events import EventLog, read_events
from trimtab.core.files import write_json
from trimtab.core.runs import RunDirectory
from trimtab.core.seeds import stream
from trimtab.data.batching import steps_per_epoch
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.coverage import not_examined
from trimtab.monitor.diagnose import all_conditions, examined, settled
from trimtab.monitor.drift import has_drifted
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import SEVERITIES, Finding, worst_first
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.signals.depth import DepthSignals
from trimtab.monitor.signals.features import FeatureWatch
from trimtab.monitor.signals.inspection import Inspector
from trimtab.monitor.signals.row_watch import RowMemory, RowWatch
from trimtab.monitor.trace import Trace
from trimtab.pipeline.judge import judge
from trimtab.pipeline.parts import Parts
from trimtab.pipeline.retention import retention_of
from trimtab.tasks.base import ClassificationTask
from trimtab.training.engine import total_steps
from trimtab.training.session import Judgement

INSPECTED_ROWS = 8
# Between evaluations, what is urgent is looked for so many times a run, and no more often than every so many steps.
URGENT_LOOKS, URGENT_STEPS = 50, 10
ROWS_IN_EVENT = 10

Tell = Callable[..., object]


class LiveDoctor:
    """Goes along with a run. It changes neither weights nor random streams.

    Args:
        run: the run directory.
        parts: as they are before the first step, pretrained weights in the model.
        events: the run's record, which it reads and writes.
    """

    def __init__(self, run: RunDirectory, parts: Parts, events: EventLog) -> None:
        self.run = run
        self.events = events
        self.section = parts.recipe.monitor
        self.held_in = _sample(parts) if self.section.signals else None
        self._looks = all_conditions() if self.section.autopilot != "off" and parts.accelerator.is_main_process else []
        self._told: dict[str, str] = {}
        self._last_told: dict[str, Mapping[str, Any]] = {}
        self._failed: set[str] = set()
        self._inspector = self._make_inspector(parts)
        self._watch: RowWatch | None = None
        self._depth: DepthSignals | None = None
        frames = parts.ground.dataset.splits
        record = self._record(parts)
        self.trace = Trace(_facts(run, parts), rows=record, table=frames.get)
        features = None if record is None else self._make_features(parts, record)
        self._memory = None if record is None else RowMemory(record, features)
        for event in read_events(run.events):
            self._take(event)
        self._urgent_every = max(URGENT_STEPS, (self.trace.facts.total_steps or 0) // URGENT_LOOKS)
        events.listen(self._hear)

    def with_memory(self, parts: Parts) -> Parts:
        """The parts with a hook that keeps the record of the rows in checkpoints."""
        return parts if self._memory is None else replace(parts, hooks=(*parts.hooks, self._memory))

    def instrument(self, parts: Parts) -> Parts:
        """The parts with an objective and a hook that record, where signals are wanted."""
        task, recipe = parts.ground.task, parts.recipe
        if not self.section.signals:
            return parts
        memory = self._memory
        if isinstance(task, ClassificationTask) and memory is not None:
            self._watch = RowWatch(
                parts.objective, task, memory.record, _epoch_steps(parts), parts.accelerator, memory.features
            )
            memory.before_saving = self._watch.reduce
            parts = replace(parts, objective=self._watch)
        plain = recipe.training.sharding == "none" and recipe.training.compile is not True
        if plain and parts.accelerator.is_main_process:
            steps = total_steps(recipe, len(parts.examples["train"]))
            self._depth = DepthSignals(parts.model, parts.loaded.blocks, len(task.labels), steps, self._tell_signals)
            parts = replace(parts, hooks=(*parts.hooks, self._depth))
        return parts

    def judge(self, parts: Parts) -> Judgement:
        """Evaluate, also on the fixed sample of training rows, and write down what was recorded of the rows."""
        judgement = judge(parts, self.held_in)
        if self._watch is not None:
            self._watch.save(self.run.rows)
        if self._inspector is not None and _is_power_of_two(len(self.trace.evaluations) + 1):
            look = self._inspector.look()
            self.events.write("inspection", self._step, **look)
            if has_drifted(look):
                self._measure_retention(parts)
        return judgement

    def examine(self, urgent: bool = False) -> list[Finding]:
        """What is the matter now, the gravest first; what is new or has become worse is written into the record.

        Args:
            urgent: look only for what cannot wait for an evaluation.
        """
        looks = [condition for condition in self._looks if condition.urgent or not urgent]
        findings = settled([finding for condition in looks for finding in self._examined(condition)], looks)
        for finding in findings:
            known = self._told.get(finding.name)
            if known is None or SEVERITIES.index(finding.severity) > SEVERITIES.index(known):
                self._told[finding.name] = finding.severity
                self._write_finding(finding)
        return findings

    def find(self, name: str) -> Finding | None:
        """The finding of a name, whatever its severity, and also where the recipe wants no doctor; None for no such.

        One that was told, and no longer shows, is given as it was told, without its rows: a record has but a few.
        """
        looks = [condition for condition in self._looks or all_conditions() if condition.name == name]
        found = [finding for condition in looks for finding in self._examined(condition) if finding.name == name]
        if found:
            return worst_first(found)[0]
        told = self._last_told.get(name)
        return None if told is None else Finding.from_dict({**told, "rows": ()})

    def conclude(self, final: Mapping[str, Any]) -> dict[str, Any]:
        """The diagnosis of the finished run, written as `diagnosis.json`; empty where none is wanted.

        Args:
            final: content of `evaluation.json`.
        """
        self.trace.final = dict(final)
        if not self._looks:
            return {}
        findings = self.examine()
        missing = not_examined(self.trace, self._looks)
        diagnosis = {
            "findings": [finding.to_dict() for finding in findings],
            "examined": sorted(condition.name for condition in self._looks if condition.name not in missing),
            "not_examined": missing,
        }
        write_json(self.run.diagnosis, diagnosis)
        return diagnosis

    def close(self) -> None:
        """Take the hooks off the model."""
        if self._depth is not None:
            self._depth.close()
        if self._memory is not None and self._memory.features is not None:
            self._memory.features.close()

    def _measure_retention(self, parts: Parts) -> None:
        """Drift is a sign that something is being lost; the meter, too dear to be asked for nothing, tells what."""
        try:
            kept = retention_of(parts)
        except (RuntimeError, MemoryError) as error:
            # The pretrained model has to stand beside the one that trains: it may not fit.
            reason = f"{type(error).__name__}: {error}"
            self.events.write("action", self._step, action="retention_failed", reason=reason)
            return
        if kept is not None and kept.is_measured:
            self.events.write("retention", self._step, **kept.to_dict())

    @property
    def _step(self) -> int:
        return self.trace.last_step

    def _make_inspector(self, parts: Parts) -> Inspector | None:
        """What looks inside the model; nothing where its weights are spread over processes or it is compiled.

        Nor where most blocks are frozen: there is little to see, and a pass through all of them costs as much as many
        steps on kept activations.
        """
        training, body = parts.recipe.training, parts.loaded.blocks.body
        training_blocks = sum(bool(parts.plan.trained & set(block.parameters)) for block in body)
        if 2 * training_blocks < len(body):
            return None
        if self.held_in is None or training.sharding != "none" or training.compile is True:
            return None
        if not parts.accelerator.is_main_process or not isinstance(parts.model, nn.Module):
            return None
        return Inspector(
            parts.model, parts.loaded.blocks, parts.examples["train"], np.sort(self.held_in[:INSPECTED_ROWS])
        )

    def _make_features(self, parts: Parts, record: RowRecord) -> FeatureWatch | None:
        """What catches features in the first epoch, where one process has them all and they are not known yet."""
        training = parts.recipe.training
        plain = training.sharding == "none" and training.compile is not True and parts.accelerator.num_processes == 1
        if not plain:
            return None
        return FeatureWatch(parts.model, len(record.labels), parts.recipe.seed)

    def _record(self, parts: Parts) -> RowRecord | None:
        labels = parts.examples["train"].labels
        if not self.section.signals or labels is None:
            return None
        return RowRecord.empty(int(parts.recipe.training.num_epochs), labels)

    def _hear(self, event: dict[str, Any]) -> None:
        """Take note of an event as it is written, and look at the run where one is due."""
        self._take(event)
        if event["type"] == "evaluation":
            self.examine()
        elif event["type"] == "step" and event["step"] % self._urgent_every == 0:
            self.examine(urgent=True)

    def _take(self, event: Mapping[str, Any]) -> None:
        self.trace.add(event)
        if event.get("type") == "finding" and event.get("by") == "doctor":
            self._told[str(event.get("name"))] = str(event.get("severity"))
            self._last_told[str(event.get("name"))] = event

    def _examined(self, condition: Condition) -> list[Finding]:
        """The findings of a condition. A fault in it costs the run a note, not its life."""
        try:
            return list(examined(condition, self.trace))
        except Exception as error:  # noqa: BLE001 (conditions may be plugins of others)
            if condition.name not in self._failed:
                self._failed.add(condition.name)
                reason = f"{type(error).__name__}: {error}"
                self.events.write("action", self._step, action="condition_failed", condition=condition.name,
                                  reason=reason)  # fmt: skip
            return []

    def _write_finding(self, finding: Finding) -> None:
        fields = finding.to_dict()
        del fields["series"]
        fields["rows"] = fields["rows"][:ROWS_IN_EVENT]
        self.events.write("finding", self._step, by="doctor", **fields)

    def _tell_signals(self, **fields: Any) -> None:
        # The step is taken, but not yet told: it is the one after the last.
        self.events.write("signals", self._step + 1, **fields)


def _sample(parts: Parts) -> np.ndarray:
    """The training rows on which the loss is measured, in a random order."""
    count, size = len(parts.examples["train"]), parts.recipe.monitor.sample_rows
    if isinstance(size, str):
        raise ValueError("monitor.sample_rows is still 'auto': the recipe was not resolved")
    return stream(parts.recipe.seed, "held-in sample").permutation(count)[: min(size, count)]


def _facts(run: RunDirectory, parts: Parts) -> Facts:
    starts = [event for event in read_events(run.events) if event.get("type") == "start"]
    return Facts.from_start(starts[-1] if starts else {}, parts.resolved.values())


def _epoch_steps(parts: Parts) -> int:
    training = parts.recipe.training
    return steps_per_epoch(len(parts.examples["train"]), training.batch_size, training.gradient_accumulation_steps)


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
