"""The processes that hold models for `predict`: one a run, few at a time, ended when nobody asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from trimtab.dashboard.failures import Refusal

MOST_WORKERS = 2
IDLE_SECONDS = 300.0
START_SECONDS = 120.0
ANSWER_SECONDS = 120.0
LINE_BYTES = 64 << 20
_WORDS_AT_DEATH = 2000
_DEATH_SECONDS = 5.0


def model_stamp(run: Path) -> tuple[int, int] | None:
    """What changes when the model of a run is another one; None where there is none."""
    try:
        found = (run / "model").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class Worker:
    """The server's end of one `trimtab.dashboard.predictor`.

    Args:
        run: path of the run directory.
        command: how the worker is started, for tests.
    """

    def __init__(self, run: Path, command: Sequence[str]) -> None:
        self.run = run
        self.command = [*command, str(run)]
        self.stamp = model_stamp(run)
        self.asked_at = time.monotonic()
        self.waiting = 0
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._said: IO[bytes] | None = None
        self._number = 0

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The predictions for a request; starts the process where there is none.

        Raises:
            Refusal: the model cannot be loaded or cannot predict this, the process died, or took too long.
        """
        self.waiting += 1
        self.asked_at = time.monotonic()
        try:
            async with self._lock:
                if not self.is_alive:
                    await self._start()
                self._number += 1
                answer = await self._exchange({"id": self._number, **request})
        finally:
            self.waiting -= 1
            self.asked_at = time.monotonic()
        if "error" in answer:
            raise Refusal(400, answer["error"]["message"], answer["error"]["remedy"])
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions

    async def _start(self) -> None:
        self._drop_words()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._said,
            limit=LINE_BYTES,
            start_new_session=True,
        )
        told = await self._line(START_SECONDS, "to load the model")
        if not told.get("ready"):
            await self.end()
            error = told.get("error") or {"message": "The model cannot be loaded.", "remedy": ""}
            raise Refusal(409, error["message"], error["remedy"])

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise await self._death() from error
        return await self._line(ANSWER_SECONDS, "for a prediction")

    async def _line(self, seconds: float, purpose: str) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
            return dict(json.loads(line)) if line else self._raise(await self._death())
        except asyncio.TimeoutError as error:
            await self.end()
            raise Refusal(
                504, f"The model took longer than {seconds:.0f} s {purpose}.", "Try a shorter input, or try again."
            ) from error
        except asyncio.CancelledError:
            # The answer would be read by whoever asks next.
            await asyncio.shield(self.end())
            raise
        except ValueError as error:
            await self.end()
            raise Refusal(500, f"The model's process answered what cannot be read: {error}", "Try again.") from error

    @staticmethod
    def _raise(error: Refusal) -> dict[str, Any]:
        raise error

    async def _death(self) -> Refusal:
        """What is told when the process ended by itself."""
        process = self._process
        if process is not None:
            # A kill now would take the exit code away from asyncio, which would report 255.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), _DEATH_SECONDS)
        said = self._last_words()
        await self.end()
        code = process.returncode if process is not None else None
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        last = f" It said: {said}" if said else ""
        return Refusal(
            500,
            f"The process that holds the model ended ({how}).{last}",
            "Try again; if it ends again, see whether the machine is out of memory.",
        )

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0, 2)
        self._said.seek(max(0, self._said.tell() - _WORDS_AT_DEATH))
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    async def end(self) -> None:
        """End the process: it keeps nothing that could be lost."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
        self._drop_words()

    def _drop_words(self) -> None:
        if self._said is not None:
            self._said.close()
            self._said = None


class Workers:
    """The workers of a server.

    Args:
        most: alive at once; the one that was asked longest ago makes room.
        idle_seconds: after which one ends.
        command: how a worker is started, without the run.
    """

    def __init__(
        self,
        most: int = MOST_WORKERS,
        idle_seconds: float = IDLE_SECONDS,
        command: Sequence[str] = (sys.executable, "-m", "trimtab.dashboard.predictor"),
    ) -> None:
        self.most = most
        self.idle_seconds = idle_seconds
        self.command = tuple(command)
        self.workers: dict[Path, Worker] = {}
        self._room = asyncio.Lock()

    async def ask(self, run: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The predictions of a run's model.

        Raises:
            Refusal: with why there are none.
        """
        async with self._room:
            worker = self.workers.get(run)
            if worker is not None and worker.stamp != model_stamp(run) and not worker.waiting:
                await self.workers.pop(run).end()  # another run took the name of a deleted one
                worker = None
            if worker is None:
                await self._make_room()
                worker = self.workers[run] = Worker(run, self.command)
            worker.waiting += 1  # so that it is not taken for idle before it is asked
        try:
            return await worker.ask(request)
        finally:
            worker.waiting -= 1
            if not worker.is_alive and not worker.waiting and self.workers.get(run) is worker:
                del self.workers[run]

    async def _make_room(self) -> None:
        while len(self.workers) >= self.most:
            idle = [worker for worker in self.workers.values() if not worker.waiting]
            if not idle:
                raise Refusal(503, f"{self.most} other models are predicting right now.", "Try again in a few seconds.")
            oldest = min(idle, key=lambda worker: worker.asked_at)
            del self.workers[oldest.run]
            await oldest.end()

    async def end_idle(self) -> None:
        """End those that nobody has asked for long, and those whose run is gone."""
        async with self._room:
            for worker in list(self.workers.values()):
                idle = time.monotonic() - worker.asked_at > self.idle_seconds
                if not worker.waiting and (idle or not worker.is_alive or not worker.run.is_dir()):
                    del self.workers[worker.run]
                    await worker.end()

    async def close(self) -> None:
        """End all of them."""
        for worker in list(self.workers.values()):
            await worker.end()
        self.workers.clear()
