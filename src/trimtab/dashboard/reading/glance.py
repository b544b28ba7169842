"""A glance at `events.jsonl`: its beginning, its end and a few places between, however long it is."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trimtab.dashboard.reading.findings import Finding, finding_of
from trimtab.dashboard.reading.plain import finite, number, open_plain, whole
from trimtab.dashboard.reading.tail import parse_lines

HEAD_BYTES = 1 << 16
TAIL_BYTES = 1 << 16
MOST_NEW_BYTES = 1 << 18
"""What was written since the last glance is read whole up to so much; of more, the end is."""
FAR_TAIL_BYTES = 1 << 21
"""Searched, without being parsed, for the last evaluation where the end holds none."""
PROBES = 58
PROBE_BYTES = 1500
LINE_BYTES = 4096
"""Read beyond a probe, so that its last line is whole."""
SMALLEST_STRIDE = 256
MOST_POINTS = 60
_STEP_LINE = b'{"type": "step",'
"""As `EventLog` begins them; one written otherwise is parsed, which takes longer."""
MOST_FINDINGS = 200


@dataclass
class Glance:
    """What is known of a run's events without reading them all.

    Args:
        first_time: of the first event, seconds since the epoch.
        last_time: of the last event.
        start: the first `start` event.
        end: the `end` event, where it is the last thing told.
        last_step: the newest `step` event at the end of the file.
        evaluation: the newest `evaluation` event that was found.
        last_action: the newest `action` event at the end.
        step: the newest step.
        data_findings, findings: those that were come across, by name; of the doctor, not all of a long run.
    """

    first_time: float | None = None
    last_time: float | None = None
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    last_step: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    last_action: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    data_findings: dict[str, Finding] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    def take(self, events: list[dict[str, Any]]) -> None:
        """Take note of events, in their order; those seen before may come again."""
        for event in events:
            kind, time = event.get("type"), finite(event.get("time"))
            if time is not None:
                self.first_time = time if self.first_time is None else self.first_time
                self.last_time = time
            step = whole(event.get("step"))
            if step is not None and kind in ("step", "evaluation", "action", "end"):
                self.step = step
            if kind == "start":
                self.start = self.start or event
                self.end = {}
            elif kind == "step":
                self.last_step = event
            elif kind == "evaluation" and event.get("split", "validation") == "validation":
                self.evaluation = event
            elif kind == "action":
                self.last_action = event
            elif kind == "end":
                self.end = event
            elif kind == "finding":
                self._take_finding(event)

    def _take_finding(self, event: dict[str, Any]) -> None:
        finding = finding_of({**event, "rows": [], "series": [], "evidence": {}})
        kept = self.findings if event.get("by", "data") == "doctor" else self.data_findings
        if len(kept) < MOST_FINDINGS:
            kept[finding["name"]] = finding


class Glancer:
    """Glances at one file again and again; what was read once is not read anew.

    Args:
        path: the `events.jsonl`.

    Attributes:
        glance: what was seen.
        curve: step and training loss, at most `MOST_POINTS` points: means over a few neighbouring steps.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self.glance = Glance()
        self._seen_to = 0
        self._sure_below = 0
        self._stride = SMALLEST_STRIDE
        self._probed: dict[int, tuple[int, float] | None] = {}
        self._size = 0
        self.curve: list[list[float]] = []

    def look(self) -> Glance:
        """Glance at the file as it is now; an empty glance where it cannot be read."""
        try:
            with open_plain(self.path) as file:
                found = os.fstat(file.fileno())
                identity = (found.st_dev, found.st_ino)
                if self._identity != identity or found.st_size < self._size:
                    self._begin()
                self._identity, self._size = identity, found.st_size
                self._read(file, found.st_size)
                self.curve = self._curve()
        except (OSError, ValueError):
            self._identity = None
            self._begin()
        return self.glance

    def _curve(self) -> list[list[float]]:
        points: list[tuple[int, float]] = []
        for offset in sorted(self._probed):
            point = self._probed[offset]
            if point is not None:
                _put(points, *point)
        last, loss = whole(self.glance.last_step.get("step")), number(self.glance.last_step.get("loss"))
        if last is not None and math.isfinite(loss) and (not points or last > points[-1][0]):
            points.append((last, loss))
        return [[step, float(f"{value:.5g}")] for step, value in points[-MOST_POINTS:]]

    def _read(self, file: IO[bytes], size: int) -> None:
        if not self._seen_to:
            self._take(_read_at(file, 0, HEAD_BYTES), 0)
        if size - self._seen_to <= MOST_NEW_BYTES:
            self._take(_read_at(file, self._seen_to, size - self._seen_to), self._seen_to)
        else:
            start = size - TAIL_BYTES
            data = _read_at(file, start, TAIL_BYTES)
            begin = data.find(b"\n") + 1
            self._take(data[begin:] if begin else b"", start + begin)
            if not self.glance.evaluation:
                self._find_evaluation(file, start)
        self._probe(file, size)

    def _take(self, data: bytes, offset: int) -> None:
        """Take the whole lines of a stretch that begins with a line."""
        length = data.rfind(b"\n") + 1
        self.glance.take(parse_lines(_without_charts(data[:length])))
        self._seen_to = offset + length

    def _find_evaluation(self, file: IO[bytes], stop: int) -> None:
        """The last evaluation before the tail, searched backwards."""
        first = max(0, stop - FAR_TAIL_BYTES)
        data = _read_at(file, first, stop - first)
        place = data.rfind(b'"type": "evaluation"')
        if place < 0:
            return
        begin, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
        found = parse_lines(data[begin : end if end >= 0 else len(data)])
        if found and found[0].get("type") == "evaluation":
            self.glance.evaluation = found[0]

    def _probe(self, file: IO[bytes], size: int) -> None:
        """Read the places that are due: a grid whose meshes double as the file grows, so that none is read twice."""
        while size // self._stride > PROBES:
            self._stride *= 2
        # At the end, a line may not have been whole.
        self._probed = {
            offset: point
            for offset, point in self._probed.items()
            if offset % self._stride == 0 and offset < self._sure_below
        }
        self._sure_below = size - PROBE_BYTES - LINE_BYTES
        length = min(PROBE_BYTES, self._stride)
        for offset in range(0, size - length, self._stride):
            if offset not in self._probed:
                self._probed[offset] = _loss_at(file, offset, length)


def _without_charts(lines: bytes) -> bytes:
    """The lines without those of the steps, but for the last: most of a record, and here of no use."""
    told = lines.split(b"\n")
    last = next((index for index in reversed(range(len(told))) if told[index].startswith(_STEP_LINE)), -1)
    return b"\n".join(line for index, line in enumerate(told) if index == last or not line.startswith(_STEP_LINE))


def _loss_at(file: IO[bytes], offset: int, length: int) -> tuple[int, float] | None:
    """The last step and the mean loss of the lines that begin in a stretch of the file; None where no step does."""
    before = 1 if offset else 0
    data = _read_at(file, offset - before, before + length + LINE_BYTES)
    begin = data.find(b"\n") + 1 if before else 0
    if (before and not begin) or begin > length + before - 1:
        return None
    end = data.find(b"\n", before + length - 1)
    lines = data[begin:] if end < 0 else data[begin:end]
    losses, last = [], None
    for event in parse_lines(lines):
        step, loss = whole(event.get("step")), number(event.get("loss"))
        if event.get("type") == "step" and step is not None:
            if last is not None and step <= last:
                losses = []
            last = step
            losses += [loss] if math.isfinite(loss) else []
    return (last, sum(losses) / len(losses)) if last is not None and losses else None


def _put(points: list[tuple[int, float]], step: int, loss: float) -> None:
    """Add a point; those of its step and beyond were before the run was resumed or went back."""
    while points and points[-1][0] >= step:
        points.pop()
    points.append((step, loss))


def _read_at(file: IO[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    parts = b""
    while length > 0 and (part := file.read(length)):
        parts += part
        length -= len(part)
    return parts
