"""The server: the application over a folder of runs, and its running. It loads neither torch nor pandas."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from trimtab.core.errors import RunError, TrimtabError
from trimtab.core.files import write_atomic
from trimtab.dashboard.desk import HOME, Desk
from trimtab.dashboard.failures import answer_failure
from trimtab.dashboard.routes.pages import add_pages
from trimtab.dashboard.routes.read import read_routes
from trimtab.dashboard.routes.run_ids import RawRunPaths
from trimtab.dashboard.routes.streams import stream_routes
from trimtab.dashboard.routes.write import write_routes
from trimtab.dashboard.security import Gate, Policy

STATIC = Path(__file__).parent / "static"
TIDY_SECONDS = 20.0
# Streams end as soon as the server is told to; what else is under way gets so long.
SHUTDOWN_SECONDS = 1


def create_app(
    folder: Path, policy: Policy | None = None, *, static: Path = STATIC, desk: Desk | None = None
) -> FastAPI:
    """The application.

    Args:
        folder: of the runs.
        policy: who may ask; this machine only, when None.
        static: the page's files.
        desk: the state behind the routes, for tests.
    """
    policy = policy or Policy()
    state = desk or Desk(folder.resolve())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        tidying = asyncio.create_task(_tidy(state))
        try:
            yield
        finally:
            tidying.cancel()
            await state.close()

    app = FastAPI(title="Trimtab", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.desk = state
    for kind in (TrimtabError, RequestValidationError, HTTPException, FileNotFoundError, Exception):
        app.add_exception_handler(kind, answer_failure)
    app.include_router(stream_routes(state))
    app.include_router(read_routes(state, can_start=not policy.read_only))
    app.include_router(write_routes(state, is_local=policy.is_local))
    add_pages(app, static, policy.page_token)
    # The last one added is the first that a request meets.
    app.add_middleware(RawRunPaths)
    app.add_middleware(Gate, policy=policy)
    return app


async def _tidy(desk: Desk) -> None:
    """From time to time: note jobs that have ended, remove what nobody asks for, end models at rest."""
    while True:
        with contextlib.suppress(OSError, RunError):
            await run_in_threadpool(desk.jobs.tidy)
        await desk.workers.end_idle()
        await asyncio.sleep(TIDY_SECONDS)


def page_token(folder: Path) -> str:
    """The token of the page's POSTs, kept in the folder: a page that is open when the server is restarted goes on.

    In a folder that cannot be written, it is a new one each time.
    """
    path = folder / HOME / "token"
    try:
        kept = path.read_text(encoding="ascii").strip()
        if len(kept) >= 24:
            return kept
    except (OSError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(24)
    with contextlib.suppress(OSError, RunError):
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, token + "\n")
        path.chmod(0o600)
    return token


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: the application.
        listener: a socket that listens.

    Raises:
        KeyboardInterrupt: SIGINT came, and everything is closed.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    _Server(config, app.state.desk).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the streams as soon as it is told to end, so that nothing is cut off."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGINT and SIGTERM."""
        self._desk.hub.end_streams()
        super().handle_exit(sig, frame)
