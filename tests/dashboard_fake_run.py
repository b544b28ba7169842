"""A server that answers for single runs as the dashboard's does: their page can be tested without training anything.

python tests/dashboard_fake_run.py [RUN_DIRECTORY …]  serves made-up runs, or recorded ones, until it is interrupted
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from dashboard_fake import NOW, FakeDashboard, Handler, serving
from dashboard_made_run import FakeRun, made_run, recorded_run

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeRuns(FakeDashboard):
    """The list's server, with what the page of one run asks for.

    Args:
        runs: by what their summaries call them.
    """

    def __init__(self, *runs: FakeRun) -> None:
        super().__init__([run.summary for run in runs])
        self.open = {run.summary["id"]: run for run in runs}
        self.outcome: dict[str, Any] = {"accepted": True, "reason": ""}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Takes what the page posted; a request is answered by an event, as a run would."""
        self.posted.append((path, body))
        parts = path.split("/")
        run = self.open[unquote(parts[3])]
        if parts[4] in ("control", "remedy"):
            sent = f"request-{len(self.posted)}"
            command = body.get("command", "remedy")
            run.tell(
                "action",
                {
                    "action": "control",
                    "id": sent,
                    "command": command,
                    "step": run.summary["step"],
                    "time": NOW + 999,
                    **self.outcome,
                },
            )
            return {"id": sent}
        if parts[4] == "predict":
            words = [
                {"text": word, "effect": 0.3 if i == 1 else -0.2 if i == 2 else 0.0}
                for i, word in enumerate(str(body["inputs"][0]).split())
            ]
            return {
                "predictions": [
                    {"label": "outage", "probability": 0.8, "probabilities": {"outage": 0.8}, "words": words}
                ]
            }
        return {"started": True}


class _RunHandler(Handler):
    fake: FakeRuns  # type: ignore[misc]

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
        address = urlsplit(self.path)
        parts = address.path.split("/")
        if parts[1:3] != ["api", "runs"] or len(parts) < 4:
            super().do_GET()
            return
        run = self.fake.open.get(unquote(parts[3]))
        tail = parts[4] if len(parts) > 4 else ""
        if run is None:
            self.send_json({"error": {"message": "There is no such run.", "remedy": ""}}, 404)
            return
        run.asked.append(f"{tail}?{address.query}")
        if tail == "stream":
            self.follow(run.streams)
        elif tail == "log":
            self.send_bytes(run.log.encode(), "text/plain")
        elif tail == "export":
            self.send_bytes(b"step,loss\r\n1,0.5\r\n", "text/csv")
        else:
            answer = run.answer(tail, parse_qs(address.query))
            missing = {"error": {"message": "There is nothing of the kind.", "remedy": ""}}
            self.send_json(missing if answer is None else answer, 404 if answer is None else 200)


@contextmanager
def serving_runs(*runs: FakeRun, port: int = 0) -> Iterator[FakeRuns]:
    """Serves runs on a free port (or again on `port`); `address` is where."""
    with serving(FakeRuns(*runs), port, _RunHandler) as fake:
        yield fake


if __name__ == "__main__":
    shown = [recorded_run(Path(argument)) for argument in sys.argv[1:]] or [
        made_run(),
        made_run("done", state="finished"),
    ]
    with serving_runs(*shown) as running:
        print(running.address, flush=True)
        while True:
            time.sleep(3600)
