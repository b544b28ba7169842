"""What changed when: so that each of several readers gets what is new to it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

MOST_REVISIONS = 2000
"""That are remembered; who is further behind asks for everything again."""


@dataclass(frozen=True)
class Change:
    """A revision, or what has happened since one.

    Args:
        counts: rows of each table at the revision.
        cut: the step above which rows were dropped on the way to it, or since; None where none were.
        actions: number of actions at the revision.
        findings: indices of the findings that changed on the way to it, or since.
    """

    counts: Mapping[str, int]
    cut: int | None
    actions: int
    findings: frozenset[int]


class Revisions:
    """The last revisions of an opened run. Numbers begin at random, lest one of another server be taken for ours."""

    def __init__(self) -> None:
        # Below 2^53, which a browser's numbers hold.
        self.number = secrets.randbits(31) << 21
        self._states: dict[int, Change] = {}
        self._touched: set[int] = set()

    def touch_finding(self, index: int) -> None:
        """A finding has changed; the next `note` makes that known."""
        self._touched.add(index)

    def note(self, counts: Mapping[str, int], cut: int | None, actions: int) -> int:
        """Take note of the present state; the revision, a new one if anything is different.

        Args:
            counts: rows of each table.
            cut: the step above which rows were dropped since the last call.
            actions: number of actions so far.
        """
        last = self._states.get(self.number)
        same = last is not None and (last.counts, last.actions) == (counts, actions)
        if same and cut is None and not self._touched:
            return self.number
        self.number += 1
        self._states[self.number] = Change(dict(counts), cut, actions, frozenset(self._touched))
        self._touched = set()
        if len(self._states) > MOST_REVISIONS:
            del self._states[next(iter(self._states))]
        return self.number

    def since(self, revision: int) -> Change | None:
        """What has happened since a revision; None where it is not (or no longer) known."""
        then = self._states.get(revision)
        if then is None:
            return None
        later = [state for number, state in self._states.items() if number > revision]
        cuts = [state.cut for state in later if state.cut is not None]
        return Change(
            counts=then.counts,
            cut=min(cuts, default=None),
            actions=then.actions,
            findings=frozenset().union(*(state.findings for state in later)),
        )
