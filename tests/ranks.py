"""A function in several processes that exchange tensors (gloo), forked from one server so as to import once."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import processes

_MOST_SECONDS = 120


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _body(function: Callable[..., Any], arguments: tuple[Any, ...], rank: int, count: int, port: int, out: Any) -> None:
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        out.send((True, function(*arguments)))
    except BaseException:  # noqa: BLE001 (told in the process that waits)
        out.send((False, traceback.format_exc()))
    finally:
        out.close()
        # Without the exit handlers of a process that others may still talk to.
        os._exit(0)


def run(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function in `count` processes, as `torchrun` starts them; return what each gave, in their order.

    Args:
        count: number of processes.
        function: of a module that can be imported; what it gives is pickled, so arrays and not tensors.
        arguments: the same for all.
    """
    context = processes._server()
    port = free_port()
    started = []
    for rank in range(count):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_body, args=(function, arguments, rank, count, port, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    results = []
    try:
        for rank, (_, ours) in enumerate(started):
            if not ours.poll(_MOST_SECONDS):
                raise TimeoutError(f"process {rank} of {count} gave nothing in {_MOST_SECONDS} s")
            well, result = ours.recv()
            if not well:
                raise AssertionError(f"process {rank} of {count} failed:\n{result}")
            results.append(result)
    finally:
        for process, _ in started:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
    return results
