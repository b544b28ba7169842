"""What is new, told to all who watch: one thread looks at the folder, however many pages are open.

Nothing is looked at while nobody watches. A watcher that does not keep up is told to ask for everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trimtab.dashboard.answers import json_text

log = logging.getLogger("trimtab.dashboard")

SCAN_SECONDS = 1.0
RUN_SECONDS = 0.5
# Between asking for the list and watching it, something may change: so much of the past is told to who comes.
RECENT_SECONDS = 10.0
MOST_WAITING = 200


@dataclass(frozen=True)
class News:
    """An event of a stream.

    Args:
        event: its name.
        data: what it tells.
        id: by which a client that comes back says how far it got.
    """

    event: str
    data: Any
    id: str | None = None

    def message(self) -> dict[str, str]:
        """As the library that sends it takes it."""
        told = {"event": self.event, "data": json_text(self.data)}
        return told if self.id is None else {**told, "id": self.id}


class Watcher:
    """One open stream: news are put in by the thread, and taken out by the event loop.

    Args:
        loop: of the stream.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Queue[News | None] = asyncio.Queue()
        self._is_behind = False

    def put(self, news: News | None) -> None:
        """Tell news, from any thread; None ends the stream."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._put, news)

    def _put(self, news: News | None) -> None:
        if news is not None and self._waiting.qsize() >= MOST_WAITING:
            if self._is_behind:
                return
            self._is_behind, news = True, News("reload", {})
        self._waiting.put_nowait(news)

    async def news(self) -> AsyncIterator[News]:
        """What is told, until the end."""
        while (news := await self._waiting.get()) is not None:
            if self._waiting.empty():
                self._is_behind = False
            yield news


class Channel(Protocol):
    """What the hub looks at for the watchers of one thing."""

    def look(self) -> bool:
        """Tell the watchers what is new; False when the thing is gone for good."""

    def join(self, watcher: Watcher, since: int | None) -> None:
        """Take a watcher in, and tell it what came after `since`."""

    def leave(self, watcher: Watcher) -> int:
        """Let a watcher go; how many are left."""


class Hub:
    """The thread that looks.

    Args:
        open_channel: makes the channel of a run id, or of the list for None.
    """

    def __init__(self, open_channel: Callable[[str | None], Channel]) -> None:
        self._open = open_channel
        self._channels: dict[str | None, Channel] = {}
        self._due: dict[str | None, float] = {}
        self._watchers: set[Watcher] = set()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimtab-dashboard", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end_streams(self) -> None:
        """End every stream, and those to come. Waits for nothing: a signal's handler may call it."""
        self._ended.set()
        self._wake.set()
        for watcher in list(self._watchers):
            watcher.put(None)

    def stop(self) -> None:
        """End, and wait for the thread."""
        self.end_streams()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def nudge(self) -> None:
        """Look at once."""
        self._due.clear()
        self._wake.set()

    def join(self, run_id: str | None, watcher: Watcher, since: int | None = None) -> None:
        """Let somebody watch a run, or the list. Reads files: for a thread.

        Raises:
            Refusal: there is no such run.
        """
        self._watchers.add(watcher)
        if self._ended.is_set():
            watcher.put(None)
        with self._lock:
            channel = self._channels.get(run_id) or self._open(run_id)
            channel.join(watcher, since)
            self._channels[run_id] = channel
        self._wake.set()

    def leave(self, run_id: str | None, watcher: Watcher) -> None:
        """Somebody watches no longer. Waits for the look that is being taken: for a thread."""
        self._watchers.discard(watcher)
        with self._lock:
            channel = self._channels.get(run_id)
            if channel is not None and channel.leave(watcher) == 0:
                del self._channels[run_id]
                self._due.pop(run_id, None)

    def look_now(self, channel: Channel) -> None:
        """Look for somebody who asks for everything, so that those who watch are told the same."""
        with self._lock:
            channel.look()

    @property
    def watched(self) -> list[str | None]:
        """What somebody watches."""
        return list(self._channels)

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                for run_id in list(self._channels):
                    self._look(run_id)
                busy = bool(self._channels)
            self._wake.wait(RUN_SECONDS / 2 if busy else None)
            self._wake.clear()

    def _look(self, run_id: str | None) -> None:
        now = time.monotonic()
        if self._due.get(run_id, 0.0) > now:
            return
        self._due[run_id] = now + (SCAN_SECONDS if run_id is None else RUN_SECONDS)
        try:
            stays = self._channels[run_id].look()
        except Exception:
            # A file that is written or removed under us: the next look finds it as it is then.
            log.exception("looking at %s failed", run_id or "the runs")
            return
        if not stays:
            del self._channels[run_id]


class ListChannel:
    """The list of runs.

    Args:
        summaries: looks at the folder and gives a summary for each run; a run that has not changed, the same object.

    Attributes:
        told: the summaries of the last look, by id.
    """

    def __init__(self, summaries: Callable[[], Mapping[str, dict[str, Any]]]) -> None:
        self._summaries = summaries
        self._watchers: set[Watcher] = set()
        self.told: dict[str, dict[str, Any]] = {}
        self._recent: list[tuple[float, News]] = []

    def look(self) -> bool:
        """Tell which runs have changed or are gone."""
        found = dict(self._summaries())
        before, self.told = self.told, found
        changed = [summary for run_id, summary in found.items() if before.get(run_id) is not summary]
        removed = [run_id for run_id in before if run_id not in found]
        if changed or removed:
            news = News("runs", {"changed": changed, "removed": removed})
            self._recent.append((time.monotonic(), news))
            for watcher in self._watchers:
                watcher.put(news)
        self._recent = list(self._still_recent())
        return True

    def join(self, watcher: Watcher, since: int | None) -> None:
        """Take a watcher in, and tell it what has just changed."""
        self.look()
        for _, news in self._still_recent():
            watcher.put(news)
        self._watchers.add(watcher)

    def leave(self, watcher: Watcher) -> int:
        """Let a watcher go; how many are left."""
        self._watchers.discard(watcher)
        return len(self._watchers)

    def _still_recent(self) -> Iterator[tuple[float, News]]:
        now = time.monotonic()
        return (entry for entry in self._recent if now - entry[0] < RECENT_SECONDS)
