"""Events in words, one line each: the log of a run that was not started here."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

from trimtab.dashboard.reading.plain import mapping, number, plain, text, whole

MOST_CHARACTERS = 2000
SILENT = ("step", "signals", "inspection")
"""Kinds of events that a chart tells better."""

Event = Mapping[str, Any]


def line_of(event: Event) -> str | None:
    """An event in words; None of one that has none."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind in SILENT:
        return None
    told = " ".join(_WORDS.get(kind, _fields)(event).split())
    step = whole(event.get("step"))
    where = "" if not step else f"step {step:,}  "
    line = f"{_clock(event.get('time'))}  {where}{text(kind)}: {told}".rstrip(": ")
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"


def _clock(time: Any) -> str:
    seconds = number(time)
    try:
        return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-" * 19


def _start(event: Event) -> str:
    resumed = "resumed, " if event.get("resumed") else ""
    facts = [f"{name} {_shown(event[name])}" for name in ("model", "task", "strategy", "device") if event.get(name)]
    steps = whole(event.get("total_steps"))
    return resumed + ", ".join(facts + ([f"{steps:,} steps"] if steps else []))


def _evaluation(event: Event) -> str:
    metrics = {name: number(value) for name, value in mapping(event.get("metrics")).items()}
    told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if not math.isnan(value))
    return f"{_shown(event.get('split', 'validation'))} {told}{' (best so far)' if event.get('best') else ''}"


def _finding(event: Event) -> str:
    remedy = f" {event['remedy']}" if isinstance(event.get("remedy"), str) else ""
    return f"{_shown(event.get('severity'))} {_shown(event.get('name'))}: {_shown(event.get('message'))}{remedy}"


def _named(field: str) -> Callable[[Event], str]:
    def words(event: Event) -> str:
        rest = _fields(event, {field})
        return f"{_shown(event.get(field))}{' ' if rest else ''}{rest}"

    return words


def _message(event: Event) -> str:
    return _shown(event.get("message", event.get("phase")))


def _end(event: Event) -> str:
    value = number(event.get("value"))
    told = "" if math.isnan(value) else f"{_shown(event.get('metric'))} {value:.4g}. "
    return told + _shown(event.get("verdict", ""))


_WORDS: dict[str, Callable[[Event], str]] = {
    "start": _start,
    "evaluation": _evaluation,
    "finding": _finding,
    "action": _named("action"),
    "control": _named("command"),
    "phase": _message,
    "end": _end,
}


def _fields(event: Event, but: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    left_out = {"type", "time", "step", *but}
    return ", ".join(
        f"{text(name)} {_shown(value)}" for name, value in event.items() if name not in left_out and value is not None
    )


def _shown(value: Any) -> str:
    """A value on one line, at most 300 characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    told = text(value) if isinstance(value, str) else str(plain(value, 4))
    return told if len(told) <= 300 else told[:299] + "…"
