"""Runs of other programs: their records made into our events by `trimtab diagnose --events` in a process of its own.

So the dashboard needs none of the packages that read those records, and a record that kills its reader kills no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.dashboard.reading.places import LOG_FOLDERS, LOG_PATTERN, Place
from trimtab.dashboard.reading.plain import Signature, mapping, signature, text

COMMAND = (sys.executable, "-m", "trimtab.cli.main", "diagnose")
SECONDS = 300.0
"""A record that takes longer to read is given up."""
REST = 5.0
"""A record that grows is read again when so many times the seconds of the last reading have passed."""
LEAST_REST = 10.0

Sources = tuple[tuple[str, Signature], ...]


@dataclass
class _Record:
    """What is known of one foreign record: of which files it was read, how that went, and when it may be read again."""

    sources: Sources
    error: dict[str, str] | None
    next_time: float


class ForeignReader:
    """Keeps foreign records as events in a folder of its own, which `close` removes.

    Args:
        command: what is run; the path and `--events` are added to it.
        seconds: the longest that one record may take.
        least_rest: the fewest seconds between two readings of one record.
    """

    def __init__(
        self, command: Sequence[str] = COMMAND, *, seconds: float = SECONDS, least_rest: float = LEAST_REST
    ) -> None:
        self._command = tuple(command)
        self._seconds = seconds
        self._least_rest = least_rest
        self._folder = tempfile.TemporaryDirectory(prefix="trimtab-foreign-", ignore_cleanup_errors=True)
        self._records: dict[Path, _Record] = {}
        self._waiting: deque[Place] = deque()
        self._asked: set[Path] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._worker: threading.Thread | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def converted(self, place: Place) -> Place:
        """The place with the folder of the events that are, or will be, made of its record."""
        digest = hashlib.sha256(os.fsencode(place.path)).hexdigest()[:24]
        return replace(place, record=Path(self._folder.name) / digest)

    def error(self, place: Place) -> dict[str, str] | None:
        """Why the record could not be read: `message` and `remedy`; None where it could, or was not yet."""
        with self._lock:
            record = self._records.get(place.path)
            return record.error if record else None

    def request(self, place: Place) -> None:
        """Have the record read in the background, if it has changed since it was read."""
        with self._lock:
            self._ask(place)

    def ensure(self, place: Place) -> Place:
        """The converted place. The first time, it waits for the process that reads the record, before all others."""
        with self._lock:
            self._ask(place)
            if place.path not in self._records and place in self._waiting:
                self._waiting.remove(place)
                self._waiting.appendleft(place)
            # Before it there may be one that is being read.
            self._changed.wait_for(lambda: self._closed or place.path in self._records, 2 * self._seconds + 10)
        return self.converted(place)

    def close(self) -> None:
        """Stop reading, and remove what was kept."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            if self._running is not None:
                self._running.kill()
            worker = self._worker
        if worker is not None:
            worker.join(timeout=10)
        self._folder.cleanup()

    def _ask(self, place: Place) -> None:
        if self._closed or place.path in self._asked or not self._is_due(place):
            return
        self._asked.add(place.path)
        self._waiting.append(place)
        self._changed.notify_all()
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="trimtab-foreign", daemon=True)
            self._worker.start()

    def _is_due(self, place: Place) -> bool:
        record = self._records.get(place.path)
        return record is None or (time.monotonic() >= record.next_time and record.sources != sources_of(place))

    def _work(self) -> None:
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
                place = self._waiting.popleft()
            self._convert(place)

    def _convert(self, place: Place) -> None:
        sources, began = sources_of(place), time.monotonic()
        folder = self.converted(place).record
        aside = folder / ".events.tmp"
        try:
            folder.mkdir(exist_ok=True)
            error = self._run(place, aside)
            if error is None:
                aside.replace(folder / "events.jsonl")
            aside.unlink(missing_ok=True)
        except OSError as failure:
            error = _told(f"The record cannot be read: {failure}.", "Free some space for temporary files.")
        took = time.monotonic() - began
        with self._lock:
            next_time = began + took + max(self._least_rest, REST * took)
            self._records[place.path] = _Record(sources, error, next_time)
            self._asked.discard(place.path)
            self._changed.notify_all()

    def _run(self, place: Place, target: Path) -> dict[str, str] | None:
        """Write the events of a record to a file; what went wrong, or None."""
        # One process at a time is enough, and a failure comes as JSON.
        words = [*self._command, str(place.source), "--events", "--json"]
        with open(target, "wb") as out, tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=complaints)
            except OSError as error:
                return _told(f"The record cannot be read: {error}.", "Check the installation of Trimtab.")
            with self._lock:
                self._running = process
                if self._closed:
                    process.kill()
            try:
                code = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return _told(
                    f"Reading the record took more than {self._seconds:.0f} seconds.",
                    f"Look at it with: trimtab diagnose {place.source}",
                )
            finally:
                with self._lock:
                    self._running = None
            complaints.seek(0)
            said = complaints.read(1 << 16).decode("utf-8", "replace")
        return None if code == 0 else _failure(target, said, place)


def sources_of(place: Place) -> Sources:
    """The files that a foreign record is in, with what changes when they do."""
    if place.source.is_file():
        paths = [place.source]
    else:
        folders = [place.source, *(place.source / name for name in sorted(LOG_FOLDERS))]
        paths = [path for folder in folders for path in _logs(folder)]
    found = [(str(path), signature(path)) for path in paths]
    return tuple((path, kept) for path, kept in found if kept is not None)


def _logs(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if LOG_PATTERN.fullmatch(path.name))
    except OSError:
        return []


def _failure(output: Path, said: str, place: Place) -> dict[str, str]:
    """The error that the process told, as JSON in its output or as text on stderr."""
    try:
        error: Any = json.loads(output.read_text(encoding="utf-8", errors="replace"))["error"]
        told = mapping(error)
        if text(told.get("message")):
            return _told(told["message"], text(told.get("remedy")))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "no reason was given")
    return _told(f"The record cannot be read: {last}", f"Look at it with: trimtab diagnose {place.source}")


def _told(message: str, remedy: str) -> dict[str, str]:
    return {"message": message, "remedy": remedy}
