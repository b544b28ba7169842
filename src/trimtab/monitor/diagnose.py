"""All conditions over a run's record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    looked_for = list(conditions or all_conditions())
    return settled([finding for condition in looked_for for finding in examined(condition, trace)], looked_for)


def settled(findings: Sequence[Finding], conditions: Iterable[Condition]) -> list[Finding]:
    """The findings in order, where consequences of one that calls for action are no more than good to know.

    Args:
        findings: of these conditions.
        conditions: those that were looked for.
    """
    acute = {finding.name for finding in findings if finding.severity == "act"}
    causes: dict[str, str] = {}
    for condition in conditions:
        if condition.name in acute:
            causes |= {name: condition.name for name in condition.explains if causes.get(condition.name) != name}
    return worst_first([_as_consequence(finding, causes.get(finding.name)) for finding in findings])


def _as_consequence(finding: Finding, cause: str | None) -> Finding:
    if cause is None:
        return finding
    return replace(finding, severity="info", evidence={**finding.evidence, "follows_from": cause})


def examined(condition: Condition, trace: Trace) -> Iterator[Finding]:
    """The findings of one condition, each with the source of its rule."""
    for finding in condition.examine(trace):
        yield replace(finding, source=finding.source or condition.source)
