"""Tables written as they grow: CSV, TSV, JSON Lines and Parquet, under their name only once they are whole."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from trimtab.core.errors import DataError
from trimtab.core.files import disk_error

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


class TableWriter:
    """A table that takes its rows part by part; a context manager.

    The parts go to a file aside, which gets its name when the context ends well. Where it ends in an error or an
    interrupt, the parts that are complete stay as `<name>.partial.<suffix>`; where there are none, nothing stays.

    Args:
        path: file to write; its suffix, one of `FORMATS`, decides the format. A file of this name is replaced.
        keep_partial: keep the complete parts of a table that ends early; `partial` is then their file.

    Raises:
        DataError: the suffix is another.
    """

    def __init__(self, path: Path, *, keep_partial: bool = True) -> None:
        self.path = path
        self.keep_partial = keep_partial
        self.rows = 0
        self.partial: Path | None = None
        self._kind = path.suffix.lower()
        if self._kind not in FORMATS:
            raise DataError(
                f"{path}: files of type {path.suffix or '(none)'} cannot be written.",
                remedy=f"Use one of {', '.join(FORMATS)}.",
            )
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._file: IO[bytes] | None = None
        self._end = 0
        self._parquet: Any = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish(self.path)
        elif self.rows and self.keep_partial:
            if self._file is not None:
                # What was being written when it ended goes: a table ends with a whole row.
                self._file.truncate(self._end)
            self.partial = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
            self._finish(self.partial)
        else:
            self._close()
            self._aside.unlink(missing_ok=True)

    def write(self, table: pd.DataFrame) -> None:
        """Append rows; the columns are those of the first part.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        try:
            if self._kind == ".parquet":
                self._write_parquet(table)
            else:
                self._write_text(table)
        except OSError as error:
            raise disk_error(self.path, error) from error
        self.rows += len(table)

    def _write_text(self, table: pd.DataFrame) -> None:
        first = self._file is None
        if self._file is None:
            self._file = open(self._aside, "wb")  # noqa: SIM115 (closed when the context ends)
        if self._kind == ".jsonl":
            text = str(table.to_json(orient="records", lines=True, force_ascii=False)) if len(table) else ""
        else:
            text = str(table.to_csv(index=False, header=first, sep="\t" if self._kind == ".tsv" else ","))
        self._file.write(text.encode("utf-8"))
        self._file.flush()
        self._end = self._file.tell()

    def _write_parquet(self, table: pd.DataFrame) -> None:
        import pyarrow
        import pyarrow.parquet

        if self._parquet is None:
            part = pyarrow.Table.from_pandas(table, preserve_index=False)
            self._parquet = pyarrow.parquet.ParquetWriter(self._aside, part.schema)
        else:
            part = pyarrow.Table.from_pandas(table, schema=self._parquet.schema, preserve_index=False)
        self._parquet.write_table(part)

    def _finish(self, path: Path) -> None:
        try:
            self._close()
            if self._aside.exists():
                self._aside.replace(path)
        except OSError as error:
            self._aside.unlink(missing_ok=True)
            raise disk_error(path, error) from error

    def _close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
            with open(self._aside, "rb") as written:
                os.fsync(written.fileno())
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
