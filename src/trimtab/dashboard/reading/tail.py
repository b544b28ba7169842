"""Reading `events.jsonl` as it grows: by offset, each byte once, whatever happens to the file meanwhile."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trimtab.dashboard.reading.plain import open_plain

CHUNK_BYTES = 1 << 20
"""Bytes taken at once: the events of a chunk take some fifteen times as much while they are looked at."""
MOST_LINE_BYTES = 16 << 20
"""A longer line is passed over."""
CHECKED_BYTES = 64
"""At the beginning and before the offset, that are compared, to tell a file that was written anew in the same place."""


# What reads JSON fast; what it refuses (NaN, halves of characters) is read by the standard library.
_fast_loads: Callable[[str], Any] = json.loads
with contextlib.suppress(ImportError):
    _fast_loads = importlib.import_module("orjson").loads


@dataclass
class Batch:
    """What one look at the file gave.

    Args:
        events: the events of the lines that were new and whole.
        replaced: the file is another one than before, or was cut: what was read of it is void, and these events are
            the first of the new one.
        gone: there is no file, or it cannot be read.
        more: there is more to read already.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    replaced: bool = False
    gone: bool = False
    more: bool = False


class Tail:
    """The lines of a file of events, each given once.

    A last line without its end is kept until the end comes. Damaged lines, and those that are no JSON object, are
    passed over; bytes that are no UTF-8 become `�`.

    Args:
        path: the file; it need not be there yet.
        chunk_bytes: bytes read at once.
        most_line_bytes: length of the longest line that is looked at.
    """

    def __init__(self, path: Path, *, chunk_bytes: int = CHUNK_BYTES, most_line_bytes: int = MOST_LINE_BYTES) -> None:
        self.path = path
        self._chunk_bytes = chunk_bytes
        self._most_line_bytes = most_line_bytes
        self._identity: tuple[int, int] | None = None
        self._was_gone = False
        self._begin()

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    def poll(self) -> Batch:
        """Read on, at most one chunk. Never raises on account of the file."""
        try:
            with open_plain(self.path) as file:
                return self._read_on(file)
        except (OSError, ValueError):
            # What comes in its place is another file, whatever it looks like.
            self._was_gone = self._identity is not None
            return Batch(gone=True)

    def _begin(self) -> None:
        self._offset = 0
        self._partial = b""
        self._first = self._last = b""
        self._passing = False  # over a line that is too long

    def _read_on(self, file: IO[bytes]) -> Batch:
        found = os.fstat(file.fileno())
        identity = (found.st_dev, found.st_ino)
        replaced = self._identity is not None and (
            self._was_gone
            or identity != self._identity
            or found.st_size < self._offset
            or not self._is_where_it_was(file)
        )
        if replaced:
            self._begin()
        self._identity, self._was_gone = identity, False
        if found.st_size <= self._offset:
            return Batch(replaced=replaced)
        file.seek(self._offset)
        data = file.read(min(self._chunk_bytes, found.st_size - self._offset))
        self._offset += len(data)
        self._first = (self._first + data[:CHECKED_BYTES])[:CHECKED_BYTES]
        self._last = (self._last + data)[-CHECKED_BYTES:]
        return Batch(parse_lines(self._whole_lines(data)), replaced=replaced, more=self._offset < found.st_size)

    def _is_where_it_was(self, file: IO[bytes]) -> bool:
        """Whether the first bytes, and those before the offset, are what was read there."""
        for offset, known in ((0, self._first), (self._offset - len(self._last), self._last)):
            file.seek(offset)
            if file.read(len(known)) != known:
                return False
        return True

    def _whole_lines(self, data: bytes) -> bytes:
        """`data` behind what was kept, up to the end of its last line; the rest is kept."""
        if self._passing:
            end = data.find(b"\n")
            if end < 0:
                return b""
            data, self._passing = data[end + 1 :], False
        end = data.rfind(b"\n")
        lines = self._partial + data[:end] if end >= 0 else b""
        self._partial = data[end + 1 :] if end >= 0 else self._partial + data
        if len(self._partial) > self._most_line_bytes:
            self._partial, self._passing = b"", True
        return lines


def parse_lines(lines: bytes) -> list[dict[str, Any]]:
    """The JSON objects among the lines."""
    events = []
    fast_loads = _fast_loads
    for line in lines.decode("utf-8", "replace").split("\n"):
        try:
            event = fast_loads(line)
        except ValueError:
            event = _loaded(line)
        except RecursionError:
            continue
        if type(event) is dict:
            events.append(event)
    return events


def _loaded(line: str) -> Any:
    """The value in a line by the standard library; None of a damaged one."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
