"""A server that answers as the dashboard's does, with made-up runs: the page can be tested without a run or a model.

python tests/dashboard_fake.py [RUNS]     serves RUNS made-up runs until it is interrupted, and prints the address
"""

from __future__ import annotations

import json
import math
import queue
import random
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

STATIC = Path(__file__).parent.parent / "src" / "trimtab" / "dashboard" / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
TOKEN = "token-of-the-page"
NOW = 1_780_000_000.0
NASTY = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
POLICY = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"


def summary(run: str, **fields: Any) -> dict[str, Any]:
    """A Summary as the server gives it: a finished run with a metric, unless the fields say otherwise."""
    base: dict[str, Any] = {
        "id": run,
        "name": run.rsplit("/", 1)[-1],
        "state": "finished",
        "started": NOW,
        "updated": NOW + 300,
        "seconds": 312.0,
        "model": "starter",
        "data": "examples/tickets/tickets_en.csv",
        "task": "text_classification",
        "strategy": "lora",
        "metric": "macro_f1",
        "higher_is_better": True,
        "value": 0.9,
        "low": 0.87,
        "high": 0.92,
        "split": "test",
        "step": 500,
        "total_steps": 500,
        "epoch": 5.0,
        "num_epochs": 5,
        "loss": 0.21,
        "seconds_left": None,
        "findings": {"info": 0, "warning": 0, "act": 0},
        "worst": None,
        "curve": {"name": "macro_f1", "points": [[i * 25, 0.9 - 0.5 * math.exp(-i / 5)] for i in range(20)]},
        "tags": [],
        "note": "",
        "archived": False,
        "foreign": None,
        "error": None,
        "values": {"training.num_epochs": 5, "lora.r": 8, "seed": 0},
    }
    return {**base, **fields}


def known_runs() -> list[dict[str, Any]]:
    """One run of each kind that the list has to show; `sweep/r16` has the greatest metric."""
    at_work = {"value": 0.81, "low": None, "high": None, "split": "validation", "seconds": 95.0}
    return [
        summary("sweep/r4", value=0.861, low=0.83, high=0.89, started=NOW - 9000, tags=["sweep"], values=_values(4)),
        summary("sweep/r8", value=0.884, low=0.86, high=0.91, started=NOW - 8000, tags=["sweep"], values=_values(8)),
        summary(
            "sweep/r16",
            value=0.921,
            low=0.9,
            high=0.94,
            started=NOW - 7000,
            tags=["sweep", "best"],
            note="the one to serve",
            values=_values(16),
        ),
        summary(
            "full-deberta",
            model="microsoft/deberta-v3-base",
            strategy="full",
            value=0.913,
            low=0.89,
            high=0.93,
            seconds=5412.0,
            started=NOW - 90_000,
            findings={"info": 2, "warning": 1, "act": 0},
            worst={"name": "overfitting", "severity": "warning", "message": "Validation loss rises since step 300."},
        ),
        summary(
            "live",
            state="running",
            step=310,
            seconds_left=41.0,
            started=NOW - 95,
            findings={"info": 1, "warning": 0, "act": 1},
            worst={"name": "learning_rate_too_high", "severity": "act", "message": "The loss jumps."},
            **at_work,
        ),
        summary("held", state="paused", step=120, started=NOW - 600, **at_work),
        summary("lost", state="crashed", step=77, value=None, low=None, high=None, started=NOW - 4000),
        summary(
            "broken",
            state="failed",
            step=3,
            value=None,
            low=None,
            high=None,
            curve=None,
            started=NOW - 5000,
            error={"message": "Out of memory at step 3.", "remedy": "Lower --batch-size."},
        ),
        summary("halted", state="stopped", step=250, started=NOW - 6000, strategy="full"),
        summary(
            "hf/checkpoint-500",
            state="foreign",
            foreign="transformers",
            model=None,
            data=None,
            strategy=None,
            task=None,
            metric="eval_loss",
            higher_is_better=False,
            value=0.42,
            low=None,
            high=None,
            started=NOW - 200_000,
            values={},
        ),
        summary(
            f"nasty/{NASTY}",
            name=NASTY,
            model=NASTY,
            data=f"data/{NASTY}.csv",
            strategy=NASTY,
            tags=[NASTY],
            note=NASTY,
            metric=NASTY,
            value=0.5,
            low=0.4,
            high=0.6,
            started=NOW - 10_000,
            values={NASTY: NASTY},
            findings={"info": 1, "warning": 0, "act": 0},
            worst={"name": NASTY, "severity": "info", "message": NASTY},
        ),
        summary("old-attempt", archived=True, value=0.7, low=0.66, high=0.74, started=NOW - 300_000),
    ]


def _values(rank: int) -> dict[str, Any]:
    return {"training.num_epochs": 5, "lora.r": rank, "seed": 0, "training.learning_rate": 2e-4}


def many_runs(count: int) -> list[dict[str, Any]]:
    """Runs of a large folder: a grid over models, strategies and ranks, with metrics and findings at random."""
    pick = random.Random(0)
    runs = []
    for i in range(count):
        value = pick.betavariate(9, 2)
        half = pick.uniform(0.01, 0.05)
        act, warning, info = pick.random() < 0.1, pick.randrange(3) if pick.random() < 0.4 else 0, pick.randrange(4)
        name = (
            pick.choice(["learning_rate_too_high", "leakage"])
            if act
            else pick.choice(["overfitting", "small_validation"])
        )
        worst = (
            {"name": name, "severity": "act" if act else "warning", "message": "Made up."} if act or warning else None
        )
        runs.append(
            summary(
                f"grid/run-{i:04}",
                value=value,
                low=max(0, value - half),
                high=min(1, value + half),
                started=NOW - 600 * i,
                model=pick.choice(["starter", "bert-base-uncased", "microsoft/deberta-v3-base"]),
                strategy=pick.choice(["full", "lora", "gradual"]),
                data=pick.choice(["tickets_en.csv", "reviews.parquet"]),
                seconds=pick.uniform(20, 9000),
                worst=worst,
                findings={"info": info, "warning": warning, "act": int(act)},
                tags=pick.sample(["paper", "ablation", "baseline"], pick.randrange(3)),
                curve={
                    "name": "macro_f1",
                    "points": [
                        [s * 100, value - 0.4 * math.exp(-s / pick.uniform(2, 9)) + pick.gauss(0, 0.01)]
                        for s in range(30)
                    ],
                },
                values={
                    "training.num_epochs": pick.choice([3, 5, 10]),
                    "lora.r": pick.choice([4, 8, 16]),
                    "seed": i % 5,
                    "data.max_length": 128,
                },
            )
        )
    return runs


class FakeDashboard:
    """Runs that tests change, the pages that watch them, and what the pages posted.

    Args:
        runs: Summaries to begin with.
        folder: what `/api/info` names.
    """

    def __init__(self, runs: list[dict[str, Any]], folder: str = "/home/me/experiments/runs") -> None:
        self.runs = {run["id"]: run for run in runs}
        self.folder = folder
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, str] | None = None  # the error that POSTs are answered with
        self.streams: set[queue.Queue[str]] = set()
        self.token = TOKEN
        self.ended = threading.Event()
        self.address = ""

    def change(self, run: str, **fields: Any) -> None:
        """Changes a run, or adds it, and tells the pages."""
        self.runs[run] = {**self.runs.get(run, summary(run)), **fields}
        self._tell({"changed": [self.runs[run]], "removed": []})

    def remove(self, run: str) -> None:
        """Takes a run away, and tells the pages."""
        del self.runs[run]
        self._tell({"changed": [], "removed": [run]})

    def _tell(self, data: dict[str, Any]) -> None:
        for waiting in list(self.streams):
            waiting.put(f"event: runs\ndata: {json.dumps(data)}\n\n")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Takes what a page posted; notes change the run, as they do in the server."""
        self.posted.append((path, body))
        if path.endswith("/notes"):
            self.change(unquote(path.split("/")[3]), **body)
        return {}


class Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeDashboard]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait until the head has been acknowledged

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            self.send_bytes(
                (STATIC / "index.html").read_text().replace("{{token}}", self.fake.token).encode(), "text/html"
            )
        elif path.startswith("/static/"):
            self._static(path.removeprefix("/static/"))
        elif path == "/api/info":
            self.send_json(
                {"version": "0.1.0", "folder": self.fake.folder, "can_start": True, "languages": ["en", "zh"]}
            )
        elif path == "/api/runs":
            self.send_json({"runs": list(self.fake.runs.values())})
        elif path == "/api/stream":
            self.follow(self.fake.streams)
        else:
            self.send_json({"error": {"message": "There is no such page.", "remedy": ""}}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.headers.get("X-Trimtab-Token") != self.fake.token:
            self.send_json(
                {"error": {"message": "The page's token is missing or old.", "remedy": "Load the page again."}}, 403
            )
        elif self.fake.refuse:
            self.send_json({"error": self.fake.refuse}, 409)
        else:
            self.send_json(self.fake.post(urlsplit(self.path).path, body))

    def _static(self, name: str) -> None:
        file = (STATIC / unquote(name)).resolve()
        if not file.is_relative_to(STATIC.resolve()) or not file.is_file():
            self.send_json({"error": {"message": "There is no such file.", "remedy": ""}}, 404)
            return
        self.send_bytes(file.read_bytes(), TYPES.get(file.suffix, "text/plain"))

    def follow(self, streams: set[queue.Queue[str]]) -> None:
        """Sends what is put into a queue of these, until the page goes away or the server ends."""
        waiting: queue.Queue[str] = queue.Queue()
        streams.add(waiting)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(b": hello\n\n")
            self.wfile.flush()
            while not self.fake.ended.is_set():
                try:
                    text = waiting.get(timeout=0.1)
                except queue.Empty:
                    continue
                self.wfile.write(text.encode())
                self.wfile.flush()
        except OSError:
            pass  # the page went away
        streams.discard(waiting)

    def send_json(self, data: Any, status: int = 200) -> None:
        self.send_bytes(json.dumps(data).encode(), "application/json", status)

    def send_bytes(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


Fake = TypeVar("Fake", bound=FakeDashboard)


@contextmanager
def serving(fake: Fake, port: int = 0, handler: type[Handler] = Handler) -> Iterator[Fake]:
    """Serves it on a free port (or again on `port`); `address` is where."""
    fake.ended.clear()
    server = _Server(("127.0.0.1", port), type("Bound", (handler,), {"fake": fake}))
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    made = known_runs() + many_runs(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    with serving(FakeDashboard(made)) as running:
        print(running.address, flush=True)
        while True:
            time.sleep(3600)
