"""What is new, pushed: server-sent events of the list and of one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from trimtab.dashboard.desk import Desk
from trimtab.dashboard.hub import Watcher
from trimtab.dashboard.routes.run_ids import RunId

PING_SECONDS = 15
# A client that takes nothing for so long is let go, and comes back by itself if it lives.
SEND_SECONDS = 30
RETRY_MILLISECONDS = 1000


def stream_routes(desk: Desk) -> APIRouter:
    """The streams.

    Args:
        desk: what they tell of.
    """
    router = APIRouter(prefix="/api")

    @router.get("/stream")
    async def runs() -> EventSourceResponse:
        return _answer(_events(desk, None, None))

    @router.get("/runs/{run}/stream")
    async def run(run: RunId, request: Request, revision: int | None = None) -> EventSourceResponse:
        # Reads the whole record the first time; and tells of an unknown run before the stream begins.
        await run_in_threadpool(desk.store.open, run)
        last = request.headers.get("last-event-id", "")
        return _answer(_events(desk, run, int(last) if last.isdecimal() else revision))

    return router


async def _events(desk: Desk, run_id: str | None, since: int | None) -> AsyncIterator[dict[str, str] | ServerSentEvent]:
    watcher = Watcher(asyncio.get_running_loop())
    try:
        yield ServerSentEvent(comment="open", retry=RETRY_MILLISECONDS)
        await run_in_threadpool(desk.hub.join, run_id, watcher, since)
        async for news in watcher.news():
            yield news.message()
    finally:
        # In a thread, as a look may be going on; by itself, as this task may be one that is being cancelled.
        asyncio.get_running_loop().run_in_executor(None, desk.hub.leave, run_id, watcher)


def _answer(events: AsyncIterator[dict[str, str] | ServerSentEvent]) -> EventSourceResponse:
    return EventSourceResponse(
        events,
        ping=PING_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(event="ping", data="{}"),
        send_timeout=SEND_SECONDS,
    )
