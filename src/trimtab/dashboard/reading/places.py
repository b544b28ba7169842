"""The runs below a folder, ours and foreign, found by the names of their files."""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

DEPTH = 3
"""Levels below the folder that are looked at."""
MOST_FOLDERS = 20_000
"""Looked at in one search: more are a disk, not a folder of runs."""
CALLBACK_FOLDER = "trimtab_doctor"
STATE_FILE = "trainer_state.json"
METRICS_FILE = "metrics.csv"
LOG_PATTERN = re.compile(r".*tfevents.*")
LOG_FOLDERS = frozenset({"train", "eval", "evaluation", "val", "valid", "validation", "dev"})
"""Below a run of Keras, a folder of logs for each of its sets of rows."""
_CHECKPOINT = re.compile(r"(?:checkpoint|step)-(\d+)")
_LEFT_OUT = frozenset({"checkpoints", "node_modules", "__pycache__", CALLBACK_FOLDER})
_TRACKING = "tracking"
"""Below a run of ours, what it wrote for other programs: the same run once more."""
_STARTED = frozenset({"environment.json", "data", "checkpoints", "strategy.json"})


@dataclass(frozen=True)
class Place:
    """Where a run is.

    Args:
        id: what the page calls it: its path below the folder, with `/`.
        name: name of its directory.
        path: its directory.
        record: the directory with our files: the same, or that of a callback within it.
        foreign: None for a run of ours, else `transformers`, `tensorboard`, `csv` or `callback`.
        source: of a foreign run, the file or folder that holds its record.
    """

    id: str
    name: str
    path: Path
    record: Path
    foreign: str | None
    source: Path

    @property
    def events(self) -> Path:
        """The record of events; of a foreign run without one, where it would be."""
        return self.record / "events.jsonl"

    @property
    def needs_conversion(self) -> bool:
        """Whether its record must first be made into events."""
        return self.foreign not in (None, "callback")


def find_places(folder: Path, depth: int = DEPTH) -> dict[str, Place]:
    """The runs in `folder` and below it, by id. What cannot be read is passed over; nothing below a run is looked at.

    Hidden folders and those of checkpoints are left out, and symbolic links: they may lead out of the folder, and what
    they lead to within it is found by itself.
    """
    root = folder.resolve()
    places: dict[str, Place] = {}
    # A dot alone would vanish from an address; no path below a folder begins with `./`.
    waiting = deque([(root, f"./{_text_of(root.name)}", 0)])
    looked_at = 0
    while waiting and looked_at < MOST_FOLDERS:
        path, run_id, level = waiting.popleft()
        looked_at += 1
        try:
            with os.scandir(path) as entries:
                found = list(entries)
        except OSError:
            continue
        kind = _kind_of(path, found)
        if kind is not None:
            place = _place(path, _unique(run_id, places), *kind)
            places[place.id] = place
        if level < depth and (kind is None or not level):
            prefix = f"{run_id}/" if level else ""
            names = sorted(entry.name for entry in found if _may_hold_runs(entry))
            if kind is not None and kind[0] is None:
                names = [name for name in names if name != _TRACKING]
            waiting += [(path / name, prefix + _text_of(name), level + 1) for name in names]
    return places


def _place(path: Path, run_id: str, foreign: str | None, source: Path) -> Place:
    record = path / CALLBACK_FOLDER if foreign == "callback" else path
    return Place(run_id, _text_of(path.name) or str(path), path, record, foreign, source)


def _may_hold_runs(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    is_left_out = name.startswith(".") or name in _LEFT_OUT or _CHECKPOINT.fullmatch(name)
    return not is_left_out and entry.is_dir(follow_symlinks=False)


def _kind_of(path: Path, entries: list[os.DirEntry[str]]) -> tuple[str | None, Path] | None:
    """What kind of run a folder holds, and where its record is; None where it holds none."""
    files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    folders = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    if "events.jsonl" in files or ("recipe.yaml" in files and _STARTED & (files | folders)):
        return None, path
    if CALLBACK_FOLDER in folders and _is_plain_file(path / CALLBACK_FOLDER / "events.jsonl"):
        return "callback", path / CALLBACK_FOLDER / "events.jsonl"
    state = _newest_state(path, files, folders)
    if state is not None:
        return "transformers", state
    if METRICS_FILE in files:
        return "csv", path / METRICS_FILE
    logs = [name for name in files if LOG_PATTERN.fullmatch(name)]
    if logs or any(_has_log(path / name) for name in folders & LOG_FOLDERS):
        return "tensorboard", path
    return None


def _newest_state(path: Path, files: set[str], folders: set[str]) -> Path | None:
    if STATE_FILE in files:
        return path / STATE_FILE
    steps = {int(match[1]): name for name in folders if (match := re.fullmatch(r"checkpoint-(\d{1,18})", name))}
    for step in sorted(steps, reverse=True)[:5]:
        if _is_plain_file(path / steps[step] / STATE_FILE):
            return path / steps[step] / STATE_FILE
    return None


def _has_log(path: Path) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(LOG_PATTERN.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) for entry in entries)
    except OSError:
        return False


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _text_of(name: str) -> str:
    """A name as text that can be sent, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def _unique(run_id: str, taken: dict[str, Place]) -> str:
    number, unique = 2, run_id
    while unique in taken:
        unique, number = f"{run_id}~{number}", number + 1
    return unique
