"""Tables in text with a separator: CSV, TSV, and `.txt` files with one text or `text<TAB>label` a line."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from trimtab.core.errors import DataError
from trimtab.data.column_names import KNOWN_NAMES
from trimtab.data.values import is_number

DELIMITERS = (",", "\t", ";", "|")
DELIMITER_TITLES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
SAMPLE_CHARACTERS = 1 << 16
SAMPLE_ROWS = 200
LONGEST_NAME = 60
LARGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class Layout:
    """How a delimited text is to be cut: its separator, and whether quotes mean anything."""

    delimiter: str
    quoting: Literal[0, 3]


def read_delimited(
    text: str, name: str, suffix: str, delimiter: str | None = None, expected: Iterable[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Read a delimited text strictly.

    Args:
        text: the whole file.
        name: the file's name, for messages.
        suffix: `.csv`, `.tsv` or `.txt`; it sets which separators are looked for.
        delimiter: the user's choice of separator; detected when None.
        expected: column names that the user gave; a first line that has one is a header.

    Returns:
        The table, all values strings, and notes on what was guessed.

    Raises:
        DataError: the text is empty, a row has another number of columns than the first, or a quote is not closed.
    """
    csv.field_size_limit(LARGEST_FIELD)
    if not text.strip():
        raise DataError(f"{name} is empty.", remedy="Give a file with a header line and one row an example.")
    layout, rows, notes = parse(text, name, suffix, single_character(delimiter))
    filled = [row for row in rows if row]
    header = names_known(filled[0], set(expected)) or (suffix != ".txt" and looks_like_header(filled))
    names = header_names(filled[0], name) if header else [f"column_{i + 1}" for i in range(len(filled[0]))]
    _refuse_ragged(text, name, layout, filled, names if header else [])
    if not header and (suffix != ".txt" or len(names) > 1):
        notes.append(
            f"{name}: the first line looks like data, not like a header, so the columns are called "
            f"{', '.join(names)}; add a header line to name them."
        )
    body = filled[1:] if header else filled
    if not body:
        raise DataError(f"{name} has a header line and no rows.", remedy="Add one row an example below the header.")
    columns = zip(*body, strict=True)
    return pd.DataFrame({column: pd.Series(v, dtype=object) for column, v in zip(names, columns, strict=True)}), notes


def single_character(delimiter: str | None) -> str | None:
    """The separator that the user names, as one character; `tab` and `\\t` are read as a tab."""
    given = {"\\t": "\t", "tab": "\t"}.get(delimiter or "", delimiter)
    if given is not None and (len(given) != 1 or given in '"\r\n'):
        raise DataError(
            f"data.delimiter is {delimiter!r}; one character was expected.",
            remedy="Set data.delimiter to a single character such as ',' or ';', or to 'tab'.",
        )
    return given


def parse(text: str, name: str, suffix: str, given: str | None) -> tuple[Layout, list[list[str]], list[str]]:
    """Cut the text into rows; blank lines give empty rows."""
    delimiter = given or ("\t" if suffix == ".tsv" else _detect(text, (("\t",) if suffix == ".txt" else DELIMITERS)))
    if suffix == ".txt" and delimiter is None:
        return Layout("\n", csv.QUOTE_NONE), [[line] if line.strip() else [] for line in text.splitlines()], []
    layout = Layout(delimiter or ",", csv.QUOTE_MINIMAL)
    if layout.delimiter != "\t" or '"' not in text:
        return layout, _rows(text, name, layout), []
    plain_layout = Layout("\t", csv.QUOTE_NONE)
    plain = _rows(text, name, plain_layout)
    note = f"{name}: quotes are taken as plain characters, since they do not pair up."
    try:
        quoted = _rows(text, name, layout)
    except DataError:
        if not _uniform(plain, share=0.9):
            raise
        return plain_layout, plain, [note]
    # A quote that opens in one row and closes in a later one swallows the rows between: the plain cut is right.
    if _uniform(plain) and len(quoted) != len(plain):
        return plain_layout, plain, [note]
    return layout, quoted, []


def _uniform(rows: list[list[str]], share: float = 1.0) -> bool:
    """Whether at least this share of the rows has as many columns as most rows have."""
    widths = Counter(len(row) for row in rows if row)
    return bool(widths) and max(widths.values()) >= share * widths.total()


def _rows(text: str, name: str, layout: Layout) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, quoting=layout.quoting, strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise _quote_error(text, name, layout, error) from error


def _quote_error(text: str, name: str, layout: Layout, error: csv.Error) -> DataError:
    """Find the row at which strict reading stops."""
    start = 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, quoting=layout.quoting, strict=True)
    try:
        for _ in reader:
            start = reader.line_num + 1
    except csv.Error:
        end = reader.line_num
    unclosed = "unexpected end" in str(error)
    fault = "a quoted field is opened and never closed" if unclosed else "text stands behind a closing quote"
    lines = f"line {start}" if end == start or unclosed else f"lines {start} to {end}"
    return DataError(
        f"{name}: {lines}: {fault}.",
        remedy='Write a quote inside a quoted field twice (""), or give the data as JSON Lines.',
    )


def _detect(text: str, candidates: tuple[str, ...]) -> str | None:
    """The separator that cuts the first rows most evenly; None when none cuts the first row."""
    sample = text[:SAMPLE_CHARACTERS]
    if len(text) > SAMPLE_CHARACTERS and "\n" in sample:
        sample = sample[: sample.rindex("\n")]
    best, best_score = None, (0.0, 0)
    for delimiter in candidates:
        # Not strict: a quote that is not closed is reported later, with its line.
        rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row][:SAMPLE_ROWS]
        width = len(rows[0]) if rows else 0
        score = (sum(len(row) == width for row in rows) / max(1, len(rows)), width)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    if candidates == ("\t",) and best_score[0] < 1.0:
        return None
    return best


def _refuse_ragged(text: str, name: str, layout: Layout, rows: list[list[str]], header: list[str]) -> None:
    width = len(rows[0])
    wrong = sum(len(row) != width for row in rows)
    if not wrong:
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, quoting=layout.quoting, strict=True)
    start, found = 1, 0
    for row in reader:
        if row and len(row) != width:
            found = len(row)
            break
        start = reader.line_num + 1
    first = f"the header names {width} ({', '.join(header)})" if header else f"the first line has {width}"
    more = f" {wrong} lines differ in all." if wrong > 1 else ""
    title = DELIMITER_TITLES.get(layout.delimiter, repr(layout.delimiter))
    raise DataError(
        f"{name}: line {start} has {found} column{'s' if found != 1 else ''}, {first}; separator: {title}.{more}",
        remedy=f"Put quotes around a text that contains the {title}, complete the line, or name another separator with "
        "--set data.delimiter=CHARACTER.",
    )


def names_known(row: list[str], expected: set[str]) -> bool:
    """Whether a row has a column name that is known or expected."""
    names = {cell.strip() for cell in row}
    return bool(expected & names or KNOWN_NAMES & {name.lower() for name in names})


def looks_like_header(rows: list[list[str]]) -> bool:
    """Whether the first row may name the columns: its cells are short, no numbers, and do not repeat below."""
    names = [cell.strip() for cell in rows[0]]
    if names == [str(i) for i in range(len(names))] and len(names) > 1:
        return True
    for position, cell in enumerate(names):
        values = Counter(row[position].strip() for row in rows[1:1000] if len(row) > position)
        repeated = 0 < len(values) <= 0.5 * values.total() and cell in values
        if repeated or is_number(cell) or len(cell) > LONGEST_NAME or cell.count(" ") >= 5:
            return False
    return len(rows) > 1 and not all(_is_wide(cell) for cell in names if len(cell) > 12)


def _is_wide(cell: str) -> bool:
    """Whether a cell is mostly in a script without spaces, where 12 characters are a sentence."""
    return sum(ord(character) >= 0x2E80 for character in cell) > 0.5 * len(cell)


def header_names(header: list[str], name: str) -> list[str]:
    """Names of the columns that a header row gives; empty cells are numbered, and repeated names refused."""
    names = [cell.strip() or f"column_{position + 1}" for position, cell in enumerate(header)]
    twice = sorted(column for column, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"{name}: the header names a column twice: {', '.join(map(repr, twice))}.",
            remedy="Rename one of them in the header line.",
        )
    return names
