"""The append-only record of a run, one JSON object a line, that everything live reads.

Every line has `type`, `time` (seconds since the epoch) and `step`. A line is written with a single `write` call, so
that a reader sees at most one torn line, the last. After a resume, steps since the checkpoint appear again: the later
line of a step holds.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from trimtab.core.files import disk_error, jsonable

Listener = Callable[[dict[str, Any]], None]


class EventLog:
    """Appends events to a file and hands each to the listeners.

    Args:
        path: the `events.jsonl` to append to; None keeps events in memory only, for listeners.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._listeners: list[Listener] = []
        self._repair_last_line()

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each event from now on."""
        self._listeners.append(listener)

    def write(self, kind: str, step: int, **fields: Any) -> dict[str, Any]:
        """Append one event and return it.

        Raises:
            RunError: the disk is full.
        """
        event = {"type": kind, "time": round(time.time(), 3), "step": step, **jsonable(fields)}
        if self.path is not None:
            line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
            try:
                with open(self.path, "ab", buffering=0) as file:
                    # A disk that fills up takes the beginning of a line without an error.
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise disk_error(self.path, error) from error
        for listener in self._listeners:
            listener(event)
        return event

    def _repair_last_line(self) -> None:
        """End a line that a killed process left torn, so that the next event starts on its own."""
        if self.path is None or not self.path.exists() or not self.path.stat().st_size:
            return
        with open(self.path, "rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def read_events(path: Path, leave_out: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the events of a file in order; a torn or damaged line is passed over. A missing file has none.

    Args:
        path: an `events.jsonl`.
        leave_out: types that are passed over without being parsed, which of the many steps of a run saves most time.
    """
    if not path.exists():
        return
    # As `EventLog` begins its lines; one written otherwise is parsed, and yielded whatever its type.
    unwanted = tuple(f'{{"type": "{kind}",' for kind in leave_out)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if unwanted and line.startswith(unwanted):
                continue
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event
