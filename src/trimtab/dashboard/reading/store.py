"""The door to the runs of a folder: the list, and opened runs within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from trimtab.core.errors import RunError
from trimtab.dashboard.reading.foreign import ForeignReader
from trimtab.dashboard.reading.index import Changes, Index
from trimtab.dashboard.reading.places import Place
from trimtab.dashboard.reading.rows import RowReader
from trimtab.dashboard.reading.run import OpenRun
from trimtab.dashboard.reading.summary import Summary

MOST_BYTES = 96 << 20
"""Of the numbers of opened runs; the one asked for last is kept whatever its size."""
MOST_OPEN = 64


class UnknownRun(RunError):
    """There is no run with this id, or no longer."""


class Store:
    """The runs of a folder.

    Args:
        folder: where they are.
        foreign: makes records of other programs readable; one of its own when None.
        most_bytes: bound of the memory that opened runs take.
    """

    def __init__(self, folder: Path, foreign: ForeignReader | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._foreign = foreign or ForeignReader()
        self._index = Index(folder, self._foreign)
        self._most_bytes = most_bytes
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._rows: OrderedDict[str, RowReader] = OrderedDict()
        self._lock = threading.Lock()

    def scan(self) -> Changes:
        """Look at the folder anew: the summaries that have changed, and the ids that are gone."""
        changes = self._index.scan()
        with self._lock:
            for run_id in changes.removed:
                self._open.pop(run_id, None)
                self._rows.pop(run_id, None)
        return changes

    def summaries(self) -> list[Summary]:
        """The summaries of the last scan, the newest run first."""
        return self._index.summaries()

    def summary(self, run_id: str) -> Summary:
        """The summary of a run as it is now.

        Raises:
            UnknownRun: there is no such run.
        """
        self.place(run_id)
        summary = self._index.summary(run_id)
        if summary is None:
            raise _unknown(run_id)
        return summary

    def place(self, run_id: str) -> Place:
        """Where a run is. Only runs that were found below the folder are known.

        Raises:
            UnknownRun: there is no such run.
        """
        place = self._index.place(run_id)
        if place is None:
            raise _unknown(run_id)
        return place

    def open(self, run_id: str) -> OpenRun:
        """A run to look at. The first time, its whole record is read; of a foreign one, by a process of its own.

        Raises:
            UnknownRun: there is no such run.
        """
        place = self.place(run_id)
        if place.needs_conversion:
            place = self._foreign.ensure(place)
        with self._lock:
            run = self._open.get(run_id)
            if run is None or run.place != place:
                run = self._open[run_id] = OpenRun(place)
            self._open.move_to_end(run_id)
        run.refresh()
        self._keep_within_bounds()
        return run

    def detail(self, run_id: str) -> dict[str, Any]:
        """A run with its summary, as the page shows it.

        Raises:
            UnknownRun: there is no such run.
        """
        detail = self.open(run_id).detail()
        return {"summary": self.summary(run_id), **detail}

    def rows(self, run_id: str) -> RowReader:
        """The rows of a run and its predictions.

        Raises:
            UnknownRun: there is no such run.
        """
        place = self.place(run_id)
        with self._lock:
            reader = self._rows.get(run_id)
            if reader is None or reader.path != place.path:
                reader = self._rows[run_id] = RowReader(place.path)
            self._rows.move_to_end(run_id)
            while len(self._rows) > 4:
                self._rows.popitem(last=False)
            return reader

    def close(self) -> None:
        """Stop what reads in the background."""
        self._foreign.close()

    def _keep_within_bounds(self) -> None:
        """Close the runs that were not asked for longest."""
        with self._lock:
            sizes = {run_id: run.size for run_id, run in self._open.items()}
            while len(self._open) > 1 and (sum(sizes.values()) > self._most_bytes or len(self._open) > MOST_OPEN):
                run_id, _ = self._open.popitem(last=False)
                del sizes[run_id]


def _unknown(run_id: str) -> UnknownRun:
    return UnknownRun(
        f"There is no run {run_id!r} in this folder.", remedy="It may have been removed: go back to the list of runs."
    )
