"""Faults of the data that are found together and raised together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.core.errors import DataError

FIRST_ROWS = 5


@dataclass(frozen=True)
class Problem:
    """One fault: what, where and what was found; and what to do."""

    message: str
    remedy: str


def raise_together(summary: str, problems: Sequence[Problem]) -> None:
    """Raise one `DataError` for all problems; nothing when there is none."""
    if problems:
        raise joined(summary, problems)


def joined(summary: str, problems: Sequence[Problem]) -> DataError:
    """One `DataError` for all problems.

    Args:
        summary: the sentence above several problems, without a full stop.
        problems: the faults, at least one; a single one keeps its own message.
    """
    remedies = list(dict.fromkeys(problem.remedy for problem in problems))
    if len(problems) == 1:
        return DataError(problems[0].message, remedy=remedies[0])
    messages = [problem.message for problem in problems]
    return DataError(f"{summary}:", problems=messages, remedy="\n".join(remedies))


def first_rows(rows: Sequence[int]) -> str:
    """`row 3`, `rows 3, 8` or `rows 3, 8, 9, 12, 15, …`."""
    shown = ", ".join(str(row) for row in rows[:FIRST_ROWS])
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > FIRST_ROWS else ''}"
