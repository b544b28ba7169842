"""Findings in words: titles, evidence as short texts, rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trimtab.core.registry import CONDITIONS

MOST_ITEMS = 12
"""Items of a list that are shown; of longer ones the number of the others is told."""

# Columns of the table of rows that come first, in this order, where rows have them.
FIRST_COLUMNS = ("split", "row", "source", "label", "suggested", "text")
# Of no use to a reader: positions within our own tables.
HIDDEN_COLUMNS = ("index",)


def title_of(name: str) -> str:
    """The title of a condition; of one that is not registered, its name with blanks."""
    title = CONDITIONS.get(name).title if name in CONDITIONS.names() else name.replace("_", " ")
    return title[:1].upper() + title[1:]


def how_many(count: int, noun: str) -> str:
    """A number with its noun: `1 condition`, `25 conditions`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def evidence_rows(evidence: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of the evidence as texts; mappings within it unfold to `outer: inner`."""
    for key, value in evidence.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from evidence_rows(value, f"{name}: ")
        else:
            yield name, shown(value)


def short_evidence(evidence: Mapping[str, Any], most: int = 4) -> str:
    """The first numbers and words of the evidence in one line, lists and mappings left out."""
    plain = {key: value for key, value in evidence.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{name} {value}" for name, value in list(evidence_rows(plain))[:most])


def shown(value: Any) -> str:
    """A value of the evidence or of a row as a text; numbers with four significant digits, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value + 0.0:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        rest = len(value) - MOST_ITEMS
        return ", ".join([*map(shown, value[:MOST_ITEMS]), *([f"and {rest:,} more"] if rest > 0 else [])])
    return str(value)


def row_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of a table of suspect rows, those that any of them has."""
    found = dict.fromkeys(key for row in rows for key in row if key not in HIDDEN_COLUMNS)
    return [*(name for name in FIRST_COLUMNS if name in found), *(name for name in found if name not in FIRST_COLUMNS)]


def row_cell(row: Mapping[str, Any], column: str, most: int = 300) -> str:
    """A cell of that table, long texts cut; numbers of rows without separators, as files have them."""
    value = row.get(column)
    text = "" if value is None else str(value) if isinstance(value, int) else " ".join(shown(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
