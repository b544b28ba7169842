"""Work done beside the training, in order, by a thread that nothing waits for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

Job = Callable[[], None]


class Worker:
    """Does jobs one after the other in a thread of its own, which starts with the first.

    It is a daemon: a process that ends does not wait for it, unless it calls `finish`. Whoever gives a job sees to its
    errors.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Have `job` done after those given before."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Wait for the jobs given so far, but no longer than `seconds`; say whether they are done."""
        if self._thread is None:
            return True
        self._jobs.put(None)
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def finish_all(workers: list[Worker], seconds: float) -> list[bool]:
    """`finish` for several that share the time."""
    end = time.monotonic() + seconds
    return [worker.finish(end - time.monotonic()) for worker in workers]
