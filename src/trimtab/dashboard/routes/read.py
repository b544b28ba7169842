"""What a visitor looks at. Each route reads in a thread of its own, so that none holds up the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from trimtab.core.errors import MissingDependencyError, RunError
from trimtab.dashboard.answers import JsonAnswer
from trimtab.dashboard.comparing import differences, groups
from trimtab.dashboard.desk import Desk
from trimtab.dashboard.drafts import draft_of, with_changes
from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.reading.columns import TABLES
from trimtab.dashboard.reading.run import POINTS, csv_lines
from trimtab.dashboard.reading.store import UnknownRun
from trimtab.dashboard.routes.run_ids import RunId

LANGUAGES = ("en", "zh")
MOST_COMPARED = 100
IMAGE_SIZES = (16, 1024)
# Of an image that a run has judged: it does not change.
IMAGE_SECONDS = 3600


def read_routes(desk: Desk, *, can_start: bool) -> APIRouter:
    """The routes that read.

    Args:
        desk: what they read.
        can_start: whether a visitor may act; the page hides its buttons where not.
    """
    router = APIRouter(prefix="/api")

    @router.get("/info")
    def info() -> JsonAnswer:
        told = {"version": _version(), "folder": str(desk.folder), "can_start": can_start, "languages": LANGUAGES}
        return JsonAnswer(told)

    @router.get("/runs")
    def runs() -> JsonAnswer:
        return JsonAnswer({"runs": desk.list()})

    @router.get("/schema")
    def schema() -> JsonAnswer:
        return JsonAnswer(desk.schema.get())

    @router.get("/draft")
    def draft(run: str, finding: int | None = None) -> JsonAnswer:
        detail = desk.detail(run)
        values = draft_of(detail["recipe"])
        if finding is not None:
            found = next((entry for entry in detail["findings"] if entry["index"] == finding), None)
            values = with_changes(values, found["change"] if found else {})
        return JsonAnswer({"values": values, "data": values.get("data.path")})

    @router.get("/jobs/{job}")
    def job(job: str) -> JsonAnswer:
        return JsonAnswer(desk.jobs.status(job))

    @router.get("/compare")
    def compare(request: Request) -> JsonAnswer:
        chosen = [desk.summary(run_id) for run_id in _listed(desk, request.url.query)]
        return JsonAnswer({"runs": chosen, "differs": differences(chosen), "groups": groups(chosen)})

    _add_run(router, desk)
    _add_rows(router, desk)
    return router


def _add_run(router: APIRouter, desk: Desk) -> None:
    @router.get("/runs/{run}")
    def run(run: RunId) -> JsonAnswer:
        return JsonAnswer(desk.detail(run))

    @router.get("/runs/{run}/series")
    def series(
        run: RunId,
        points: Annotated[int, Query(ge=2, le=50_000)] = POINTS,
        first: Annotated[int | None, Query(alias="from", ge=0)] = None,
        last: Annotated[int | None, Query(alias="to", ge=0)] = None,
        tables: str = ",".join(TABLES),
    ) -> JsonAnswer:
        wanted = [name for name in tables.split(",") if name]
        if unknown := [name for name in wanted if name not in TABLES]:
            raise Refusal(400, f"There is no table {unknown[0]!r}.", f"Tables: {', '.join(TABLES)}.")
        return JsonAnswer(desk.store.open(run).series(points, first, last, wanted))

    @router.get("/runs/{run}/log")
    def log(run: RunId) -> Response:
        return PlainTextResponse(desk.log(run), headers={"Cache-Control": "no-store"})

    @router.get("/runs/{run}/export")
    def export(run: RunId, table: str = "step") -> Response:
        if table not in TABLES:
            raise Refusal(400, f"There is no table {table!r}.", f"Tables: {', '.join(TABLES)}.")
        columns = desk.store.open(run).columns(table)
        name = quote(f"{run.replace('/', '-')}-{table}.csv", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "Cache-Control": "no-store"}
        return StreamingResponse(csv_lines(columns), media_type="text/csv; charset=utf-8", headers=headers)


def _add_rows(router: APIRouter, desk: Desk) -> None:
    @router.get("/runs/{run}/rows")
    def rows(
        run: RunId,
        kind: Annotated[str, Query(pattern="^(worst|suspect|all)$")] = "worst",
        label: str = "",
        predicted: str = "",
        page: Annotated[int, Query(ge=0)] = 0,
    ) -> JsonAnswer:
        with _missing():
            reader = desk.store.rows(run)
            return JsonAnswer(reader.rows(kind, label=label or None, predicted=predicted or None, page=page))

    @router.get("/runs/{run}/matrix")
    def matrix(run: RunId) -> JsonAnswer:
        with _missing():
            return JsonAnswer(desk.store.rows(run).matrix())

    @router.get("/runs/{run}/image/{row}")
    def image(
        run: RunId,
        row: int,
        split: str = "test",
        source: str | None = None,
        size: Annotated[int, Query(ge=IMAGE_SIZES[0], le=IMAGE_SIZES[1])] = 160,
    ) -> Response:
        with _missing():
            content = desk.store.rows(run).image(row, split=split, size=size, source=source)
        headers = {"Cache-Control": f"private, max-age={IMAGE_SECONDS}"}
        return Response(content, media_type="image/jpeg", headers=headers)


@contextmanager
def _missing() -> Iterator[None]:
    """What the run does not have (yet), or nobody can read, is not found."""
    try:
        yield
    except MissingDependencyError:
        raise
    except RunError as error:
        raise Refusal(404, error.message, error.remedy) from error


def _listed(desk: Desk, query: str) -> list[str]:
    """The ids of `runs=a,b,c`. Commas within an id are encoded once more, or tried as they are.

    Raises:
        Refusal: none are named, or too many.
    """
    raw = next((value for part in query.split("&") for name, _, value in [part.partition("=")] if name == "runs"), "")
    found: list[str] = []
    for part in raw.split(","):
        text = unquote_to_bytes(part.replace("+", " ")).decode("utf-8", "replace")
        found += [text] if _is_known(desk, text) else text.split(",")
    ids = [run_id for run_id in dict.fromkeys(found) if run_id]
    if not ids or len(ids) > MOST_COMPARED:
        raise Refusal(400, f"From one to {MOST_COMPARED} runs can be compared.", "Choose them in the list of runs.")
    return ids


def _is_known(desk: Desk, run_id: str) -> bool:
    try:
        desk.store.place(run_id)
    except UnknownRun:
        return False
    return True


def _version() -> str:
    try:
        return version("trimtab")
    except PackageNotFoundError:
        return "unknown"
