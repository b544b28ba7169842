"""The doctor over a record as it grew: what it would have found, and when, with the conditions of the present code.

The record of a run holds all that conditions read, so that thresholds can change without training anything again.
What the data report found is part of the record: new checks of the data want new runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from truths import truths

from trimtab.core.events import read_events
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.diagnose import all_conditions, diagnose
from trimtab.monitor.findings import SEVERITIES, Finding
from trimtab.monitor.reading import open_trace
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace

# Between evaluations, urgent conditions are looked for as often as in a live run.
URGENT_STEPS = 10


@dataclass(frozen=True)
class Told:
    """What the doctor says of a run, over its whole length.

    Args:
        last: condition -> worst severity at the end of the record.
        first: condition -> step after which it was first found with `warning` or more, in this run as it went on.
        seen: condition -> step after which it was first found with any severity.
        messages: condition -> what is said at the end.
        steps: number of recorded steps.
        true: conditions that the run has whatever was planted, see `truths`.
    """

    last: dict[str, str]
    first: dict[str, int]
    seen: dict[str, int]
    messages: dict[str, str]
    steps: int
    true: frozenset[str] = frozenset()

    @property
    def warned(self) -> set[str]:
        """Conditions found at the end with `warning` or more."""
        return {name for name, severity in self.last.items() if is_warning(severity)}


def is_warning(severity: str) -> bool:
    """Whether a severity is `warning` or more."""
    return SEVERITIES.index(severity) >= SEVERITIES.index("warning")  # type: ignore[arg-type]


def replay(path: Path, conditions: Iterable[Condition] | None = None) -> Told:
    """Diagnose a run's record at each evaluation, for urgent conditions also between them, and at the end."""
    whole, looks = open_trace(path), list(conditions or all_conditions())
    growing = Trace(whole.facts, rows=None, table=whole.table)
    first: dict[str, int] = {}
    seen: dict[str, int] = {}

    def note(found: list[Finding], step: int) -> None:
        for finding in found:
            seen.setdefault(finding.name, step)
            if is_warning(finding.severity):
                first.setdefault(finding.name, step)

    def look(urgent: bool) -> None:
        growing.rows = _until(whole, growing)
        note(diagnose(growing, [c for c in looks if c.urgent or not urgent]), growing.last_step)

    due = False
    for event in read_events(path / "events.jsonl"):
        # What is recorded with an evaluation is written after it: look when the next step begins.
        if due and event.get("type") == "step":
            look(urgent=False)
            due = False
        growing.add(event)
        due = due or event.get("type") == "evaluation"
        if event.get("type") == "step" and event["step"] % URGENT_STEPS == 0:
            look(urgent=True)
    found = diagnose(whole, looks)
    note(found, whole.last_step)
    messages = {finding.name: finding.message for finding in reversed(found)}
    return Told(_worst(found), first, seen, messages, len(whole.steps), frozenset(truths(whole)))


def _worst(found: list[Finding]) -> dict[str, str]:
    """Condition -> worst severity; `found` has the worst first."""
    worst: dict[str, str] = {}
    for finding in found:
        worst.setdefault(finding.name, finding.severity)
    return worst


def _until(whole: Trace, growing: Trace) -> RowRecord | None:
    """What was known of the training rows when the record had grown so far: whole epochs only."""
    rows, per_epoch = whole.rows, whole.facts.steps_per_epoch
    if rows is None or not per_epoch:
        return None
    done = growing.last_step // per_epoch
    margin, probability, predicted = (np.array(getattr(rows, name)) for name in ("margin", "probability", "predicted"))
    margin[done:], probability[done:], predicted[done:] = np.nan, np.nan, -1
    return replace(rows, margin=margin, probability=probability, predicted=predicted)
