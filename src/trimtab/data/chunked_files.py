"""Large files as a succession of small tables: CSV, TSV, text, JSON Lines and Parquet.

Encoding, separator, quotes and header are settled on the first part, by the functions that read whole files.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data import delimited, readers
from trimtab.data.encodings import decode

HEAD_BYTES = 1 << 20
# Lines that may be taken off the head of a file until no quote is left open.
LINES_TAKEN_OFF = 50


def chunked_tables(
    path: Path, options: DataSection, expected: set[str], chunk_rows: int
) -> tuple[Iterator[pd.DataFrame], tuple[str, ...]] | None:
    """The rows of a file in tables of so many, and notes on what was guessed; None where it has to be read at once.

    Args:
        path: an existing file.
        options: encoding and separator, where the user names them.
        expected: column names that are known beforehand.
        chunk_rows: rows of a table.

    Raises:
        DataError: the file cannot be read, at once or while its tables are taken; the message says where.
    """
    suffix = path.suffix.lower()
    if suffix in readers.PARQUET:
        return _parquet(path, chunk_rows), ()
    if suffix not in (*readers.JSON_LINES, *readers.DELIMITED):
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path and its permissions."
        ) from error
    end = head.rfind(b"\n") + 1
    if b"\0" in head or not end:
        # Of encodings with wide characters, and of no text, a part cannot be told from the rest.
        return None
    decoded = decode(head[:end], path.name, options.encoding)
    notes = (decoded.note,) if decoded.note else ()
    if suffix in readers.JSON_LINES:
        return _json_lines(path, decoded.encoding, chunk_rows), notes
    found = _layout(decoded.text, path.name, suffix, options.delimiter, expected)
    return None if found is None else (_delimited(path, decoded.encoding, found, chunk_rows), (*notes, *found.notes))


@dataclass(frozen=True)
class _Delimited:
    """How a delimited file is to be read."""

    layout: delimited.Layout
    names: list[str]
    header: bool
    notes: tuple[str, ...]


def _layout(text: str, name: str, suffix: str, delimiter: str | None, expected: set[str]) -> _Delimited | None:
    """Separator, quotes and header from the first lines of a file; None where they cannot be told from these."""
    given = delimited.single_character(delimiter)
    for _ in range(LINES_TAKEN_OFF):
        try:
            layout, rows, notes = delimited.parse(text, name, suffix, given)
            break
        except DataError:
            # The head may end within quotes: without its last lines it may not.
            text = text[: text.rfind("\n", 0, -1) + 1]
    else:
        return None
    filled = [row for row in rows if row]
    if not filled or any(len(row) != len(filled[0]) for row in filled):
        return None
    known = delimited.names_known(filled[0], expected)
    header = known or (suffix != ".txt" and delimited.looks_like_header(filled))
    names = delimited.header_names(filled[0], name) if header else [f"column_{i + 1}" for i in range(len(filled[0]))]
    return _Delimited(layout, names, header, tuple(notes))


def _delimited(path: Path, encoding: str, found: _Delimited, chunk_rows: int) -> Iterator[pd.DataFrame]:
    csv.field_size_limit(delimited.LARGEST_FIELD)
    with open(path, encoding=encoding, newline="") as file:
        rows = _records(file, path.name, found)
        if found.header:
            next(rows)
        for chunk in _batched(rows, chunk_rows):
            values = zip(*chunk, strict=True)
            yield pd.DataFrame(
                {column: pd.Series(value, dtype=object) for column, value in zip(found.names, values, strict=True)}
            )


def _records(file: IO[str], name: str, found: _Delimited) -> Iterator[list[str]]:
    """The filled rows of a delimited file.

    Raises:
        DataError: a row has another number of columns, or a quote is not closed.
    """
    if found.layout.delimiter == "\n":
        for line in _lines(file, name):
            if line.strip():
                yield [line.rstrip("\r\n")]
        return
    lines = _lines(file, name)
    reader = csv.reader(lines, delimiter=found.layout.delimiter, quoting=found.layout.quoting, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{name}: line {number}: {error}.",
                remedy='Write a quote inside a quoted field twice (""), or give the data as JSON Lines.',
            ) from error
        if row is None:
            return
        if row and len(row) != len(found.names):
            raise DataError(
                f"{name}: line {number} has {len(row)} column{'s' if len(row) != 1 else ''}, the first line has "
                f"{len(found.names)}.",
                remedy="Put quotes around a text that contains the separator, or complete the line.",
            )
        if row:
            yield row


def _json_lines(path: Path, encoding: str, chunk_rows: int) -> Iterator[pd.DataFrame]:
    with open(path, encoding=encoding, newline="\n") as file:
        # Only line feeds end a JSON line.
        numbered = ((number, line) for number, line in enumerate(_lines(file, path.name), start=1) if line.strip())
        for chunk in _batched(numbered, chunk_rows):
            objects = [readers.json_object(line, number, path.name) for number, line in chunk]
            yield readers.from_objects(readers.mended(objects, "".join(line for _, line in chunk)), path.name)


def _parquet(path: Path, chunk_rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=chunk_rows):
                yield batch.to_pandas(integer_object_nulls=True)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path.name} cannot be read as Parquet: {reason}", remedy="Write the file again; it may be truncated."
        ) from error


def _lines(file: IO[str], name: str) -> Iterator[str]:
    """The lines of a text file.

    Raises:
        DataError: bytes that are not of the file's encoding.
    """
    number = 0
    try:
        for line in file:
            number += 1
            yield line
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not {error.encoding} throughout: a byte after line {number:,} cannot be decoded.",
            remedy="Save the file as UTF-8, or name its encoding with --set data.encoding=NAME.",
        ) from error


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many items."""
    rest = iter(items)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk
