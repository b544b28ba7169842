"""The heartbeat of a run: a small file that says every few seconds how it goes, and whether its process is alive.

The run's main process writes `heartbeat.json` from a thread, and at each change of state. Who reads it tells a run that
goes on from one whose process is gone, without comparing clocks: on the same host the process itself is looked for.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from trimtab.core.errors import InterruptedRun, RunError, TrimtabError
from trimtab.core.events import read_events
from trimtab.core.files import jsonable, write_atomic
from trimtab.core.vitals import Vitals

FORMAT = 1
SECONDS = 5.0
"""Between two beats."""
FRESH_SECONDS = 60.0
"""On another host, a run whose last beat is younger than this is taken for alive."""
ENDED = frozenset({"finished", "stopped", "failed"})
"""States of a run whose process has ended by itself."""
# Start times of a process, read by way of the clock at two moments, agree to the hundredth of a second.
_SAME_START = 2.0
# Told before, and of no use to the numbers of a heartbeat.
_LONG = ("step", "signals", "inspection")


class Heartbeat:
    """Beats while its block runs, and says at its end how that ended. A beat that cannot be written is left out.

    Args:
        path: the `heartbeat.json`; None for a process that tells nothing: of several that train, the first does.
        seconds: between two beats.
    """

    def __init__(self, path: Path | None, seconds: float = SECONDS) -> None:
        self.path = path
        self.seconds = seconds
        self.vitals = Vitals()
        self._error: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="trimtab-heartbeat", daemon=True)
        self._process = _own_process()

    def recall(self, events: Path) -> None:
        """Take up what an earlier session of the run told, without its state."""
        if self.path is not None:
            for event in read_events(events, leave_out=_LONG):
                self.vitals.hear(event)
            self.vitals.rest()

    def __enter__(self) -> Heartbeat:
        if self.path is not None:
            self._beat()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        self.vitals.state = _end_of(error)
        self._error = _words_of(error) if self.vitals.state == "failed" and error is not None else None
        if not self._beat() and self.path is not None:
            # No heartbeat is better than one that says for ever that the run goes on; removing it wants no room.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def hear(self, event: Mapping[str, Any]) -> None:
        """A listener of the run's events."""
        with self._lock:
            changed = self.vitals.hear(event)
        if changed:
            self._beat()

    @contextmanager
    def during(self, state: str) -> Iterator[None]:
        """Tell a state while the block runs, and then the one before."""
        before = self.vitals.state
        self._enter(state)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, state: str) -> None:
        self.vitals.state = state
        self._beat()

    def _go_on(self) -> None:
        while not self._done.wait(self.seconds):
            self._beat()

    def _beat(self) -> bool:
        """Write the file, or say that it could not be: a full disk is the run's to tell, where it matters to it."""
        if self.path is None:
            return False
        with self._lock, suppress(OSError, RunError, ValueError):
            told = {"format": FORMAT, **self._process, "time": round(time.time(), 3), **self.vitals.fields()}
            text = json.dumps(jsonable({**told, "error": self._error}), ensure_ascii=False, allow_nan=False)
            write_atomic(self.path, text + "\n", durable=False)
            return True
        return False


def read_heartbeat(path: Path) -> dict[str, Any] | None:
    """The last beat of a run; None where there is none, or what is there is none of ours.

    Args:
        path: the run's `heartbeat.json`.
    """
    try:
        beat = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return beat if isinstance(beat, dict) and isinstance(beat.get("state"), str) else None


def is_alive(path: Path, beat: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a beat still runs.

    On this host, a process of its number must be there and must have started when the writer did. Of another host
    nothing is known but the age of the file.

    Args:
        path: the run's `heartbeat.json`.
        beat: what `read_heartbeat` gave.
    """
    if beat.get("host") != socket.gethostname():
        return _is_fresh(path)
    try:
        process = psutil.Process(beat.get("pid"))
        # A process whose parent has not yet taken note of its end.
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        then, now = beat.get("process"), _mark_of(process.pid)
        if then and now:
            return bool(then == now)
        return abs(process.create_time() - float(beat.get("pid_started") or 0.0)) <= _SAME_START
    except psutil.AccessDenied:
        return True
    except (psutil.Error, TypeError, ValueError):
        return False


def is_going_on(path: Path) -> bool:
    """Whether a run's process is alive and has not come to its end.

    Args:
        path: the run's `heartbeat.json`.
    """
    beat = read_heartbeat(path)
    return beat is not None and beat["state"] not in ENDED and is_alive(path, beat)


def state_by_heartbeat(path: Path) -> str | None:
    """The state that the heartbeat tells; `crashed` where its process is gone, None where there is no heartbeat."""
    beat = read_heartbeat(path)
    if beat is None:
        return None
    return str(beat["state"]) if beat["state"] in ENDED or is_alive(path, beat) else "crashed"


def _is_fresh(path: Path) -> bool:
    try:
        # Either way: the other host's clock may be ahead of ours.
        return abs(time.time() - path.stat().st_mtime) < FRESH_SECONDS
    except OSError:
        return False


def _own_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "pid_started": psutil.Process(pid).create_time(),
        "process": _mark_of(pid),
        "host": socket.gethostname(),
    }


def _mark_of(pid: int) -> str | None:
    """What tells a process from every other on this host, whatever becomes of the clock; None but on Linux.

    The start of the machine, and the start of the process in clock ticks since then (proc(5), field 22).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{boot}:{fields[19]}"
    except (OSError, IndexError):
        return None


def _end_of(error: BaseException | None) -> str:
    """The last state of a run, by what ended its block."""
    if error is None:
        return "finished"
    # A signal before the first step, or a second one, comes as one of the latter two.
    return "stopped" if isinstance(error, InterruptedRun | KeyboardInterrupt | SystemExit) else "failed"


def _words_of(error: BaseException) -> dict[str, str]:
    if isinstance(error, TrimtabError):
        return {"message": " ".join([error.message, *error.problems]), "remedy": error.remedy}
    words = " ".join(str(error).split())
    return {
        "message": f"{type(error).__name__}{': ' if words else ''}{words}",
        "remedy": "The run goes on from its newest checkpoint with: trimtab resume RUN. Add --debug for the traceback.",
    }
