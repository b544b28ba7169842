"""Batches made ahead of the loop by one background thread: the same batches in the same order, and less waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np

from trimtab.data.batching import Batch

Collate = Callable[[np.ndarray], Batch]

AHEAD = 2
"""Batches made ahead: one is ready while the next is made."""
TRIAL_STEPS = 20
MOST_WAITING = 0.05
"""Share of the time of `TRIAL_STEPS` steps spent on making batches, above which a CPU makes them ahead too."""


@dataclass(frozen=True)
class _Task:
    collate: Collate
    piece: np.ndarray
    batch: Future[Batch]

    def is_for(self, collate: Collate, piece: np.ndarray) -> bool:
        return self.collate == collate and np.array_equal(self.piece, piece)


class Prefetch:
    """Makes batches, ahead of time where it is on, which changes none of them.

    What was made ahead and is not asked for next (another epoch or token budget began) is thrown away. `collate` runs
    in one thread at a time, the background one where it is on; it must not draw from global random streams. Where
    something changes what `collate` makes of the same rows, as a stage may, call `reset`.

    Args:
        ahead: batches made ahead; 0 makes each when it is asked for.
        device: where the batches are moved to; None leaves them where they were made.
        pin: make them in page-locked memory, from which they are copied to a CUDA device while it computes.
    """

    def __init__(self, ahead: int = 0, *, device: Any = None, pin: bool = False) -> None:
        self.ahead = ahead
        self.device = device
        self.pin = pin
        self._waited = 0.0
        self._tasks: deque[_Task] = deque()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batches(
        self, collate: Collate, pieces: Sequence[np.ndarray], following: Iterable[np.ndarray] = ()
    ) -> Iterator[Batch]:
        """The batch of each piece, in order.

        Args:
            collate: makes a batch of the rows `[n]`.
            pieces: rows of each batch.
            following: pieces that will be asked for after these, as far as is known; read only as far as it is needed.

        Raises:
            Exception: whatever `collate` raised, when its batch is asked for.
        """
        upcoming = _Upcoming(pieces, following)
        for index, piece in enumerate(pieces):
            began = time.perf_counter()
            batch = self._next(collate, piece, upcoming.after(index))
            batch = batch if self.device is None else batch.to(self.device)
            self._waited += time.perf_counter() - began
            yield batch

    def take_waited(self) -> float:
        """Seconds that the loop waited for batches and their transfer since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def reset(self) -> None:
        """Throw away what was made ahead."""
        self._drop()

    def close(self) -> None:
        """Throw away what was made ahead, and end the thread; a later use starts it again."""
        self._drop()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _next(self, collate: Collate, piece: np.ndarray, later: Iterator[np.ndarray]) -> Batch:
        if self.ahead < 1:
            return self._make(collate, piece)
        if not (self._tasks and self._tasks[0].is_for(collate, piece)):
            self._drop()
            self._submit(collate, piece)
        task = self._tasks.popleft()
        # Handed out before the wait, so that the thread goes on with them while the loop computes.
        self._fill(collate, later)
        try:
            return task.batch.result()
        except BaseException:
            self._drop()
            raise

    def _fill(self, collate: Collate, later: Iterator[np.ndarray]) -> None:
        """Have the thread make the batches that come next, and drop what it made for others."""
        for place in range(self.ahead):
            piece = next(later, None)
            if piece is None:
                return
            if place < len(self._tasks) and not self._tasks[place].is_for(collate, piece):
                self._drop(place)
            if place >= len(self._tasks):
                self._submit(collate, piece)

    def _submit(self, collate: Collate, piece: np.ndarray) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="trimtab-prefetch")
        self._tasks.append(_Task(collate, piece, self._executor.submit(self._make, collate, piece)))

    def _drop(self, first: int = 0) -> None:
        """Throw away all but the first tasks, and wait for one that runs: `collate` is not run twice at a time."""
        dropped = [self._tasks.pop() for _ in range(len(self._tasks) - first)]
        for task in dropped:
            task.batch.cancel()
        for task in dropped:
            try:
                task.batch.exception()
            except CancelledError:
                continue

    def _make(self, collate: Collate, piece: np.ndarray) -> Batch:
        batch = replace(collate(piece), rows=piece)
        return pinned(batch) if self.pin else batch


class _Upcoming:
    """The pieces after a given one: of the same call, and then those that follow, each read once."""

    def __init__(self, pieces: Sequence[np.ndarray], following: Iterable[np.ndarray]) -> None:
        self._pieces = list(pieces)
        self._following = iter(following)

    def after(self, index: int) -> Iterator[np.ndarray]:
        place = index + 1
        while True:
            if place >= len(self._pieces):
                piece = next(self._following, None)
                if piece is None:
                    return
                self._pieces.append(piece)
            yield self._pieces[place]
            place += 1


def prefetch(collate: Collate, pieces: Sequence[np.ndarray], *, ahead: int = AHEAD) -> Iterator[Batch]:
    """The batches of `pieces`, made ahead by a thread that ends with the iteration.

    Args:
        collate: makes a batch of the rows `[n]`.
        pieces: rows of each batch.
        ahead: batches made ahead; 0 makes each when it is asked for.
    """
    with Prefetch(ahead) as maker:
        yield from maker.batches(collate, pieces)


def pinned(batch: Batch) -> Batch:
    """The same batch in page-locked memory."""
    inputs = {name: tensor.pin_memory() for name, tensor in batch.inputs.items()}
    return replace(batch, inputs=inputs, labels=None if batch.labels is None else batch.labels.pin_memory())


class WaitingWatch:
    """Decides once whether batches are made ahead: on an accelerator always, on a CPU where steps wait for them.

    Args:
        prefetch: is turned on.
        device_type: `cpu`, `cuda`, `mps`, …
    """

    def __init__(self, prefetch: Prefetch, device_type: str) -> None:
        self.prefetch = prefetch
        self.settled = device_type != "cpu"
        if self.settled:
            prefetch.ahead = max(prefetch.ahead, AHEAD)
            prefetch.pin = device_type == "cuda"
        self._steps = 0
        self._seconds = 0.0
        self._waited = 0.0

    def note(self, seconds: float, waited: float) -> None:
        """Take note of a step, of which `waited` seconds went into making batches."""
        if self.settled:
            return
        self._steps += 1
        self._seconds += seconds
        self._waited += waited
        if self._steps >= TRIAL_STEPS:
            self.settled = True
            if self._waited > MOST_WAITING * self._seconds:
                self.prefetch.ahead = AHEAD
