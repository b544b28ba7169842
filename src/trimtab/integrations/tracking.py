"""Goes along with a run and tells the trackers of others what happens, from a thread beside the training.

A run's own record, `events.jsonl`, is whole at any instant; trackers are not. So `tracking.json` holds the last step
that each was told. When a killed run is resumed, what is missing up to the checkpoint is told again from the record,
and what came after it is taken back where the tracker can.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.config.tracking import TrackingSection
from trimtab.core.errors import TrimtabError
from trimtab.core.events import read_events
from trimtab.core.files import write_atomic
from trimtab.core.registry import TRACKERS
from trimtab.core.runs import RunDirectory
from trimtab.integrations.points import Back, Row, Timeline, rows_of
from trimtab.integrations.trackers.base import Outcome, Place, Tracker

STATE_FILE = "tracking.json"
PERIOD_SECONDS = 1.0
LAST_SECONDS = 30.0
"""How long the end of a run waits for its trackers."""
PRIVATE_SECTIONS = ("alerts", "tracking", "output")

Item = Row | Back | Mapping[str, Any]
"""What a tracker is told: a row, a step back, or the event of a finding."""


class Tracking:
    """Hears the events of a run; all else happens in a thread.

    Args:
        run: the run.
        section: what the recipe says of tracking.
        recipe: dotted key -> value.
        resumed: whether the run goes on from an earlier session.
    """

    def __init__(
        self, run: RunDirectory, section: TrackingSection, recipe: Mapping[str, Any], *, resumed: bool
    ) -> None:
        self._state_path = run.path / STATE_FILE
        self._state: dict[str, Any] = read_object(self._state_path) if resumed else {}
        self._recipe = {key: value for key, value in recipe.items() if key.split(".")[0] not in PRIVATE_SECTIONS}
        name = section.name or run.path.absolute().name
        folder = Path(self._state.get("folder") or _folder(run, section, name))
        self._state["folder"] = str(folder)
        place = Place(run, section, name, folder)
        self._feeds = [_Feed(kind, place, self._state.get(kind) or {}) for kind in section.to]
        self._record = run.events
        self._timeline = Timeline()
        self._start: Mapping[str, Any] | None = None
        self._waiting: list[Mapping[str, Any]] = []
        self._outcome: Outcome | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._faults: list[tuple[str, str]] = []

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take an event; returns at once."""
        if event["type"] == "start":
            begins, self._start = self._start is None, event
            if begins:
                self._thread.start()
        with self._lock:
            self._waiting.append(event)

    def close(self, outcome: Outcome) -> None:
        """Tell the end, and wait for the trackers, but not for long."""
        self._outcome = outcome
        self._over.set()
        if self._start is None:
            return
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            slow = [feed for feed in self._feeds if not feed.is_done]
            self._note(slow, f"it was not done {LAST_SECONDS:g} s after the end of the run, and is left")

    def faults(self) -> list[tuple[str, str]]:
        """(tracker, reason) of those that failed since the last call."""
        with self._lock:
            found, self._faults = self._faults, []
        return found

    def _note(self, feeds: Sequence[_Feed], reason: str) -> None:
        with self._lock:
            self._faults += [(feed.kind, reason) for feed in feeds]

    def _work(self) -> None:
        """The thread: what has come in about each second, and at last the end."""
        self._each(self._begin)
        while not self._over.wait(PERIOD_SECONDS):
            self._pass_on()
        self._pass_on()
        rest = list(self._timeline.rest())
        outcome = self._outcome or Outcome("stopped", 0, time.time())
        self._each(lambda feed: feed.finish(rest, outcome))
        self._save()

    def _begin(self, feed: _Feed) -> None:
        """Open a tracker, and note at once what it goes by: a killed run's is to be found again."""
        feed.begin(self._start or {}, self._recipe)
        self._save()

    def _pass_on(self) -> None:
        with self._lock:
            events, self._waiting = self._waiting, []
        items: list[Item] = [item for event in events for item in self._items(event)]
        if items:
            self._each(lambda feed: feed.take(items, self._earlier))
            self._save()

    def _items(self, event: Mapping[str, Any]) -> Iterator[Item]:
        yield from self._timeline.follow(event)
        if event["type"] == "finding":
            yield event

    def _earlier(self, above: int, upto: int, with_findings: bool) -> list[Item]:
        """What the record of earlier sessions holds of some steps, and all that was found in them."""
        if upto <= above and not with_findings:
            return []
        before = list(itertools.takewhile(lambda event: event != self._start, read_events(self._record)))
        found = [event for event in before if event.get("type") == "finding"] if with_findings else []
        return [*rows_of(before, above, upto), *found]

    def _each(self, act: Callable[[_Feed], None]) -> None:
        """Do something with every tracker that works; a fault in one ends that one, and nothing else."""
        for feed in self._feeds:
            if feed.is_done:
                continue
            try:
                act(feed)
            except TrimtabError as error:
                feed.is_done = True
                self._note([feed], error.message)
            except Exception as error:  # noqa: BLE001 (whatever a tracker does, the run goes on)
                feed.is_done = True
                self._note([feed], f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def _save(self) -> None:
        for feed in self._feeds:
            self._state[feed.kind] = feed.state
        try:
            write_atomic(self._state_path, json.dumps(self._state, indent=2) + "\n", durable=False)
        except TrimtabError as error:
            self._note([feed for feed in self._feeds if not feed.is_done], error.message)


class _Feed:
    """One tracker with what it has been told."""

    def __init__(self, kind: str, place: Place, state: Mapping[str, Any]) -> None:
        self.kind = kind
        self.is_done = False
        self.state = dict(state)
        self._place = place
        self._tracker: Tracker | None = None
        self._every = 1
        self._told = 0
        self._holds_nothing = True
        self._findings: list[str] = []

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
        """Open the tracker."""
        tracker: Tracker = TRACKERS.get(self.kind)(self._place, self.state)
        tracker.check(self._place.section)
        held = tracker.begin(start, recipe)
        self._holds_nothing, self._told = held is None, held or 0
        self._findings = [] if held is None else list(self.state.get("findings") or [])
        self._every = _every(self._place.section, tracker, start.get("total_steps"))
        self._tracker = tracker
        self._note_state()

    def take(self, items: Sequence[Item], earlier: Callable[[int, int, bool], list[Item]]) -> None:
        """Tell the tracker what has come in, in order."""
        rows: list[Row] = []
        for item in items:
            if isinstance(item, Row):
                rows.append(item)
                continue
            self._write(rows)
            rows = []
            if isinstance(item, Back):
                if self._open.goes_back:
                    self._open.go_back(item.step)
                    self._told = min(self._told, item.step)
                self.take(earlier(self._told, item.step, self._holds_nothing), earlier)
                self._holds_nothing = False
            else:
                self._tell(item)
        self._write(rows)
        self._open.flush()
        self._note_state()

    def finish(self, rest: Sequence[Row], outcome: Outcome) -> None:
        """Tell the last row and the end."""
        self._write(rest)
        self._open.end(outcome)
        self._note_state()
        self.is_done = True

    @property
    def _open(self) -> Tracker:
        if self._tracker is None:
            raise RuntimeError(f"the tracker {self.kind} was not begun")
        return self._tracker

    def _tell(self, finding: Mapping[str, Any]) -> None:
        """Tell a finding, with each severity once."""
        known = f"{finding.get('by')} {finding.get('name')} {finding.get('severity')}"
        if known not in self._findings:
            self._findings.append(known)
            self._open.finding(finding)

    def _write(self, rows: Sequence[Row]) -> None:
        """Tell rows of steps that were not told before, of plain ones every so manieth."""
        new = [row for row in rows if row.step > self._told]
        if new:
            self._told = new[-1].step
        wanted = [row for row in new if not row.is_plain or row.step == 1 or row.step % self._every == 0]
        if wanted:
            self._open.write(wanted)

    def _note_state(self) -> None:
        self.state = {"begun": True, "findings": self._findings, **self._open.state()}


def _every(section: TrackingSection, tracker: Tracker, total: Any) -> int:
    if section.every_steps is not None:
        return section.every_steps
    if tracker.most_steps is None or not isinstance(total, int):
        return 1
    return max(1, math.ceil(total / tracker.most_steps))


def _folder(run: RunDirectory, section: TrackingSection, name: str) -> Path:
    """A folder that no other run has written into."""
    if section.folder is None:
        return (run.path / "tracking").absolute()
    first = Path(section.folder).expanduser().absolute() / _file_name(name)
    folder, number = first, 1
    while folder.exists() and any(folder.iterdir()):
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def _file_name(name: str) -> str:
    cleaned = "".join(character if character.isalnum() or character in "-_. " else "-" for character in name)
    return cleaned.strip(". ") or "run"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
