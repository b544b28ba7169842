"""What the callbacks share: a record of a run of another program, and what the doctor says of it while it grows."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimtab.core.errors import TrimtabError
from trimtab.core.events import EventLog, read_events
from trimtab.core.files import write_json
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.coverage import not_examined
from trimtab.monitor.diagnose import all_conditions, examined
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import SEVERITIES, Finding, worst_first
from trimtab.monitor.foreign.names import main_metric
from trimtab.monitor.foreign.points import Point, events_of
from trimtab.monitor.trace import Trace

LOGGER = logging.getLogger("trimtab")
FOLDER = "trimtab_doctor"
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "act": logging.WARNING}
ROWS_IN_EVENT = 10


class Companion:
    """Records a run of another program and diagnoses it. A fault in it costs that run a log line, not its life.

    Args:
        start: fields of the `start` event, those of `Facts` that are known.
        origin: who writes the record, as in `Facts`.
        folder: where `events.jsonl` and `diagnosis.json` go; nothing is written when None.
        resumed: whether the run goes on from a checkpoint: then an earlier record is added to.
        quiet: say nothing in the log, as on all processes but the first.

    Attributes:
        findings: what is the matter at present, the gravest first.
    """

    def __init__(
        self, start: dict[str, Any], *, origin: str, folder: Path | None, resumed: bool = False, quiet: bool = False
    ) -> None:
        self.findings: list[Finding] = []
        self._quiet = quiet
        self._planned_rate = start.get("learning_rate") is not None
        self._failed: set[str] = set()
        self._conditions = all_conditions()
        self.folder = self._prepared(folder, resumed)
        earlier = list(read_events(self.folder / "events.jsonl")) if self.folder is not None else []
        self.events = EventLog(None if self.folder is None else self.folder / "events.jsonl")
        self.trace = Trace.from_events(earlier, replace(Facts.from_start(start, {}), origin=origin))
        self._told = {event["name"]: event["severity"] for event in earlier if event.get("by") == "doctor"}
        self._write("start", 0, origin=origin, **start)

    def add(self, point: Point) -> None:
        """Record what was logged after a step."""
        rate = point.train.get("learning_rate", math.nan)
        if rate > (math.inf if self._planned_rate else self.trace.facts.learning_rate or 0.0):
            self.trace.facts = replace(self.trace.facts, learning_rate=rate)
        for event in events_of(point):
            if event["type"] == "evaluation":
                event["metric"] = self._metric(event["metrics"])
            kind, step = event.pop("type"), event.pop("step")
            self._write(kind, step, **event)

    def examine(self, *, urgent: bool = False) -> list[Finding]:
        """Diagnose; say what is new or has become worse, and give it back.

        Args:
            urgent: look only for what cannot wait for an evaluation.
        """
        looks = [condition for condition in self._conditions if condition.urgent or not urgent]
        found = worst_first([finding for condition in looks for finding in self._examined(condition)])
        looked_for = {condition.name for condition in looks}
        others = [finding for finding in self.findings if finding.name not in looked_for]
        self.findings = worst_first([*found, *others])
        new = [finding for finding in found if self._is_new(finding)]
        for finding in new:
            self._told[finding.name] = finding.severity
            self._tell(finding)
        return new

    def conclude(self) -> list[Finding]:
        """The last diagnosis, written as `diagnosis.json`; gives what is new in it."""
        self._write("end", self.trace.last_step)
        new = self.examine()
        if self.folder is not None:
            missing = not_examined(self.trace, self._conditions)
            looked_for = sorted(condition.name for condition in self._conditions if condition.name not in missing)
            content = {
                "findings": [finding.to_dict() for finding in self.findings],
                "examined": looked_for,
                "not_examined": missing,
            }
            try:
                write_json(self.folder / "diagnosis.json", content)
            except TrimtabError as error:
                self._stop_writing(error)
        return new

    def say(self, level: int, text: str, *values: Any) -> None:
        """A line in the log of `trimtab`, on the first process."""
        if not self._quiet:
            LOGGER.log(level, text, *values)

    def _metric(self, logged: Iterable[str]) -> str:
        """The metric to judge by: that of the plan, or else one of the first that were logged."""
        if not self.trace.facts.metric:
            name, higher = main_metric(logged)
            self.trace.facts = replace(self.trace.facts, metric=name, higher_is_better=higher)
        return self.trace.facts.metric

    def _prepared(self, folder: Path | None, resumed: bool) -> Path | None:
        """The folder, made, without the record of an earlier run; None where it cannot be made."""
        if folder is None:
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("diagnosis.json", *(() if resumed else ("events.jsonl",))):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            self.say(logging.WARNING, "the doctor cannot write to %s (%s), and keeps no record", folder, error)
            return None
        return folder

    def _write(self, kind: str, step: int, **fields: Any) -> None:
        try:
            event = self.events.write(kind, step, **fields)
        except TrimtabError as error:
            self._stop_writing(error)
            event = self.events.write(kind, step, **fields)
        self.trace.add(event)

    def _stop_writing(self, error: TrimtabError) -> None:
        self.say(logging.WARNING, "the doctor stops writing its record: %s", error.message)
        self.events, self.folder = EventLog(None), None

    def _examined(self, condition: Condition) -> Sequence[Finding]:
        try:
            return list(examined(condition, self.trace))
        except Exception as error:  # noqa: BLE001 (a diagnosis must not end a training)
            if condition.name not in self._failed:
                self._failed.add(condition.name)
                self.say(logging.WARNING, "the doctor could not look for %s: %r", condition.name, error)
            return []

    def _is_new(self, finding: Finding) -> bool:
        known = self._told.get(finding.name)
        return known is None or SEVERITIES.index(finding.severity) > SEVERITIES.index(known)

    def _tell(self, finding: Finding) -> None:
        fields = finding.to_dict()
        del fields["series"]
        fields["rows"] = fields["rows"][:ROWS_IN_EVENT]
        self._write("finding", self.trace.last_step, by="doctor", **fields)
        remedy = f" {finding.remedy}" if finding.remedy else ""
        self.say(LEVELS[finding.severity], "%s: %s%s", finding.name, finding.message, remedy)
