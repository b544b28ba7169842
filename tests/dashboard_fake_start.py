"""A stand-in for the dashboard's server, for the pages that compare runs, start them, and try a model.

It serves the real page and the real schema of recipes, answers as the server does, and keeps what was asked of it. Run
it by hand to look at the pages: `python tests/dashboard_fake_start.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dashboard_fake_data import comparison, data_report, make_run, prediction_of, series_of

import trimtab
from trimtab.config.render import recipe_schema

STATIC = Path(trimtab.__file__).parent / "dashboard" / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml"}
TOKEN = "page-token"


class FakeDashboard:
    """The server, for as long as a `with` block lasts.

    Args:
        runs: how many runs there are; they differ in learning rate, strategy and seed.
    """

    def __init__(self, runs: int = 12) -> None:
        self.runs = {run["id"]: run for run in map(make_run, range(runs))}
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.report: dict[str, Any] = data_report()
        self.check_error: dict[str, Any] | None = None
        self.start_error: dict[str, Any] | None = None
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.can_start = True
        self.url = ""

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The real JSON schema of recipes."""
        return recipe_schema()

    def __enter__(self) -> FakeDashboard:
        fake = self

        class Handler(_Handler):
            dashboard = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def job(self, *states: dict[str, Any]) -> str:
        """A job that goes through states, one an asking; the last one stays."""
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = [{"log": "", "result": None, "error": None, **state} for state in states]
        return name

    def get(self, path: str, query: dict[str, str]) -> Any:
        """The answer to a GET below /api."""
        if path == "/api/info":
            return {"version": "0", "folder": "/runs", "can_start": self.can_start, "languages": ["en", "zh"]}
        if path == "/api/runs":
            return {"runs": [run["summary"] for run in self.runs.values()]}
        if path == "/api/schema":
            return self.schema
        if path == "/api/draft":
            return {"values": self._found(query["run"])["values"]}
        if path == "/api/compare":
            return self._compared([unquote(part) for part in query["raw"].removeprefix("runs=").split(",")])
        if path.startswith("/api/jobs/"):
            states = self.jobs[path.rsplit("/", 1)[1]]
            return states.pop(0) if len(states) > 1 else states[0]
        run, tail = _run_path(path)
        found = self._found(run)
        if tail == "":
            return {
                "summary": found["summary"],
                "findings": found["findings"],
                "evaluation": found["evaluation"],
                "recipe": [],
            }
        if tail == "/series":
            return {"revision": 1, "tables": series_of(found)}
        if tail == "/rows":
            row = {
                "row": 3,
                "source": "t.csv",
                "text": "the router is broken",
                "label": "network",
                "prediction": "other",
            }
            return {"rows": [row], "total": 1, "pages": 1}
        raise KeyError(path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a POST below /api."""
        self.posts.append((path, body))
        if path == "/api/check":
            end = (
                {"state": "failed", "error": self.check_error}
                if self.check_error
                else {"state": "done", "result": self.report}
            )
            return {"job": self.job({"state": "running", "log": "reading"}, end)}
        if path == "/api/start":
            return self._start(body)
        if path == "/api/compare/test":
            end = {"state": "done", "result": comparison(body["first"], body["second"])}
            return {"job": self.job({"state": "running"}, end)}
        run, tail = _run_path(path)
        found = self._found(run)
        if tail == "/remedy":
            finding = found["findings"][body["finding"]]
            return {"draft": {**found["values"], **finding["change"]}}
        if tail == "/predict":
            return {"predictions": [prediction_of(text, body.get("explain", False)) for text in body["inputs"]]}
        raise KeyError(path)

    def _start(self, body: dict[str, Any]) -> dict[str, str]:
        name = body.get("name") or "tickets-starter-99"
        if self.start_error:
            return {"run": name, "job": self.job({"state": "running"}, {"state": "failed", "error": self.start_error})}
        made = make_run(99)
        made["id"] = made["summary"]["id"] = made["summary"]["name"] = name
        threading.Timer(0.8, lambda: self.runs.update({name: made})).start()
        return {"run": name, "job": self.job({"state": "running", "log": "reading data\nloading the model"})}

    def _compared(self, ids: list[str]) -> dict[str, Any]:
        runs = [self._found(run) for run in ids]
        keys = dict.fromkeys(key for run in runs for key in run["values"])
        differs = []
        for key in keys:
            values = {run["id"]: run["values"].get(key) for run in runs}
            if len({repr(value) for value in values.values()}) > 1:
                differs.append({"key": key, "values": values})
        return {"runs": [run["summary"] for run in runs], "differs": differs, "groups": []}

    def _found(self, run: str) -> dict[str, Any]:
        if run not in self.runs:
            raise LookupError(run)
        return self.runs[run]


class _Handler(BaseHTTPRequestHandler):
    dashboard: FakeDashboard
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait until the head has been acknowledged

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/":
            text = (STATIC / "index.html").read_text(encoding="utf-8").replace("{{token}}", TOKEN)
            self._send(200, text.encode(), TYPES[".html"])
        elif parts.path.startswith("/static/"):
            file = STATIC / parts.path.removeprefix("/static/")
            if file.is_file():
                self._send(200, file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream"))
            else:
                self._send(404, b"", "text/plain")
        elif parts.path.endswith("/stream"):
            self._stream()
        else:
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            self._answer(lambda: self.dashboard.get(parts.path, {**query, "raw": parts.query}))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("X-Trimtab-Token") != TOKEN:
            self._json(403, {"error": {"message": "No token.", "remedy": ""}})
        elif self.headers.get("Content-Type", "").startswith("multipart/"):
            self.dashboard.posts.append((self.path, {"file": len(content)}))
            self._json(200, {"predictions": [prediction_of("image", False)]})
        else:
            self._answer(lambda: self.dashboard.post(self.path, json.loads(content)))

    def _answer(self, make: Callable[[], Any]) -> None:
        try:
            self._json(200, make())
        except LookupError as error:
            self._json(
                404, {"error": {"message": f"Nothing is known of {error}.", "remedy": "Look at the list of runs."}}
            )

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"event: ping\ndata: {}\n\n")
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _run_path(path: str) -> tuple[str, str]:
    parts = path.removeprefix("/api/runs/").split("/", 1)
    return unquote(parts[0]), f"/{parts[1]}" if len(parts) > 1 else ""


if __name__ == "__main__":
    with FakeDashboard(runs=24) as served:
        print(served.url, flush=True)
        threading.Event().wait()
