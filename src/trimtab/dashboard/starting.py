"""What a new run is called and made of: checks before a process is started."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimtab.core.heartbeat import read_heartbeat
from trimtab.core.runs import RunDirectory, new_run_path
from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.jobs import Job, Jobs

NAME_BYTES = 120
LEAVE_SECONDS = 20.0
# Keys that have a program or foreign code run, which is for those who sit at the machine.
CODE_KEYS = ("alerts.command", "model.trust_remote_code")
RECIPE_SUFFIXES = (".yaml", ".yml")


def checked_data(data: str) -> Path:
    """The data as an absolute path.

    Raises:
        Refusal: nothing was named, nothing is there, or it is a recipe.
    """
    if not data.strip():
        raise Refusal(400, "No data were named.", "Write the path of a file or a folder on the dashboard's machine.")
    try:
        path = Path(data.strip()).expanduser().resolve()
        is_there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise Refusal(400, f"{data!r} cannot be a path: {error}.", "Write the path of a file or a folder.") from error
    if not is_there:
        raise Refusal(
            400,
            f"There are no data at {path}.",
            "Check the path; it is one of the machine on which the dashboard runs, from "
            f"{Path.cwd()} where it does not begin with '/'.",
        )
    if path.suffix.lower() in RECIPE_SUFFIXES:
        raise Refusal(
            400, f"{path.name} is a recipe, and data are wanted.", "Name a file or folder with labelled rows."
        )
    return path


def checked_name(name: str) -> str:
    """A name for a run: one part of a path, and no other.

    Raises:
        Refusal: it cannot be a directory's name.
    """
    name = name.strip()
    fault = ""
    if not name or name.startswith(".") or set(name) & set("/\\"):
        fault = "it is empty, begins with a dot, or holds a slash"
    elif not name.isprintable():
        fault = "it holds a line end or another sign that cannot be seen"
    elif len(name.encode("utf-8", "replace")) > NAME_BYTES:
        fault = f"it is longer than {NAME_BYTES} bytes"
    if fault:
        raise Refusal(400, f"{name!r} cannot be the name of a run: {fault}.", "Choose another, or leave it empty.")
    return name


def refuse_code(values: Mapping[str, Any]) -> None:
    """Refuse settings by which a visitor from elsewhere would have this machine run what he likes.

    Args:
        values: dotted keys, or sections with their keys.

    Raises:
        Refusal: one of them does.
    """
    for key in CODE_KEYS:
        section, _, name = key.partition(".")
        whole = values.get(section)
        if values.get(key) or (isinstance(whole, Mapping) and whole.get(name)):
            raise Refusal(
                403,
                f"{key} cannot be set from this dashboard, as others than this machine can reach it.",
                f"Leave {key} as it is; or start the run on the machine itself, by 'trimtab train' or by a dashboard "
                "without --host and --allow-host.",
            )


class Starter:
    """Starts runs in a folder, each under a name of its own.

    Args:
        folder: of the runs.
        jobs: that start the processes.
    """

    def __init__(self, folder: Path, jobs: Jobs) -> None:
        self.folder = folder
        self.jobs = jobs
        self._lock = threading.Lock()

    def check(self, data: str, values: Mapping[str, Any]) -> Job:
        """Start the data report.

        Raises:
            Refusal: there are no such data, or a key is none of a recipe.
        """
        path = checked_data(data)
        arguments = ["check", "--recipe", "{recipe}", "--json", "--", str(path)]
        return self.jobs.spawn("check", arguments, values=_without_own(values), result=True)

    def start(self, data: str, values: Mapping[str, Any], name: str | None) -> Job:
        """Start a run.

        Raises:
            Refusal: there are no such data, the name is taken or cannot be one, or a key is none of a recipe.
        """
        path = checked_data(data)
        model = values.get("model.name")
        with self._lock:
            run_id = self._free_name(name, path, model if isinstance(model, str) else "starter")
            arguments = ["train", "--recipe", "{recipe}", "--output", str(self.folder / run_id), "--", str(path)]
            return self.jobs.spawn("start", arguments, run=run_id, values=_without_own(values))

    def resume(self, run_id: str, path: Path) -> Job:
        """Go on with a run that has ended; a process of its own that has yet to leave is waited for.

        Raises:
            Refusal: that has been asked already.
        """
        self._wait_for_end(run_id, path)
        with self._lock:
            if self.jobs.alive_for(run_id) is not None:
                raise Refusal(409, "This run is being started or resumed already.", "Wait a few seconds.")
            return self.jobs.spawn("resume", ["resume", "--", str(path)], run=run_id)

    def _wait_for_end(self, run_id: str, path: Path) -> None:
        """Wait while the process that wrote the end of a run lives on: it says so before it has left."""
        job, beat = self.jobs.alive_for(run_id), read_heartbeat(RunDirectory(path).heartbeat) or {}
        end = time.monotonic() + LEAVE_SECONDS
        while job is not None and job.pid == beat.get("pid") and job.is_alive() and time.monotonic() < end:
            time.sleep(0.05)

    def _free_name(self, name: str | None, data: Path, model: str) -> str:
        # A run takes its name only once its data are prepared.
        coming = {job.run for job in self.jobs.all() if job.kind == "start" and job.is_alive()}
        if name is not None and name.strip():
            wanted = checked_name(name)
            if wanted in coming or _is_taken(self.folder / wanted):
                raise Refusal(409, f"A run named {wanted!r} exists already.", "Choose another name, or leave it empty.")
            return wanted
        return _first_free(self.folder, data.stem if data.is_file() else data.name, model, coming)


def _is_taken(path: Path) -> bool:
    try:
        return path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir())))
    except OSError:
        return True


def _first_free(folder: Path, data: str, model: str, coming: Iterable[str | None]) -> str:
    found = new_run_path(folder, data, model).name
    stem, _, number = found.rpartition("-")
    count = int(number)
    taken = set(coming)
    while f"{stem}-{count}" in taken or (folder / f"{stem}-{count}").exists():
        count += 1
    return f"{stem}-{count}"


def _without_own(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that the command line names."""
    return {key: value for key, value in values.items() if key not in ("output", "data.path")}
