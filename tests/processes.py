"""The command line in processes of its own, that take real signals; forked from one server, so as to import once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_PRELOADED = ["torch", "transformers", "trimtab.pipeline.train", "trimtab.cli.results", "trimtab.evaluation.baselines"]
_MOST_SECONDS = 120


def _server() -> Any:
    # One thread: a fork keeps no threads of a pool, and bit-identity then needs no promise about their number.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _run(arguments: list[str], folder: str, out: str) -> None:
    """Body of the child: as the `trimtab` command does it, with the output in two files."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(f"{out}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    from trimtab.cli.main import cli

    cli.main(arguments, prog_name="trimtab")


@dataclass
class Command:
    """A `trimtab` command in a process of its own."""

    process: BaseProcess
    out: Path

    @property
    def exit_code(self) -> int | None:
        """Exit code; minus the signal's number when one killed it; None while it runs."""
        return self.process.exitcode

    @property
    def stdout(self) -> str:
        return self.out.with_name(f"{self.out.name}.stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self.out.with_name(f"{self.out.name}.stderr").read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.process.is_alive():
            os.kill(self.process.pid or 0, number)

    def wait(self) -> Command:
        """Wait for the end."""
        self.process.join(_MOST_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"the command still ran after {_MOST_SECONDS} s: {self.stderr}")
        return self

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Poll until the condition holds or the process has ended; say whether it held."""
        end = time.monotonic() + _MOST_SECONDS
        while self.process.is_alive() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.0002)
        return False


def start(folder: Path, *arguments: str) -> Command:
    """Start `trimtab` with these arguments in `folder`."""
    number = len(list(folder.glob("out-*.stdout")))
    out = folder / f"out-{number}"
    process = _server().Process(target=_run, args=(list(arguments), str(folder), str(out)))
    process.start()
    return Command(process, out)


def finish(folder: Path, *arguments: str) -> Command:
    """Run `trimtab` with these arguments in `folder` to its end."""
    return start(folder, *arguments).wait()
