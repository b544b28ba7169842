"""JSON as the dashboard sends it: never NaN, whatever stands in a file."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from trimtab.core.files import jsonable


def json_text(value: Any) -> str:
    """`value` as compact JSON; non-finite numbers become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)


class JsonAnswer(Response):
    """A JSON response that is never kept by a cache: what it tells changes while a run goes on."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        """The bytes; half of a surrogate pair, as in file names that are no UTF-8, becomes `?`."""
        return json_text(content).encode("utf-8", errors="replace")
