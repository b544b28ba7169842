"""Tables for a spreadsheet, a file each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from trimtab.core.files import write_atomic
from trimtab.core.registry import TRACKERS
from trimtab.integrations.points import BLOCK_FIGURES, Row, results
from trimtab.integrations.trackers.base import Outcome, Place, Tracker

FIRST = ["step", "time", "epoch", "train/loss", "train/grad_norm"]
# Excel takes a file without this mark for one in the encoding of the system.
MARK = "\ufeff"


@TRACKERS.register("csv")
class CsvTables(Tracker):
    """CSV: `metrics.csv` (a row a step), `blocks.csv`, `findings.csv`, `recipe.csv`, `results.csv`."""

    goes_back: ClassVar[bool] = True

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        super().__init__(place, state)
        folder = place.folder / "csv"
        self.metrics = _Table(folder / "metrics.csv", FIRST)
        self.blocks = _Table(folder / "blocks.csv", ["step", "block", *BLOCK_FIGURES])
        self.findings = _Table(folder / "findings.csv", ["step", "severity", "by", "name", "message", "remedy"], MARK)
        self._folder, self._resumes = folder, bool(state)

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        """Make the tables, or read how far they go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for table in (self.metrics, self.blocks, self.findings):
            table.open(keep=self._resumes)
        _write(self._folder / "recipe.csv", ["key", "value"], recipe.items())
        return self.metrics.last_step if self._resumes else None

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows; what there is by block goes into a table of its own."""
        figures: list[dict[str, Any]] = []
        blocks: list[dict[str, Any]] = []
        for row in rows:
            own: dict[str, Any] = {"step": row.step, "time": _clock(row.time)}
            by_block: dict[str, dict[str, Any]] = {}
            for name, value in row.values.items():
                figure, _, block = name.partition("/")
                if figure in BLOCK_FIGURES:
                    by_block.setdefault(block, {"step": row.step, "block": block})[figure] = value
                else:
                    own[name] = value
            figures.append(own)
            blocks += by_block.values()
        self.metrics.append(figures)
        self.blocks.append(blocks)

    def go_back(self, step: int) -> None:
        """Take out the rows of later steps. Findings stay: each is told once."""
        self.metrics.cut(step)
        self.blocks.cut(step)

    def finding(self, event: Mapping[str, Any]) -> None:
        """Append it."""
        self.findings.append([{name: event.get(name) for name in self.findings.columns}])

    def end(self, outcome: Outcome) -> None:
        """Write the final metrics, a row each, and the state of the run."""
        rows: list[tuple[Any, ...]] = [("state", outcome.state), ("message", outcome.message)]
        if outcome.judged:
            rows += list(results(outcome.judged).items())
        _write(self._folder / "results.csv", ["name", "value"], rows)


class _Table:
    """A CSV file that grows by rows, and by columns where a row brings new ones.

    Args:
        path: the file.
        columns: the first columns; `step` is the first of them.
        mark: what the file begins with.
    """

    def __init__(self, path: Path, columns: Sequence[str], mark: str = "") -> None:
        self.path = path
        self.columns = list(columns)
        self.last_step = 0
        self._mark = mark

    def open(self, *, keep: bool) -> None:
        """Begin the file anew, or go on with it; a row that a killed process left torn is taken out."""
        rows = list(self._rows()) if keep else []
        if rows:
            self.columns = rows[0]
            self.last_step = _step_of(rows[-1]) if len(rows) > 1 else 0
        self._replace(rows[1:])

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; a cell is empty where a row has no such figure."""
        new = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in self.columns]
        if new:
            held = [*self._rows()][1:]
            self.columns += new
            self._replace([row + [""] * (len(self.columns) - len(row)) for row in held])
        if rows:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(_lines([row.get(name) for name in self.columns] for row in rows))
            self.last_step = max(int(row["step"] or 0) for row in rows)

    def cut(self, step: int) -> None:
        """Take out the rows of steps above `step`."""
        if self.last_step > step:
            kept = [row for row in [*self._rows()][1:] if _step_of(row) <= step]
            self._replace(kept)
            self.last_step = _step_of(kept[-1]) if kept else 0

    def _rows(self) -> Iterator[list[str]]:
        """Yield the header, then each whole row."""
        try:
            text = self.path.read_text(encoding="utf-8-sig", errors="replace")
        except FileNotFoundError:
            return
        whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
        reader = csv.reader(io.StringIO(whole, newline=""))
        header = next(reader, None)
        if header is not None and header[:1] == ["step"]:
            yield header
            yield from (row for row in reader if len(row) == len(header) and row[0].isdigit())

    def _replace(self, rows: Iterable[Sequence[Any]]) -> None:
        write_atomic(self.path, self._mark + _lines([self.columns, *rows]), durable=False)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write_atomic(path, MARK + _lines([header, *rows]), durable=False)


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A value as a spreadsheet may have it: a text that it would take for a formula is marked as text."""
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _step_of(row: Sequence[str]) -> int:
    return int(row[0])


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
