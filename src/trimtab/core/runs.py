"""The run directory: its files, its making, and the listing of runs. Imports no torch.

The layout is the contract with everything that reads a run; see `RunDirectory`'s properties.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trimtab.core.errors import RunError
from trimtab.core.files import disk_error, fsync_path
from trimtab.core.heartbeat import state_by_heartbeat

# Of a record's end, what is read for its last event. A line with a finding's evidence may be long.
_TAIL_BYTES = 1 << 18


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run directory.

    Args:
        path: the directory, e.g. `runs/tickets-starter-1`.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, each value with its origin."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware, git revision, data fingerprints and seed."""
        return self.path / "environment.json"

    @property
    def events(self) -> Path:
        """Append-only record of steps, evaluations, findings and actions."""
        return self.path / "events.jsonl"

    @property
    def heartbeat(self) -> Path:
        """How the run goes, written every few seconds while its process lives."""
        return self.path / "heartbeat.json"

    @property
    def control(self) -> Path:
        """Folder of what is asked of the run while it goes on."""
        return self.path / "control"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, one sub-folder each."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The final model in `save_pretrained` layout."""
        return self.path / "model"

    @property
    def rows(self) -> Path:
        """What training said of each row, epoch by epoch."""
        return self.path / "monitor" / "rows.npz"

    @property
    def diagnosis(self) -> Path:
        """What the doctor found."""
        return self.path / "diagnosis.json"

    @property
    def evaluation(self) -> Path:
        """Metrics with intervals, baselines and verdict."""
        return self.path / "evaluation.json"

    @property
    def predictions(self) -> Path:
        """A row for each row of the evaluated split."""
        return self.path / "predictions.parquet"

    @property
    def data(self) -> Path:
        """The prepared splits as Parquet, so that resuming needs no second look at the user's files."""
        return self.path / "data"

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end: the evaluation is the last thing written."""
        return self.evaluation.exists()

    def refuse_existing(self) -> None:
        """Refuse a path that is taken; an empty directory is not.

        Raises:
            RunError: something is there, with what can be done about it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file.", remedy="Choose another name with --output DIR.")
        if self.path.exists() and any(self.path.iterdir()):
            hint = (
                f"Go on with it by 'trimtab resume {self.path}', or choose"
                if self.recipe.exists() and not self.is_finished
                else "Choose"
            )
            raise RunError(
                f"The run directory {self.path} exists already and is not empty.",
                remedy=f"{hint} another name with --output DIR.",
            )

    @contextmanager
    def created(self) -> Iterator[RunDirectory]:
        """Make the directory with its first files, all or nothing.

        Yields a directory aside to write them into; it takes the run's name when the block ends. A process killed
        before leaves nothing under that name.

        Raises:
            RunError: the path is taken, or cannot be written.
        """
        self.refuse_existing()
        _remove_abandoned(self.path)
        aside = RunDirectory(self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp"))
        try:
            aside.checkpoints.mkdir(parents=True)
            yield aside
            aside.path.replace(self.path)
            fsync_path(self.path.parent)
        except OSError as error:
            raise disk_error(self.path, error) from error
        finally:
            shutil.rmtree(aside.path, ignore_errors=True)

    def remove_torn(self) -> None:
        """Remove what a killed process left half-written: files and folders on the way to their final name."""
        for path in self.path.glob(".*.tmp"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left on its way to the name `path`."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        owner = left.name.split(".")[-2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def open_run(path: str | os.PathLike[str]) -> RunDirectory:
    """The run directory at `path`.

    Raises:
        RunError: nothing is there, or it holds no `recipe.yaml`.
    """
    run = RunDirectory(Path(path))
    if not run.path.exists():
        raise RunError(f"No run directory at {run.path}.", remedy="List the runs with: trimtab runs [FOLDER]")
    if not run.recipe.is_file():
        raise RunError(
            f"{run.path} is not a run directory: it has no recipe.yaml.",
            remedy="Name the directory that 'trimtab train' printed, or list the runs with: trimtab runs [FOLDER]",
        )
    return run


def new_run_path(folder: Path, data_name: str, model_name: str) -> Path:
    """The first free `folder/<data>-<model>-<n>`, with n from 1."""
    stem = "-".join(_slug(name) for name in (data_name, model_name))
    taken = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return folder / f"{stem}-{number}"


def _slug(name: str) -> str:
    """`name` as part of a directory name: of a path or a Hub id, the last component."""
    cleaned = re.sub(r"[^\w.]+", "-", Path(name).name).strip("-.")
    return cleaned[:40] or "run"


def list_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a summary of each run below `folder`, the oldest first.

    A summary has `run`, `state`, `step`, `metric`, `value`, `low`, `high`, `model`, `data`, `strategy`, `task` and
    `time` (of the start). A damaged run yields what can be read.
    """
    if not folder.is_dir():
        raise RunError(f"No folder {folder} to list runs from.", remedy="Name the folder that holds the runs.")
    below = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    candidates = [folder, *sorted(below)]
    runs = [RunDirectory(path) for path in candidates if (path / "recipe.yaml").is_file()]
    for run in sorted(runs, key=lambda run: run.recipe.stat().st_mtime):
        yield summarise(run)


def summarise(run: RunDirectory) -> dict[str, Any]:
    """What `trimtab runs` shows of one run."""
    first, last = read_ends(run.events)
    evaluation = _read_json(run.evaluation)
    environment = _read_json(run.environment)
    metric = evaluation.get("primary_metric")
    interval = evaluation.get("metrics", {}).get(metric, {}) if metric else {}
    step = last.get("step")
    return {
        "run": str(run.path),
        "state": state_of(run, last),
        "step": step if isinstance(step, int) else 0,
        "metric": metric,
        "value": interval.get("value"),
        "low": interval.get("low"),
        "high": interval.get("high"),
        **{key: environment.get("run", {}).get(key) for key in ("model", "data", "strategy", "task")},
        "time": first.get("time"),
    }


def state_of(run: RunDirectory, last: Mapping[str, Any]) -> str:
    """The state of a run.

    Args:
        run: the run directory.
        last: the last event of its record.

    Returns:
        `finished`, `preparing`, `running`, `evaluating`, `paused`, `finishing`, `stopped` (it can be resumed, by its
        own doing), `failed`, or `crashed`: its process is gone without a word. `unfinished` where a run without a
        heartbeat, of an earlier version, leaves that open.
    """
    if run.is_finished:
        return "finished"
    known = state_by_heartbeat(run.heartbeat)
    if known not in (None, "crashed"):
        return known
    # The last thing that a run does on a signal, should its heartbeat not have been written.
    return "stopped" if last.get("action") == "interrupted" else known or "unfinished"


def read_ends(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the last event of a record, without reading what is between; empty where there is none."""
    try:
        with open(path, "rb") as file:
            first = file.readline(_TAIL_BYTES)
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = [first, *file.read().split(b"\n")]
    except OSError:
        return {}, {}
    found = [event for line in lines if (event := _parsed(line)) is not None]
    return (found[0], found[-1]) if found else ({}, {})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
