"""What a condition is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


class Condition(ABC):
    """Something that can be the matter with a run. Subclasses live one a file and register by name.

    `examine` is a pure function of the trace: it neither trains nor evaluates, so that the same record gives the same
    findings while the run goes on, after it, and years later. It must cope with any record: no steps, one step, NaN,
    constant values, a foreign run that knows nothing but losses. Where it lacks what it needs, it finds nothing.

    Attributes:
        title: what it looks for, a few words, for tables.
        rule: when it fires, in one sentence with its thresholds, for the documents.
        source: where the rule comes from: paper, tool or our own measurements.
        urgent: whether it is looked for between evaluations too.
        needs: parts of a record (`monitor.coverage.PARTS`) without which it can find nothing.
        explains: conditions that follow from this one: where it calls for action, what is found of them is only good
            to know, so that there is one thing to do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    rule: ClassVar[str]
    source: ClassVar[str]
    urgent: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The findings in a record, none where nothing is the matter."""
