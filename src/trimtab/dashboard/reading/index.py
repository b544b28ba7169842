"""The runs of a folder with their summaries, and what has changed among them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.dashboard.reading.foreign import ForeignReader
from trimtab.dashboard.reading.liveness import Freshness
from trimtab.dashboard.reading.places import Place, find_places
from trimtab.dashboard.reading.summary import Summariser, Summary


@dataclass
class Changes:
    """What a scan found to be different from the one before.

    Args:
        changed: summaries of runs that are new or have changed.
        removed: ids of runs that are gone.
    """

    changed: list[Summary] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class Index:
    """The runs below a folder. Only what it has found can be opened, so that no id leads out of the folder.

    Args:
        folder: where the runs are; it need not be there yet.
        foreign: makes records of other programs into events; None to show such runs without numbers.
    """

    def __init__(self, folder: Path, foreign: ForeignReader | None = None) -> None:
        self.folder = folder
        self._foreign = foreign
        self._freshness = Freshness()
        self._places: dict[str, Place] = {}
        self._summarisers: dict[str, Summariser] = {}
        self._summaries: dict[str, Summary] = {}
        self._lock = threading.Lock()

    def scan(self) -> Changes:
        """Look at the folder anew. Files that have not changed are not read."""
        with self._lock:
            changes = Changes()
            places = find_places(self.folder)
            for run_id in [run_id for run_id in self._places if places.get(run_id) != self._places[run_id]]:
                self._forget(run_id)
                if run_id not in places:
                    changes.removed.append(run_id)
            for run_id, place in places.items():
                summary = self._summarise(place)
                if self._summaries.get(run_id) != summary:
                    self._summaries[run_id] = summary
                    changes.changed.append(summary)
            return changes

    def summaries(self) -> list[Summary]:
        """The summaries of the last scan, the newest run first."""
        with self._lock:
            return sorted(self._summaries.values(), key=lambda summary: -(summary["started"] or 0))

    def summary(self, run_id: str) -> Summary | None:
        """The summary of one run as it is now; None where there is no such run."""
        with self._lock:
            place = self._places.get(run_id)
            return None if place is None else self._summarise(place)

    def place(self, run_id: str) -> Place | None:
        """Where a run is; one that was made since the last scan is found, too. None where there is none."""
        with self._lock:
            place = self._places.get(run_id)
            if place is not None and place.path.is_dir():
                return place
        self.scan()
        with self._lock:
            return self._places.get(run_id)

    def _summarise(self, place: Place) -> Summary:
        error, seen = None, place
        if place.needs_conversion and self._foreign is not None:
            self._foreign.request(place)
            seen, error = self._foreign.converted(place), self._foreign.error(place)
        summariser = self._summarisers.get(place.id)
        if summariser is None or summariser.place != seen:
            summariser = Summariser(seen, self._freshness)
        self._places[place.id], self._summarisers[place.id] = place, summariser
        return summariser.summary(error)

    def _forget(self, run_id: str) -> None:
        place = self._places.pop(run_id)
        self._freshness.forget(place.record)
        self._summarisers.pop(run_id, None)
        self._summaries.pop(run_id, None)
