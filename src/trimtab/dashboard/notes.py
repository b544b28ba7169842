"""Tags, notes and the archive: what people say of runs, kept beside the runs and never in them.

Two dashboards may be open on one folder, so the file is read again whenever it has changed, and a change touches one
run's entry only, under a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trimtab.core.files import disk_error, write_json
from trimtab.dashboard.failures import Refusal

MOST_TAGS = 20
TAG_CHARACTERS = 40
NOTE_CHARACTERS = 10_000
_Stamp = tuple[int, int, int]


class Notes:
    """The file `notes.json` of a dashboard's folder.

    Args:
        folder: `<FOLDER>/.trimtab-dashboard`; it is made when something is written first.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes.json"
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._entries: dict[str, dict[str, Any]] = {}

    @property
    def stamp(self) -> _Stamp | None:
        """What changes whenever the file does; None while there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def all(self) -> dict[str, dict[str, Any]]:
        """Run id -> its entry, with `tags`, `note` and `archived`; only of runs of which something was said."""
        with self._lock:
            return self._fresh()

    def of(self, run_id: str) -> dict[str, Any]:
        """The entry of a run."""
        return {"tags": [], "note": "", "archived": False, **self.all().get(run_id, {})}

    def change(self, run_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Write what is new in the entry of a run, and return the entry.

        Args:
            changes: `tags`, `note` or `archived`; what is not named stays.

        Raises:
            Refusal: a value is too long, or the file is damaged.
            RunError: it cannot be written.
        """
        wanted = _checked(changes)
        with self._lock, self._alone():
            self._stamp = None  # the other dashboard may have written within one tick of the clock
            entries = self._fresh(strict=True)
            entries[run_id] = {"tags": [], "note": "", "archived": False, **entries.get(run_id, {}), **wanted}
            write_json(self.path, entries)
            self._entries, self._stamp = entries, self.stamp
            return entries[run_id]

    def _fresh(self, *, strict: bool = False) -> dict[str, dict[str, Any]]:
        stamp = self.stamp
        if stamp is None:
            self._entries, self._stamp = {}, None
        elif stamp != self._stamp:
            self._entries, self._stamp = self._read(strict), stamp
        return dict(self._entries)

    def _read(self, strict: bool) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            if strict:
                raise Refusal(
                    500,
                    f"The notes in {self.path} cannot be read ({error}), and nothing is written over them.",
                    "Repair the file, or move it away.",
                ) from error
            return {}
        entries = content.items() if isinstance(content, dict) else ()
        return {str(run_id): _sound(entry) for run_id, entry in entries if isinstance(entry, dict)}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other dashboards out while the file is read, changed and written."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            handle = os.open(self.path.with_name("notes.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise disk_error(self.path, error) from error
        try:
            with contextlib.suppress(ImportError, OSError):  # where there are no locks, the last write holds
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    wanted = dict(changes)
    if "tags" in wanted:
        # In the order given, each once.
        tags = list(dict.fromkeys(tag for tag in (" ".join(str(tag).split()) for tag in wanted["tags"]) if tag))
        if len(tags) > MOST_TAGS or any(len(tag) > TAG_CHARACTERS for tag in tags):
            raise Refusal(
                400, f"A run takes up to {MOST_TAGS} tags of up to {TAG_CHARACTERS} characters.", "Shorten them."
            )
        wanted["tags"] = tags
    if len(wanted.get("note", "")) > NOTE_CHARACTERS:
        raise Refusal(400, f"A note takes up to {NOTE_CHARACTERS:,} characters.", "Shorten it.")
    return wanted


def _sound(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as somebody's editor may have left it, with values of the right kinds."""
    tags = entry.get("tags")
    return {
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
        "note": str(entry.get("note") or ""),
        "archived": entry.get("archived") is True,
    }
