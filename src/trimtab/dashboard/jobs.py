"""Commands started from the dashboard, each a process of its own that outlives the server.

All that is known of a job stands in files (`<FOLDER>/.trimtab-dashboard/starts/<job>/`), so that a server that was
killed, or another one on the same folder, finds it again: `job.json` (what, which process), `recipe.yaml`, `log` (what
the command said), `out.json` (its result, of commands that print one), `exit` (its exit code, if a server saw it).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trimtab.core.errors import EXIT_INTERRUPTED, EXIT_TARGET_MISSED, EXIT_TERMINATED
from trimtab.core.files import disk_error, write_atomic, write_json
from trimtab.dashboard.drafts import recipe_file
from trimtab.dashboard.failures import Refusal

LOG_BYTES = 200_000
LAST_LINES = 40
# Checks and comparisons are of no use once they were looked at.
KEPT_SECONDS = 24 * 3600
MOST_AT_ONCE = 4
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_FINE = (0, EXIT_TARGET_MISSED, EXIT_INTERRUPTED, EXIT_TERMINATED)
RUN_KINDS = ("start", "resume")


@dataclass(frozen=True)
class Job:
    """A command that was started.

    Args:
        folder: its files.
        kind: `start`, `resume`, `check` or `compare`.
        run: the id of the run that it makes or goes on with.
        pid, pid_started: the process, and when it began, since numbers are used again; None until it has begun.
    """

    folder: Path
    kind: str
    run: str | None
    pid: int | None
    pid_started: float | None

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """What the command said."""
        return self.folder / "log"

    @property
    def out(self) -> Path:
        """What it printed as its result."""
        return self.folder / "out.json"

    def is_alive(self) -> bool:
        """Whether its process still runs."""
        if self.pid is None or self.pid_started is None:
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.pid_started) < 2 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def exit_code(self) -> int | None:
        """The exit code; None where it still runs, or no server saw its end."""
        try:
            return int((self.folder / "exit").read_text())
        except (OSError, ValueError):
            return None


class Jobs:
    """The jobs of a folder of runs.

    Args:
        home: `<FOLDER>/.trimtab-dashboard/starts`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.Lock()
        self._known: dict[str, Job] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(
        self,
        kind: str,
        arguments: Sequence[str],
        *,
        run: str | None = None,
        values: Mapping[str, Any] | None = None,
        result: bool = False,
    ) -> Job:
        """Start `trimtab ARGUMENTS`.

        Args:
            kind: of the job.
            arguments: `{recipe}` stands for the recipe file made of `values`.
            run: id of the run that it makes or goes on with.
            values: dotted recipe keys.
            result: stdout is a JSON object, and is kept apart from the log.

        Raises:
            Refusal: too many are running, or a value is none of a recipe.
            RunError: the folder cannot be written.
        """
        text = None if values is None else recipe_file(values)
        if kind not in RUN_KINDS and self._at_work() >= MOST_AT_ONCE:
            raise Refusal(503, "Several checks are running already.", "Wait for one of them to end.")
        folder = self.home / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)
            if text is not None:
                write_atomic(folder / "recipe.yaml", text)
            recipe = str(folder / "recipe.yaml")
            command = [recipe if word == "{recipe}" else word for word in arguments]
            record = {"format": 1, "kind": kind, "run": run, "command": ["trimtab", *command], "time": time.time()}
            write_json(folder / "job.json", record)
            process = _launch(folder, command, result)
            # Of another machine on the same disk, the number means nothing.
            record |= {"host": socket.gethostname(), "pid": process.pid, "pid_started": _started(process.pid)}
            write_json(folder / "job.json", record)
        except OSError as error:
            raise disk_error(folder, error) from error
        with self._lock:
            self._processes[folder.name] = process
        return self.get(folder.name)

    def get(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            Refusal: there is none.
        """
        job = self._read(self.home / job_id) if _ID.fullmatch(job_id) else None
        if job is None:
            raise Refusal(404, "There is no such job.", "Checks are kept for a day; start it again.")
        return job

    def all(self) -> Iterator[Job]:
        """Every job, the newest first."""
        try:
            names = sorted((entry.name for entry in os.scandir(self.home) if _ID.fullmatch(entry.name)), reverse=True)
        except OSError:
            return
        for name in names:
            job = self._read(self.home / name)
            if job is not None:
                yield job

    def alive_for(self, run_id: str) -> Job | None:
        """The job that is at work on a run."""
        return next((job for job in self.all() if job.run == run_id and job.is_alive()), None)

    def log_of(self, run_id: str) -> Path | None:
        """The newest log of a run that was started or resumed here."""
        return next((job.log for job in self.all() if job.run == run_id and job.log.is_file()), None)

    def status(self, job_id: str) -> dict[str, Any]:
        """State, result, error and last lines of a job, as the page asks for them."""
        job = self.get(job_id)
        self._note_exit(job)
        lines = tail(job.log, LOG_BYTES).splitlines()[-LAST_LINES:]
        told: dict[str, Any] = {
            "kind": job.kind,
            "run": job.run,
            "result": None,
            "error": None,
            "log": "\n".join(lines),
        }
        # The code first: a process that ends in between is then seen as running, and as ended next time.
        code = job.exit_code()
        if code is None and job.is_alive():
            return {"state": "running", **told}
        result = _read_object(job.out)
        if isinstance(result.get("error"), dict):
            return {**told, "state": "failed", "error": _error(result["error"])}
        if job.kind in RUN_KINDS:
            said = error_in(lines)
            failed = code not in _FINE if code is not None else said is not None and not _was_stopped(said)
            result = {"run": job.run, "exit_code": code}
        else:
            failed, said = not result, error_in(lines)
        if not failed:
            return {**told, "state": "done", "result": result}
        words = {"message": "The command ended without saying why.", "remedy": "See its log."}
        return {**told, "state": "failed", "error": said or words}

    def tidy(self) -> None:
        """Note the ends of processes, and remove what nobody will ask for: old checks, and starts that made no run."""
        for job in self.all():
            self._note_exit(job)
            made_run = job.kind in RUN_KINDS and (self.home.parents[1] / (job.run or "")).is_dir()
            if not made_run and not job.is_alive() and time.time() - job.folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _at_work(self) -> int:
        """How many checks and comparisons are running."""
        return sum(job.is_alive() for job in self.all() if job.kind not in RUN_KINDS)

    def _note_exit(self, job: Job) -> None:
        """Keep the exit code of a process of ours that has ended; asking for it also lets the system forget it."""
        with self._lock:
            process = self._processes.get(job.id)
            if process is not None and process.poll() is not None:
                write_atomic(job.folder / "exit", str(process.returncode))
                del self._processes[job.id]

    def _read(self, folder: Path) -> Job | None:
        if folder.name in self._known and folder.is_dir():
            return self._known[folder.name]
        record = _read_object(folder / "job.json")
        if not isinstance(record.get("kind"), str):
            return None
        pid, started, run = record.get("pid"), record.get("pid_started"), record.get("run")
        begun = isinstance(pid, int) and isinstance(started, int | float) and record.get("host") == socket.gethostname()
        job = Job(
            folder, record["kind"], run if isinstance(run, str) else None, *((pid, started) if begun else (None, None))
        )
        if begun:
            self._known[folder.name] = job
        return job


def _launch(folder: Path, arguments: Sequence[str], result: bool) -> subprocess.Popen[bytes]:
    """`trimtab ARGUMENTS` in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with open(folder / "log", "ab") as log, open(folder / "out.json" if result else os.devnull, "wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out if result else log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _started(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return time.time()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def tail(path: Path, most: int) -> str:
    """The last bytes of a text file, from the start of a line; empty when there is no file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            data = file.read(most)
    except OSError:
        return ""
    if size > most:
        data = data[data.find(b"\n") + 1 :]
    return data.decode("utf-8", errors="replace")


def error_in(lines: Sequence[str]) -> dict[str, Any] | None:
    """The error that a command told at its end: `error: MESSAGE`, then problems as `  - …`, then the remedy."""
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        return None
    first, *rest = lines[starts[-1] :]
    problems = [line.removeprefix("  - ") for line in rest if line.startswith("  - ")]
    remedy = " ".join(line for line in rest if line.strip() and not line.startswith("  - "))
    return _error({"message": first.removeprefix("error: "), "problems": problems, "remedy": remedy})


def _was_stopped(said: Mapping[str, Any]) -> bool:
    """Whether a run said that it was stopped and can go on, as `InterruptedRun` words it."""
    return str(said["remedy"]).startswith("Go on with: ")


def _error(told: Mapping[str, Any]) -> dict[str, Any]:
    """As the page takes it, with the single faults where there are several."""
    problems = [str(problem) for problem in told.get("problems") or ()]
    return {"message": str(told.get("message", "")), "problems": problems, "remedy": str(told.get("remedy", ""))}
