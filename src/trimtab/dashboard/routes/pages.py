"""The page itself and its files, or a page that says how they are built."""

from __future__ import annotations

import html
import mimetypes
import re
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from trimtab.dashboard.failures import PLAIN_CSS, Refusal, page

# Brought in by `make web`, and part of the wheel; a checkout has none at first.
BUILT = ("vendor/preact.js", "vendor/hooks.js", "vendor/htm.js", "vendor/uPlot.esm.js", "vendor/uPlot.min.css")
_META = re.compile(r'<meta\s+name="trimtab-token"[^>]*>')
# The system's own table may say otherwise, and browsers run no module of another type.
for _suffix, _type in ((".js", "text/javascript"), (".mjs", "text/javascript"), (".css", "text/css")):
    mimetypes.add_type(_type, _suffix)


class FreshFiles(StaticFiles):
    """Static files that a browser asks about each time, so that a newer version is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with how long it may be kept."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def index_page(static: Path, token: str) -> HTMLResponse:
    """The page, with the token that its POSTs show; or what to do where its files are missing."""
    missing = [name for name in ("index.html", *BUILT) if not (static / name).is_file()]
    if missing:
        return page(
            "The page is not built",
            f"Files of the dashboard's page are missing: {', '.join(missing)}.",
            "In a checkout of Trimtab, build them with 'make web' (it needs npm), then load this page again. "
            "An installed package holds them: install it again.",
            status=503,
        )
    text = (static / "index.html").read_text(encoding="utf-8")
    meta = f'<meta name="trimtab-token" content="{html.escape(token)}">'
    text, found = _META.subn(lambda _: meta, text, count=1)
    if not found:
        text = text.replace("</head>", f"{meta}\n</head>", 1)
    return HTMLResponse(text, headers={"Cache-Control": "no-store"})


def add_pages(app: FastAPI, static: Path, token: str) -> None:
    """Add `/`, `/static/…` and the few files beside them.

    Args:
        app: the application.
        static: folder of the page's files.
        token: shown by the page's POSTs.
    """
    router = APIRouter()

    @router.get("/")
    def index() -> Response:
        return index_page(static, token)

    @router.get("/plain.css")
    def plain_css() -> Response:
        return PlainTextResponse(PLAIN_CSS, media_type="text/css")

    @router.get("/favicon.ico")
    def favicon() -> Response:
        for name in ("favicon.svg", "favicon.ico", "icon.svg"):
            if (static / name).is_file():
                return FileResponse(static / name)
        raise Refusal(404, "There is no icon.")

    @router.get("/robots.txt")
    def robots() -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /\n")

    app.include_router(router)
    app.mount("/static", FreshFiles(directory=static, check_dir=False), name="static")
