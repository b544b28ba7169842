"""Whether a run goes on, told by its heartbeat and its process. Clocks of two machines are never compared."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trimtab.core.heartbeat import is_alive
from trimtab.dashboard.reading.plain import Signature, mapping, whole

SILENCE_SECONDS = 60.0
"""A run on another machine, or of a version without heartbeats, whose files stand still for so long is gone."""
ALIVE_STATES = ("preparing", "running", "evaluating", "paused", "finishing")


class Freshness:
    """How long files have stood still, by our own clock.

    A file is first judged by the time written on it; from then on by when it was seen to change, so that a clock that
    was set, or that of another machine, leads astray for a minute at most.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._seen: dict[Path, tuple[Signature, float]] = {}

    def is_fresh(self, path: Path, found: Signature | None) -> bool:
        """Whether a file with this signature changed within the last `SILENCE_SECONDS`."""
        if found is None:
            self._seen.pop(path, None)
            return False
        now, known = self._clock(), self._seen.get(path)
        if known is None:
            age = max(0.0, self._wall_clock() - found[2] / 1e9)
            known = (found, now - age)
        elif known[0] != found:
            known = (found, now)
        self._seen[path] = known
        return now - known[1] < SILENCE_SECONDS

    def forget(self, folder: Path) -> None:
        """Drop what is known of the files in a folder."""
        for path in [path for path in self._seen if path.parent == folder]:
            del self._seen[path]


def is_process_alive(path: Path, heartbeat: Mapping[str, Any], *, is_fresh: bool) -> bool:
    """Whether the process that wrote a heartbeat is still there.

    Args:
        path: the `heartbeat.json`.
        heartbeat: its content.
        is_fresh: whether the file changed lately; it decides where the process is on another machine.
    """
    if heartbeat.get("host") != socket.gethostname() or not whole(heartbeat.get("pid")):
        return is_fresh
    try:
        return is_alive(path, heartbeat)
    except OverflowError:  # no process has such a number
        return False


def state_of(
    *, is_finished: bool, heartbeat: Mapping[str, Any], process_lives: bool, was_interrupted: bool, is_fresh: bool
) -> str:
    """The state of a run of ours.

    Args:
        is_finished: whether there is an `evaluation.json`, which is written last.
        heartbeat: content of `heartbeat.json`; empty where there is none.
        process_lives: whether the process of the heartbeat is there.
        was_interrupted: whether the newest action told that a signal stopped the run.
        is_fresh: whether the record changed lately; it decides where there is no heartbeat.
    """
    told = heartbeat.get("state")
    if is_finished or told == "finished":
        return "finished"
    if told in ("stopped", "failed"):
        return str(told)
    if told in ALIVE_STATES and process_lives:
        return str(told)
    if was_interrupted:
        return "stopped"
    if not heartbeat:
        return "running" if is_fresh else "crashed"
    return "crashed"


def error_of(heartbeat: Mapping[str, Any]) -> dict[str, str] | None:
    """What made a run fail: `message` and `remedy`; None where nothing is told."""
    error = mapping(heartbeat.get("error"))
    message, remedy = error.get("message"), error.get("remedy")
    if not isinstance(message, str) or not message:
        return None
    return {"message": message, "remedy": remedy if isinstance(remedy, str) else ""}
