"""What a run took and what it saved, in sentences, from its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.core.devices import GIB

History = Iterable[Mapping[str, Any]]


def effort_sentences(history: History) -> list[str]:
    """What is to be said of memory and of work that was not done twice; empty where nothing was measured."""
    events = list(history)
    return [sentence for sentence in (memory_sentence(events), prefix_sentence(events)) if sentence]


def memory_sentence(history: History) -> str:
    """The peak memory that was forecast and measured, of the last session of a run; empty where it was not watched."""
    watched = [event for event in history if event.get("type") == "memory" and event.get("measured") is not None]
    if not watched:
        return ""
    forecast, measured = watched[-1].get("forecast"), watched[-1]["measured"]
    told = "" if forecast is None else f"{forecast / GIB:.1f} GiB forecast, "
    return f"Peak memory: {told}{measured / GIB:.1f} GiB measured."


def prefix_sentence(history: History) -> str:
    """How often the output of frozen blocks was read instead of computed, over all sessions; why not, where never."""
    sessions = [event for event in history if event.get("type") == "frozen_prefix"]
    computed, served = (sum(event[key] for event in sessions) for key in ("computed", "served"))
    if not served:
        return next((note for event in sessions for note in event["notes"]), "")
    seconds = sum(event["seconds"] for event in sessions)
    made = f"ran once for {computed:,} rows ({seconds:.1f} s)" if computed else "did not run"
    return f"Frozen blocks {made}; their output was read from the cache {served:,} times."
