"""What is asked of a run while it runs: small files that its loop looks for between two steps.

A request is a file in the run's `control/`, written aside and renamed. The run takes the requests in the order of their
names, and answers each with an event `control`. What an earlier session of the run left there is removed unread.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.core.errors import RunError, nearest
from trimtab.core.files import disk_error, write_atomic
from trimtab.core.heartbeat import is_going_on, state_by_heartbeat
from trimtab.core.runs import RunDirectory

COMMANDS: dict[str, tuple[str, ...]] = {
    "pause": (),
    "resume": (),
    "stop": (),
    "checkpoint": (),
    "learning_rate": ("factor",),
    "remedy": ("finding", "remedy"),
}
"""Each command with the fields that it takes; `remedy` is one of the rule's names, where a finding has several."""
LEAST_FACTOR, MOST_FACTOR = 1e-4, 1e4
WAIT_SECONDS = 10.0
_LOOK_SECONDS = 0.05
# A request is a line or two: what is longer was not written by us.
_MOST_BYTES = 65536
_MOST_TEXT = 200


@dataclass(frozen=True)
class Request:
    """What is asked of a run.

    Args:
        id: by which the answer names it.
        command: one of `COMMANDS`.
        by: who asks (`cli`, `python`, `dashboard`).
        fields: those of the command.
        fault: why it cannot be read or carried out; empty where nothing is wrong with it.
    """

    id: str
    command: str
    by: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


def send(run: RunDirectory, command: str, by: str, **fields: Any) -> str:
    """Ask something of a run that goes on.

    Args:
        run: the run directory.
        command: one of `COMMANDS`.
        by: who asks.
        fields: those of the command; None is as good as absent.

    Returns:
        The id of the request, which the answer will have: an event `control`.

    Raises:
        RunError: there is no such command, a field is missing or out of range, or the run does not go on.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if fault := fault_of(command, given):
        raise RunError(f"This cannot be asked of a run: {fault}.", remedy=f"The commands are: {', '.join(COMMANDS)}.")
    refuse_unless_training(run)
    request = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    text = json.dumps({"id": request, "command": command, "by": by, **given}, ensure_ascii=False, allow_nan=False)
    try:
        run.control.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(run.control, error) from error
    write_atomic(run.control / f"{request}.json", text + "\n", durable=False)
    return request


def refuse_unless_training(run: RunDirectory) -> None:
    """See that a run goes on and takes requests.

    Raises:
        RunError: it does not, with what it does and what can be done.
    """
    state = "finished" if run.is_finished else state_by_heartbeat(run.heartbeat)
    how = _WHY_NOT.get(state)
    if how is not None:
        raise RunError(f"The run {run.path} {how[0]}.", remedy=how[1].format(run=run.path))


_RESUME = "Go on with it by: trimtab resume {run}"
_WHY_NOT: dict[str | None, tuple[str, str]] = {
    "finished": ("is finished", "Train longer in a new run: trimtab train {run}/recipe.yaml --epochs N --output DIR"),
    "finishing": ("has taken its last step, and the model is being judged and written", "Wait for its end."),
    "stopped": ("was stopped", _RESUME),
    "failed": ("has failed", _RESUME),
    "crashed": ("does not go on: its process is gone", _RESUME),
    None: ("has no heartbeat: nothing tells that it goes on", _RESUME),
}


def fault_of(command: str, fields: Mapping[str, Any]) -> str:
    """Why a command cannot be carried out in any run; empty where it can."""
    if command not in COMMANDS:
        return f"there is no command {command[:_MOST_TEXT]!r}{nearest(command, COMMANDS)}"
    unknown = [name for name in fields if name not in COMMANDS[command]]
    if unknown:
        return f"{command} takes no {unknown[0][:_MOST_TEXT]!r}"
    if command == "learning_rate" and not _is_factor(fields.get("factor")):
        return f"learning_rate needs a factor from {LEAST_FACTOR:g} to {MOST_FACTOR:,.0f}"
    if command == "remedy":
        texts = [value for value in fields.values() if isinstance(value, str) and 0 < len(value) <= _MOST_TEXT]
        if "finding" not in fields or len(texts) < len(fields):
            return "remedy needs the name of a finding"
    return ""


def _is_factor(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and LEAST_FACTOR <= value <= MOST_FACTOR


def take_requests(run: RunDirectory) -> list[Request]:
    """The requests that wait, in their order; their files are removed, so that none is carried out twice."""
    try:
        waiting = sorted(path for path in run.control.iterdir() if path.suffix == ".json")
    except OSError:
        return []
    requests = []
    for path in waiting:
        request = _read(path)
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            request = Request(request.id, request.command, request.by, request.fields, f"{error}")
        requests.append(request)
    return requests


def clear_requests(run: RunDirectory) -> None:
    """Remove what was asked of an earlier session of the run."""
    shutil.rmtree(run.control, ignore_errors=True)


def answer_to(run: RunDirectory, request: str, offset: int, seconds: float = WAIT_SECONDS) -> dict[str, Any] | None:
    """The answer to a request: the event `control`, as soon as it is there; None where none came.

    Args:
        run: the run directory.
        request: its id.
        offset: bytes of the run's events before it was sent.
        seconds: how long to wait; a run that has ended is waited for no longer.
    """
    deadline = time.monotonic() + seconds
    rest = b""
    while True:
        last = time.monotonic() >= deadline or not is_going_on(run.heartbeat)
        new = _bytes_from(run.events, offset)
        offset += len(new)
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            if event := _answer_in(line, request):
                return event
        if last:
            return None
        time.sleep(_LOOK_SECONDS)


def ask(run: RunDirectory, command: str, by: str, *, wait: float = WAIT_SECONDS, **fields: Any) -> dict[str, Any]:
    """Ask something of a run, and wait for what becomes of it.

    Args:
        run: the run directory.
        command: one of `COMMANDS`.
        by: who asks.
        wait: seconds to wait for the answer; the run answers between two steps.
        fields: those of the command.

    Returns:
        The event `control`; where no answer came in time, one with `accepted` None and the run's state as `reason`.

    Raises:
        RunError: it cannot be asked, see `send`; or the run refused it, or ended before it came to it.
    """
    offset = run.events.stat().st_size if run.events.exists() else 0
    request = send(run, command, by, **fields)
    event = answer_to(run, request, offset, wait)
    if event is None:
        if not is_going_on(run.heartbeat):
            raise RunError(
                f"The run {run.path} ended before it came to {command!r}.", remedy=_RESUME.format(run=run.path)
            )
        state = state_by_heartbeat(run.heartbeat)
        reason = f"the run is {state}, and answers between two steps"
        return {"type": "control", "id": request, "command": command, "by": by, "accepted": None, "reason": reason}
    if not event.get("accepted"):
        raise RunError(f"The run {run.path} refused {command!r}: {event.get('reason')}.", remedy="Nothing was changed.")
    return event


def _read(path: Path) -> Request:
    """A request's file, however damaged."""
    name = path.stem[:_MOST_TEXT]
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too long")
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError("it is no JSON object")
        command, by = str(told.pop("command", "")), str(told.pop("by", "")) or "unknown"
        told.pop("id", None)
    except (OSError, ValueError) as error:
        return Request(name, "unknown", "unknown", fault=f"the request cannot be read ({error})")
    fault = fault_of(command, told)
    return Request(name, command[:_MOST_TEXT], by[:_MOST_TEXT], {} if fault else told, fault)


def _bytes_from(path: Path, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""


def _answer_in(line: bytes, request: str) -> dict[str, Any] | None:
    if b'"control"' not in line or request.encode() not in line:
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("type") == "control" and event.get("id") == request else None
