"""One opened run: its record read as it grows, its numbers as tables, and what the page asks of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from trimtab.core.runs import RunDirectory
from trimtab.dashboard.reading.columns import TABLES, Columns, Tables
from trimtab.dashboard.reading.downsample import sampled, to_json
from trimtab.dashboard.reading.findings import MOST_FINDINGS, Finding, Findings, finding_of
from trimtab.dashboard.reading.places import Place
from trimtab.dashboard.reading.plain import Signature, plain, read_json, signature
from trimtab.dashboard.reading.recipes import read_recipe, with_origins
from trimtab.dashboard.reading.revisions import Revisions
from trimtab.dashboard.reading.stages import Stages
from trimtab.dashboard.reading.tail import Tail
from trimtab.dashboard.reading.words import SILENT, line_of

MOST_ACTIONS = 5000
ACTION_BYTES = 2000
"""That one takes, about."""
MOST_LINES = 5000
MOST_POINTS = 50_000
POINTS = 1500


@dataclass
class Increment:
    """What has come since a revision.

    Args:
        revision: the present one.
        tables: name -> the rows that are new; tables without new rows are left out.
        cut: rows of all tables above this step are void, before the new ones are added; None where none are.
        findings: those that are new or have changed.
        actions: those that are new.
        reload: everything is to be asked for again: the record was replaced, or the revision is not known here.
        gone: the run is gone.
    """

    revision: int
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    cut: int | None = None
    findings: list[Finding] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    reload: bool = False
    gone: bool = False

    def __bool__(self) -> bool:
        return bool(self.tables or self.cut is not None or self.findings or self.actions or self.reload or self.gone)


@dataclass
class _Record:
    """What the events told, beside numbers."""

    start: dict[str, Any] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    data_findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    actions: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_ACTIONS))
    actions_taken: int = 0
    stages: Stages = field(default_factory=Stages)
    retention: dict[str, Any] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))


class OpenRun:
    """A run that somebody looks at. Every method reads on first; what was read is not read again. Threads may share it.

    Args:
        place: where the run is; of a foreign one, where its converted record is.

    Attributes:
        size: bytes that it takes in memory, about.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._run = RunDirectory(place.record)
        self._tail = Tail(place.events)
        self._lock = threading.RLock()
        self._diagnosis: Signature | None = None
        self._gone = False
        self.size = 0
        self._begin()

    def _begin(self) -> None:
        self._tables = Tables()
        self._record = _Record()
        self._revisions = Revisions()

    def refresh(self) -> int:
        """Read what was written since the last time.

        Returns:
            The revision, which changes when anything does.
        """
        with self._lock:
            more = True
            while more:
                batch = self._tail.poll()
                more = batch.more
                if batch.replaced:
                    self._begin()
                    self._diagnosis = None
                self._tables.add_all(batch.events)
                for event in batch.events:
                    if event.get("type") not in SILENT:
                        self._take(event)
                self._gone = batch.gone and not self.place.path.is_dir()
            self._take_diagnosis()
            record = self._record
            self.size = self._tables.size + sum(map(len, record.lines)) + ACTION_BYTES * len(record.actions)
            return self._revisions.note(self._tables.counts, self._tables.take_cut(), self._record.actions_taken)

    def revision(self) -> int:
        """The revision of what was read last."""
        with self._lock:
            return self._revisions.number

    def series(
        self,
        points: int = POINTS,
        first: int | None = None,
        last: int | None = None,
        tables: Collection[str] = TABLES,
    ) -> dict[str, Any]:
        """`revision` and `tables`: about so many rows of each table, between two steps.

        Args:
            points: rows wanted of each table.
            first, last: steps, both included; None for no limit.
            tables: their names; those not known are passed over.
        """
        wanted = max(2, min(points, MOST_POINTS))
        with self._lock:
            revision = self.refresh()
            rows = {name: self._between(name, first, last) for name in TABLES if name in tables}
        found = {}
        for name, columns in rows.items():
            kept, is_sampled = sampled(columns, wanted)
            found[name] = {**to_json(kept), "sampled": is_sampled}
        return {"revision": revision, "tables": found}

    def since(self, revision: int) -> Increment:
        """What has come since a revision that `series`, `since` or `refresh` gave."""
        with self._lock:
            now = self.refresh()
            if self._gone:
                return Increment(now, gone=True)
            change = self._revisions.since(revision)
            if change is None:
                return Increment(now, reload=True)
            tables = {}
            for name, table in self._tables.by_name.items():
                start = change.counts[name]
                if change.cut is not None:
                    start = min(start, table.row_after(change.cut))
                if start < len(table):
                    tables[name] = to_json(table.columns(start))
            new = self._record.actions_taken - change.actions
            return Increment(
                revision=now,
                tables=tables,
                cut=change.cut,
                findings=[finding for finding in self._record.findings.all() if finding["index"] in change.findings],
                actions=list(self._record.actions)[-new:] if new > 0 else [],
            )

    def detail(self) -> dict[str, Any]:
        """What the page shows of a run beside its series; `summary` is added by the store."""
        run = self._run
        recipe, environment = with_origins(read_recipe(run.recipe)), read_json(run.environment)
        evaluation, retention = read_json(run.evaluation), read_json(run.path / "retention.json")
        diagnosis = read_json(run.diagnosis)
        with self._lock:
            self.refresh()
            record = self._record
            findings = record.findings.all()
            return {
                "start": record.start,
                "recipe": recipe,
                "environment": environment,
                "evaluation": evaluation,
                "findings": findings,
                "actions": list(record.actions),
                "stages": record.stages.told(self._tables.last_step if signature(self._run.evaluation) else None),
                "suspects": suspects_of(findings),
                "retention": retention or record.retention,
                "examined": diagnosis.get("examined") or [],
                "not_examined": diagnosis.get("not_examined") or {},
                "data_findings": list(record.data_findings.values()),
                "has": {
                    "predictions": signature(run.predictions) is not None,
                    "model": run.model.is_dir() and self.place.foreign is None,
                    "images": shows_images(run),
                    "log": bool(record.lines),
                },
            }

    def findings(self) -> list[Finding]:
        """The newest state of what the doctor found, the gravest first."""
        with self._lock:
            self.refresh()
            return self._record.findings.all()

    def finding(self, index: int) -> Finding | None:
        """The finding with an index; None where there is none (any more)."""
        return next((finding for finding in self.findings() if finding["index"] == index), None)

    def lines(self) -> list[str]:
        """The events in words, the oldest first."""
        with self._lock:
            self.refresh()
            return list(self._record.lines)

    def columns(self, table: str) -> Columns:
        """All rows of a table, as they are.

        Raises:
            KeyError: there is no such table.
        """
        with self._lock:
            self.refresh()
            return self._tables.by_name[table].columns()

    def _between(self, name: str, first: int | None, last: int | None) -> Columns:
        table = self._tables.by_name[name]
        return table.columns(
            0 if first is None else table.row_after(first - 1), None if last is None else table.row_after(last)
        )

    def _take(self, event: dict[str, Any]) -> None:
        kind, record = event.get("type"), self._record
        if kind == "start":
            record.start = plain(event)
        elif kind == "finding":
            self._take_finding(event)
        elif kind in ("action", "control"):
            self._take_action(event)
        elif kind == "retention":
            record.retention = plain({key: event[key] for key in event.keys() - {"type", "time", "step"}})
        line = line_of(event)
        if line is not None:
            record.lines.append(line)

    def _take_finding(self, event: dict[str, Any]) -> None:
        if event.get("by", "data") == "doctor":
            finding = self._record.findings.add(event)
            if finding is not None:
                self._revisions.touch_finding(finding["index"])
            return
        # Of one name, the data report has a finding for each split.
        finding, known = finding_of({**event, "by": "data"}), self._record.data_findings
        key = (finding["name"], finding["message"])
        if key in known or len(known) < MOST_FINDINGS:
            known[key] = finding | {"index": known[key]["index"] if key in known else len(known)}

    def _take_action(self, event: dict[str, Any]) -> None:
        action = plain(event)
        if event.get("type") == "control":
            action = {"action": "control", **action}
        self._record.actions.append(action)
        self._record.actions_taken += 1
        self._record.stages.add(event)

    def _take_diagnosis(self) -> None:
        found = signature(self._run.diagnosis)
        if found == self._diagnosis:
            return
        self._diagnosis = found
        self._record.findings.conclude(read_json(self._run.diagnosis) if found else {})
        for finding in self._record.findings.all():
            self._revisions.touch_finding(finding["index"])


def suspects_of(findings: list[Finding]) -> list[dict[str, Any]]:
    """The rows whose labels the doctor suspects."""
    return [row for finding in findings if finding["name"] == "suspect_labels" for row in finding["rows"]]


def shows_images(run: RunDirectory) -> bool:
    """Whether the rows of a run are images."""
    described = read_json(run.data / "dataset.json")
    columns = described.get("columns")
    return bool(isinstance(columns, dict) and columns.get("image")) or described.get("task") == "image-classification"


def csv_lines(columns: Columns, part_rows: int = 2000) -> Iterator[str]:
    """A table as CSV, part by part: `step`, `epoch`, `time`, then the series; empty where there is no finite number."""
    names = list(columns.series)
    yield ",".join(_csv_cell(name) for name in ("step", "epoch", "time", *names)) + "\r\n"
    for start in range(0, len(columns.step), part_rows):
        part = slice(start, start + part_rows)
        table = to_json(
            Columns(
                columns.step[part],
                columns.epoch[part],
                columns.time[part],
                {name: values[part] for name, values in columns.series.items()},
            )
        )
        rows = zip(table["step"], table["epoch"], table["time"], *table["series"].values(), strict=True)
        yield "".join(",".join("" if cell is None else repr(cell) for cell in row) + "\r\n" for row in rows)


def _csv_cell(name: str) -> str:
    """A name of a column; one that a spreadsheet would take for a formula gets a quote before it."""
    safe = f"'{name}" if name[:1] in "=+-@\t\r" else name
    return '"' + safe.replace('"', '""') + '"' if any(character in safe for character in ',"\r\n') else safe
