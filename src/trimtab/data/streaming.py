"""Rows to predict, chunk by chunk: of a large file, no more than a chunk is held.

A small file, and whatever is no file, is read at once by `load_unlabelled`. A large CSV, TSV, text, JSON Lines or
Parquet file is read as it goes: encoding, separator and header are settled on its first part, in the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data import loading
from trimtab.data.chunked_files import chunked_tables
from trimtab.data.clean import Cleaned, clean, dropped_problem
from trimtab.data.dataset import Columns
from trimtab.data.objects import is_object
from trimtab.data.problems import raise_together
from trimtab.data.tables import RawTable

# A file up to this size is read at once.
WHOLE_BYTES = 16 << 20
SHOWN_ROWS = 10


@dataclass
class RowStream:
    """Rows of one source, in chunks.

    Args:
        frames: canonical frames without `label`, in the order of the rows, none of them empty; to be read once.
        total: rows in all; None where that is not known before the end.
        notes: what reading had to guess.
    """

    frames: Iterator[pd.DataFrame]
    total: int | None
    notes: tuple[str, ...]
    _source: str = ""
    _rows: int = 0
    _dropped: dict[str, tuple[int, list[int]]] = field(default_factory=dict)

    def closing_notes(self) -> list[str]:
        """A sentence for each reason for which rows were left out; complete once all frames are read."""
        return [
            f"{self._source}: {count:,} of {self._rows:,} rows dropped: {reason} "
            f"(row{'s' if count > 1 else ''} {', '.join(map(str, rows))}{', …' if count > len(rows) else ''})"
            for reason, (count, rows) in self._dropped.items()
        ]


def stream_unlabelled(source: Any, options: DataSection, columns: Columns, task: str, chunk_rows: int) -> RowStream:
    """Rows to predict; a label column is not needed, and not read.

    Args:
        source, options, columns, task: as for `load_unlabelled`.
        chunk_rows: rows of a chunk.

    Raises:
        DataError: nothing can be read, or the text column is missing. While the frames are read: a row that cannot be
            read, with its line; or no row that can be used in the whole file.
    """
    path = None if is_object(source) or not isinstance(source, str | Path) else Path(source).expanduser()
    raw = None
    if path is not None and _is_large(path) and task != loading.IMAGE_TASK:
        raw = chunked_tables(path, options, set(loading.expected_names(options, columns)), chunk_rows)
    if path is None or raw is None:
        frame = loading.load_unlabelled(source, options, columns, task)
        notes = tuple(frame.attrs.get("notes", ()))
        return RowStream(chunks_of(frame, chunk_rows), len(frame), notes)
    tables, notes = raw
    first = next(tables, None)
    if first is None:
        raise DataError(f"{path.name} has no rows.", remedy="Give a file with at least one row.")
    named, note = loading.texts_to_predict(RawTable(first, path.name), loading.renamed(columns, options))
    stream = RowStream(iter(()), None, tuple(text for text in (*notes, note) if text), path.name)
    stream.frames = _cleaned(itertools.chain([first], tables), stream, named, options)
    return stream


def chunks_of(frame: pd.DataFrame, chunk_rows: int) -> Iterator[pd.DataFrame]:
    """A frame in chunks of so many rows."""
    for start in range(0, len(frame), chunk_rows):
        yield frame.iloc[start : start + chunk_rows].reset_index(drop=True)


def _is_large(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > WHOLE_BYTES
    except (OSError, ValueError):  # told by whoever reads it
        return False


def _cleaned(
    tables: Iterator[pd.DataFrame], stream: RowStream, columns: Columns, options: DataSection
) -> Iterator[pd.DataFrame]:
    """The canonical frames of raw chunks, rows counted over the whole file."""
    source, kept, last = stream._source, 0, None
    columns = Columns(text=columns.text)
    for table in tables:
        # An object without the key lacks the text, as it would in a file that is read at once.
        cleaned = clean(RawTable(table.reindex(columns=list(columns.text)), source), columns, labelled=False)
        cleaned.frame["row"] += stream._rows
        _count_drops(stream, cleaned)
        stream._rows += len(table)
        kept, last = kept + len(cleaned.frame), cleaned
        if len(cleaned.frame):
            yield cleaned.frame
    if not kept and last is not None:
        raise_together(source, dropped_problem(last, options))


def _count_drops(stream: RowStream, cleaned: Cleaned) -> None:
    for drop in cleaned.drops:
        count, rows = stream._dropped.get(drop.reason, (0, []))
        shown = [*rows, *(row + stream._rows for row in drop.rows)][:SHOWN_ROWS]
        stream._dropped[drop.reason] = (count + len(drop.rows), shown)
