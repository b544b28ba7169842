"""What a visitor asks to be done. The gate has let through only POSTs of our own page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from trimtab.core.control import fault_of, send
from trimtab.core.errors import RunError
from trimtab.core.runs import RunDirectory
from trimtab.dashboard.answers import JsonAnswer
from trimtab.dashboard.desk import Desk
from trimtab.dashboard.drafts import draft_of, with_changes
from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.routes.run_ids import RunId
from trimtab.dashboard.starting import refuse_code

MOST_INPUTS = 100
TEXT_CHARACTERS = 100_000
# By what the file begins with; its name says nothing that can be trusted.
_IMAGES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Control(BaseModel):
    """`command` and its fields."""

    model_config = ConfigDict(extra="allow")
    command: str


class Remedy(_Body):
    """Which finding's remedy, and whether in this run or in a new one."""

    finding: int
    how: str = Field(pattern="^(now|new)$")


class NotesBody(_Body):
    """What to change; the rest stays."""

    tags: list[str] | None = None
    note: str | None = None
    archived: bool | None = None


class Inputs(_Body):
    """Texts, or pairs of texts."""

    inputs: list[str | tuple[str, str]] = Field(min_length=1, max_length=MOST_INPUTS)
    explain: bool = False


class Check(_Body):
    """Data, and dotted recipe keys with their values."""

    data: str
    values: dict[str, Any] = Field(default_factory=dict)


class Start(Check):
    """The same, and the name of the run."""

    name: str | None = None


class Pair(_Body):
    """Two runs."""

    first: str
    second: str


def write_routes(desk: Desk, *, is_local: bool = True) -> APIRouter:
    """The routes that act.

    Args:
        desk: what they act on.
        is_local: whether only this machine reaches them: a form from elsewhere shall not name programs to run.
    """
    router = APIRouter(prefix="/api")
    _add_steering(router, desk)
    _add_starting(router, desk, is_local)
    _add_predicting(router, desk)
    return router


def _add_steering(router: APIRouter, desk: Desk) -> None:
    @router.post("/runs/{run}/control")
    def control(run: RunId, body: Control) -> JsonAnswer:
        path = desk.own_path(run)
        fields = body.model_extra or {}
        if fault := fault_of(body.command, fields):
            raise Refusal(400, f"This cannot be asked of a run: {fault}.", "Use the buttons of the page.")
        return JsonAnswer({"id": ask(path, body.command, fields)})

    @router.post("/runs/{run}/resume")
    def resume(run: RunId) -> JsonAnswer:
        path, summary = desk.own_path(run), desk.summary(run)
        if summary["state"] not in ("stopped", "failed", "crashed"):
            raise Refusal(
                409, f"A run that is {summary['state']} cannot be resumed.", "Only one that was cut short can."
            )
        job = desk.starter.resume(summary["id"], path)
        return JsonAnswer({"started": True, "job": job.id})

    @router.post("/runs/{run}/remedy")
    def remedy(run: RunId, body: Remedy) -> JsonAnswer:
        path, detail = desk.path(run), desk.detail(run)
        finding = next((entry for entry in detail["findings"] if entry["index"] == body.finding), None)
        if finding is None:
            raise Refusal(404, "The run has no such finding (any more).", "Load the page again.")
        if body.how == "new":
            values = draft_of(detail["recipe"])
            return JsonAnswer({"draft": with_changes(values, finding["change"])})
        if not finding["change"]:
            raise Refusal(409, "This finding has no change that could be made for you.", finding["remedy"])
        return JsonAnswer({"id": ask(desk.own_path(run) or path, "remedy", {"finding": finding["name"]})})

    @router.post("/runs/{run}/notes")
    def notes(run: RunId, body: NotesBody) -> JsonAnswer:
        changes = body.model_dump(exclude_none=True)
        entry = desk.notes.change(desk.store.place(run).id, changes)
        desk.nudge()
        return JsonAnswer(entry)


def ask(path: Path, command: str, fields: dict[str, Any]) -> str:
    """Send a request to a run; the id of the request.

    Raises:
        Refusal: 409, as the run does not go on.
    """
    try:
        return send(RunDirectory(path), command, "dashboard", **fields)
    except RunError as error:
        raise Refusal(409, error.message, error.remedy) from error


def _add_starting(router: APIRouter, desk: Desk, is_local: bool) -> None:
    @router.post("/check")
    def check(body: Check) -> JsonAnswer:
        if not is_local:
            refuse_code(body.values)
        return JsonAnswer({"job": desk.starter.check(body.data, body.values).id})

    @router.post("/start")
    def start(body: Start) -> JsonAnswer:
        if not is_local:
            refuse_code(body.values)
        job = desk.starter.start(body.data, body.values, body.name)
        return JsonAnswer({"run": job.run, "job": job.id})

    @router.post("/compare/test")
    def compare(body: Pair) -> JsonAnswer:
        paths = [str(desk.own_path(run)) for run in (body.first, body.second)]
        job = desk.jobs.spawn("compare", ["compare", "--json", "--", *paths], result=True)
        return JsonAnswer({"job": job.id})


def _add_predicting(router: APIRouter, desk: Desk) -> None:
    @router.post("/runs/{run}/predict")
    async def predict(run: RunId, request: Request) -> JsonAnswer:
        path = await run_in_threadpool(desk.model_path, run)
        if request.headers.get("content-type", "").startswith("multipart/"):
            form = await request.form(max_files=1, max_fields=4)
            file = form.get("file") or form.get("image")
            if file is None or isinstance(file, str):
                raise Refusal(400, "No file came along.", "Choose an image file.")
            return await _predict_image(desk, path, await file.read())
        body = _inputs(await request.body())
        texts = [text for item in body.inputs for text in ([item] if isinstance(item, str) else item)]
        if any(len(text) > TEXT_CHARACTERS for text in texts):
            raise Refusal(413, f"A text is longer than {TEXT_CHARACTERS:,} characters.", "Shorten it.")
        asked = {"inputs": [item if isinstance(item, str) else list(item) for item in body.inputs]}
        return JsonAnswer({"predictions": await desk.workers.ask(path, {**asked, "explain": body.explain})})


def _inputs(content: bytes) -> Inputs:
    try:
        return Inputs.model_validate_json(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


async def _predict_image(desk: Desk, path: Path, content: bytes) -> JsonAnswer:
    suffix = next((suffix for start, suffix in _IMAGES.items() if content.startswith(start)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        suffix = ".webp"
    if suffix is None:
        raise Refusal(400, "The file is no image that can be read.", "Choose a JPEG, PNG, WebP, GIF, BMP or TIFF file.")
    with tempfile.NamedTemporaryFile(suffix=suffix, prefix="trimtab-") as file:
        file.write(content)
        file.flush()
        return JsonAnswer({"predictions": await desk.workers.ask(path, {"image": file.name})})
