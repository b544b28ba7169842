"""Errors as a client sees them: JSON with `message` and `remedy` below `/api`, a readable page elsewhere."""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from trimtab.core.errors import EXIT_BAD_INPUT, MissingDependencyError, TrimtabError
from trimtab.dashboard.answers import JsonAnswer
from trimtab.dashboard.reading.store import UnknownRun

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/plain.css">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{message}</p>
<p>{remedy}</p>
{more}
</main>
</body>
</html>
"""
# Small enough to stand here, so that a page of words needs no other file.
PLAIN_CSS = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; padding: 2rem 1rem; }
main { max-width: 40rem; margin: 0 auto; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; }
code { font-family: ui-monospace, monospace; }
input, button { font: inherit; padding: 0.4rem 0.6rem; }
"""


class Refusal(TrimtabError):
    """A request that is answered with an error.

    Args:
        status: status code of HTTP.
        message: what is wrong.
        remedy: what the user can do.
    """

    def __init__(self, status: int, message: str, remedy: str = "") -> None:
        self.status = status
        super().__init__(message, remedy=remedy)


def page(title: str, message: str, remedy: str = "", *, status: int = 200, more: str = "") -> HTMLResponse:
    """A page of words. Everything is escaped but `more`, which is our own markup."""
    text = _PAGE.format(title=html.escape(title), message=html.escape(message), remedy=html.escape(remedy), more=more)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def error_answer(path: str, status: int, message: str, remedy: str, problems: tuple[str, ...] = ()) -> Response:
    """An error as JSON or as a page, by the address that was asked for."""
    if path.startswith("/api"):
        # Most of the page shows the message alone.
        told = {"message": " ".join([message, *problems]), "remedy": remedy, "problems": list(problems)}
        return JsonAnswer({"error": told}, status_code=status)
    return page(f"{status} {_phrase(status)}", message, remedy, status=status)


def answer_failure(request: Request, error: Exception) -> Response:
    """The answer to a request that raised."""
    path = request.url.path
    if isinstance(error, Refusal):
        return error_answer(path, error.status, error.message, error.remedy)
    if isinstance(error, UnknownRun):
        return error_answer(path, 404, error.message, error.remedy)
    if isinstance(error, TrimtabError):
        bad_input = error.exit_code == EXIT_BAD_INPUT and not isinstance(error, MissingDependencyError)
        return error_answer(path, 400 if bad_input else 500, error.message, error.remedy, error.problems)
    if isinstance(error, HTTPException):
        answer = error_answer(path, error.status_code, *_words(error, path))
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, RequestValidationError):
        return error_answer(path, 422, "The request cannot be read.", "", tuple(map(_problem, error.errors())))
    if isinstance(error, FileNotFoundError):
        return error_answer(path, 404, "A file of this run is gone.", "The run may have been deleted: load it again.")
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    return error_answer(
        path,
        500,
        f"The dashboard failed: {summary}",
        "This is a fault in Trimtab; its traceback stands in the terminal.",
    )


def _words(error: HTTPException, path: str) -> tuple[str, str]:
    if error.status_code == 404:
        return f"Nothing is at {path}.", "Go to the list of runs at /."
    if error.status_code == 405:
        return f"{path} does not take this method.", "Use the page at /."
    return str(error.detail), ""


def _problem(error: dict[str, Any]) -> str:
    """One fault of a request: `values: Field required`."""
    where = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
