"""Runs in processes of their own, several at a time: forks of a server that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planned import Planned, planned_run

HERE = Path(__file__).resolve().parent
PRELOADED = ["plant", "trimtab.api", "trimtab.cli.main", "transformers", "sklearn.linear_model", "pandas", "torch"]
SECONDS = 600
"""After which a run is given up."""


@dataclass(frozen=True)
class Task:
    """A run to be done.

    Args:
        run: what.
        raw: folder that its own folder is made in.
        extra: recipe keys that take precedence.
    """

    run: Planned
    raw: Path
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether its record is there."""
        return (self.raw / self.run.key / "meta.json").exists()


def do_all(tasks: Iterable[Task], workers: int) -> None:
    """Do what is not done yet, `workers` at a time with one thread each, and print a line for each."""
    missing = [task for task in tasks if not task.done]
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def do(task: Task) -> None:
        began = time.perf_counter()
        task.raw.mkdir(parents=True, exist_ok=True)
        # By their names: the functions that plant a fault do not travel to another process.
        names = (task.run.world.name, task.run.name, task.run.seed, task.run.test_rows)
        process = context.Process(target=_do, args=(names, task.raw, dict(task.extra)))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        state = "ok" if process.exitcode == 0 else f"FAILED, see {task.raw / task.run.key}.log"
        print(f"{task.raw.name} {task.run.key}: {time.perf_counter() - began:.0f} s, {state}", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(do, missing))


def _do(names: tuple[str, str, int, int | None], raw: Path, extra: dict[str, Any]) -> None:
    """Do a run in this process, with its output in a file that stays where it failed."""
    from plant import plant

    run = planned_run(*names)
    log = raw / f"{run.key}.log"
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            plant(run, raw, extra)
        except BaseException:  # noqa: BLE001 (nothing may leave a process that ends here)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    log.unlink()
    # Threads of libraries may keep a finished process alive.
    os._exit(0)
