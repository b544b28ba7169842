"""All conditions over a run's record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding, worst_first
from trimtab.monitor.trace import Trace


def all_conditions() -> list[Condition]:
    """One of each registered condition, by name."""
    return [CONDITIONS.get(name)() for name in CONDITIONS.names()]


def diagnose(trace: Trace, conditions: Iterable[Condition] | None = None) -> list[Finding]:
    """What is the matter with a run, the gravest first.

    Args:
        trace: the run's record, finished or not.
        conditions: those to look for; all when None.
    """
    return worst_first(
        [finding for condition in conditions or all_conditions() for finding in examined(condition, trace)]
    )


def examined(condition: Condition, trace: Trace) -> Iterator[Finding]:
    """The findings of one condition, each with the source of its rule."""
    for finding in condition.examine(trace):
        yield replace(finding, source=finding.source or condition.source)
