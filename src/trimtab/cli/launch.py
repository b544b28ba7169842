"""`--devices N`: the same command in N processes of this machine, one a device.

Torch's own launcher kills its processes 30 seconds after a signal, which may be too soon for the step and the
checkpoint that a run ends with, and gives back no exit code of theirs. Here a signal is handed on and waited for, and
the first process speaks for all: what it prints and its exit code are those of the command.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from trimtab.core.errors import EXIT_TARGET_MISSED, RecipeError, TrainingError

F = TypeVar("F", bound=Callable[..., Any])

# Once a process has failed, the others get so long to end by themselves, and then to end when they are told.
GRACE_SECONDS = 20.0
KILL_SECONDS = 10.0
# Of what a process other than the first has said, shown where it failed alone.
LAST_LINES = 15
_FLAG = "--devices"


def devices_option(command: F) -> F:
    """Decorator: the option `--devices`, passed as `devices`."""
    option = click.option(
        _FLAG,
        type=click.IntRange(min=1),
        metavar="INTEGER",
        help="GPUs of this machine to train on, one process each; on a CPU, so many processes. Several machines: "
        "docs/scaling.md.",
    )
    return option(command)


def processes_to_start(devices: int | None) -> int:
    """How many processes this one has to start; 0 where it trains itself.

    Args:
        devices: of the option.

    Raises:
        RecipeError: torchrun, or another launcher, has started this process as one of several.
    """
    if devices is None:
        return 0
    if "RANK" in os.environ:
        raise RecipeError(
            f"{_FLAG} {devices}: this process is one of {os.environ.get('WORLD_SIZE', 'several')} that a launcher such "
            "as torchrun has started.",
            remedy=f"Leave out {_FLAG}: the number of processes is the launcher's (--nproc-per-node).",
        )
    return devices if devices > 1 else 0


def check_devices(wanted: int, device: str) -> str:
    """See that there are as many devices as wanted.

    Args:
        wanted: number of processes, above 1.
        device: `training.device` of the recipe.

    Returns:
        Kind of device that the processes train on: `cuda` or `cpu`.

    Raises:
        RecipeError: there are not, or the device is a single one.
    """
    import torch

    from trimtab.pipeline.resolve import choose_device

    chosen = choose_device(device)
    if chosen.type not in ("cuda", "cpu") or ":" in device:
        named = device if ":" in device else chosen.type
        raise RecipeError(
            f"{_FLAG} {wanted}: training.device is {named}, a single one.",
            remedy=f"Leave out {_FLAG}, or set training.device to cuda or cpu.",
        )
    if chosen.type == "cpu":
        return "cpu"
    there = torch.cuda.device_count()
    if wanted > there:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(there))
        raise RecipeError(
            f"{_FLAG} {wanted}: this machine has {there} GPU{'' if there == 1 else 's'} ({names}).",
            remedy=f"Give {_FLAG} {there} or fewer; CUDA_VISIBLE_DEVICES may hide some.",
        )
    return "cuda"


def launch(arguments: Sequence[str], devices: int, kind: str) -> int:
    """Run `trimtab ARGUMENTS` in several processes, and wait for them.

    Args:
        arguments: those of this command; `--devices` is taken out.
        devices: number of processes.
        kind: `cuda` or `cpu`; the processes share the cores of the latter.

    Returns:
        The exit code of the first process, which has said why.

    Raises:
        TrainingError: another process failed alone.
    """
    command = [sys.executable, "-m", "trimtab.cli.main", *without_devices(arguments)]
    with tempfile.TemporaryDirectory(prefix="trimtab-processes-") as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(devices)]
        started: list[subprocess.Popen[bytes]] = []
        with _handing_on_signals(started):
            for rank, environment in enumerate(_environments(devices, kind)):
                started.append(_start(command, environment, None if rank == 0 else logs[rank]))
            first_to_fail = _wait(started)
        codes = [process.returncode for process in started]
        if first_to_fail is None or codes[0] == codes[first_to_fail]:
            return codes[0]
        raise _failed_alone(first_to_fail, codes, logs[first_to_fail])


def without_devices(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command but for `--devices N`."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*kept, argument, *rest]
        if argument == _FLAG:
            next(rest, None)
        elif not argument.startswith(f"{_FLAG}="):
            kept.append(argument)
    return kept


def _environments(devices: int, kind: str) -> Iterator[dict[str, str]]:
    """What each process has to know: its number and where to meet. The names are those that torchrun uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if kind == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        shared["OMP_NUM_THREADS"] = str(max(1, _cores() // devices))
    for rank in range(devices):
        yield {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(command: list[str], environment: dict[str, str], log: Path | None) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C reaches it once, through us."""
    if log is None:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


@contextmanager
def _handing_on_signals(started: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Send SIGINT and SIGTERM to the processes, which end at a step with a checkpoint; a closed terminal likewise.

    Whatever else ends the wait kills them.
    """

    def hand_on(number: int, frame: object) -> None:
        _send(started, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    before = {}
    if threading.current_thread() is threading.main_thread():
        wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        before = {number: signal.signal(number, hand_on) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()


def _send(started: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all to end. Where one fails, and the others wait for it in vain, they are ended too.

    Returns:
        Which process failed first; None where all went well.
    """
    first: int | None = None
    deadline = float("inf")
    told = False
    while running := [process for process in started if process.poll() is None]:
        if first is None:
            first = _failed(started)
            deadline = float("inf") if first is None else time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            _send(running, signal.SIGKILL if told else signal.SIGTERM)
            told, deadline = True, time.monotonic() + KILL_SECONDS
        time.sleep(0.05)
    return _failed(started) if first is None else first


def _failed(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The lowest number of a process that has ended badly; a target that was not reached is no failure."""
    codes = [process.poll() for process in started]
    return next((rank for rank, code in enumerate(codes) if code not in (None, 0, EXIT_TARGET_MISSED)), None)


def _failed_alone(rank: int, codes: Sequence[int], log: Path) -> TrainingError:
    code = codes[rank]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return TrainingError(
        f"Process {rank} of {len(codes)} {how}, and the others were ended.",
        problems=[line for line in said if line.strip()][-LAST_LINES:],
        remedy="The run's newest checkpoint holds: go on with trimtab resume RUN, with any number of --devices. A "
        "process that was killed may have run out of memory.",
    )
