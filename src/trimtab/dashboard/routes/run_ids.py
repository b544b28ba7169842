"""The id of a run in an address: one segment, percent-encoded, so that `/` within it is no end of it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends
from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.dashboard.failures import Refusal

PREFIX = b"/api/runs/"


class RawRunPaths:
    """ASGI middleware: below `/api/runs/` the router sees the path as it was sent, `%2F` and all.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and raw.startswith(PREFIX) and raw.isascii():
            scope = {**scope, "path": raw.decode("ascii")}
        await self.app(scope, receive, send)


def decoded(run: str) -> str:
    """The id in a segment of a path.

    Raises:
        Refusal: it is no text.
    """
    try:
        return unquote_to_bytes(run).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(404, "The address of this run cannot be read.", "Open the run from the list.") from error


RunId = Annotated[str, Depends(decoded)]
