"""What tests of the dashboard's server need: made-up runs, a client without a network, and a server in a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import yaml
from fastapi import FastAPI

from trimtab.dashboard.security import Policy
from trimtab.dashboard.server import create_app

ORIGIN = "http://127.0.0.1:7860"
PAGE_TOKEN = "a-token-of-the-page-for-tests"
MOST_SECONDS = 90.0
RECIPE = {"seed": 0, "model": {"name": "starter"}, "optimizer": {"learning_rate": 0.001}, "data": {"path": "x.csv"}}


def run_path(run: str, tail: str = "") -> str:
    """The address of a run, as the page makes it."""
    return f"/api/runs/{quote(run, safe='')}{tail}"


def make_run(folder: Path, name: str, *, steps: int = 3, recipe: dict[str, Any] | None = None, **start: Any) -> Path:
    """A run directory with a recipe and the events of some steps; it is neither finished nor going on."""
    run = folder / name
    (run / "checkpoints").mkdir(parents=True)
    origins = {"optimizer.learning_rate": "flag", "data.path": "flag", "model.name": "inferred"}
    (run / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **(recipe or {}), "origins": origins}))
    (run / "environment.json").write_text(json.dumps({"run": {"model": "starter", "data": "x.csv"}}))
    first = {"type": "start", "time": 1.7e9, "step": 0, "metric": "macro_f1", "total_steps": 100, **start}
    write_events(run, first, *(step_event(step) for step in range(1, steps + 1)))
    return run


def step_event(step: int, loss: float = 0.5) -> dict[str, Any]:
    """A step of training."""
    return {"type": "step", "time": 1.7e9 + step, "step": step, "epoch": step / 10, "loss": loss}


def write_events(run: Path, *events: dict[str, Any]) -> None:
    """Append events, as the loop does."""
    with open(run / "events.jsonl", "ab", buffering=0) as file:
        for event in events:
            file.write((json.dumps(event) + "\n").encode())


def set_alive(run: Path, state: str = "running", pid: int | None = None) -> None:
    """A heartbeat of a process that lives: this one; with the number of no process, that of one that has crashed."""
    beat = {"format": 1, "pid": pid or os.getpid(), "pid_started": psutil.Process().create_time(), "state": state}
    beat |= {"host": socket.gethostname(), "time": time.time(), "step": 3}
    (run / "heartbeat.json").write_text(json.dumps(beat))


def finish_run(run: Path, value: float = 0.9) -> None:
    """The files that a run ends with, as far as the list reads them."""
    metrics = {"macro_f1": {"value": value, "low": value - 0.1, "high": value + 0.1}}
    told = {"primary_metric": "macro_f1", "metrics": metrics, "split": "test", "labels": ["a", "b"]}
    (run / "evaluation.json").write_text(json.dumps({**told, "confusion": [[5, 1], [2, 6]]}))


class Client:
    """Requests to an application in this process, from its own page unless headers say otherwise."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.app: FastAPI = create_app(folder, Policy(page_token=PAGE_TOKEN, **policy))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        own = {"X-Trimtab-Token": PAGE_TOKEN, "Origin": ORIGIN}
        return self.send("POST", path, headers={**own, **headers}, json={} if body is None else body)

    def send(self, method: str, path: str, **words: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                # A stream, which never ends here, fails a test in place of holding it up.
                return await asyncio.wait_for(client.request(method, path, **words), 30)

        words["headers"] = {name.replace("_", "-"): value for name, value in words.get("headers", {}).items()}
        return run_aside(sent())


def run_aside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives, run in a thread of its own: a browser's test in this process keeps a loop running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    """The error of an answer, which must have this status, say what is wrong, and hold no traceback."""
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert error["message"] and "Traceback" not in answer.text and "remedy" in error
    return error


class LiveServer:
    """`trimtab dashboard` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "trimtab", "dashboard", str(folder), "--port", "0", "--no-open", "--json"]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            text += line
        self.url: str = json.loads(text)["url"]
        self.http = httpx.Client(base_url=self.url.split("?")[0], timeout=MOST_SECONDS)

    def load_page(self) -> None:
        """Take up the page's token, as a browser does."""
        text = self.http.get("/").text
        self.http.headers["X-Trimtab-Token"] = text.split('name="trimtab-token" content="')[1].split('"')[0]

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.http.post(path, json={} if body is None else body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """End it by a signal: its exit code and what it said on stderr."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=MOST_SECONDS)
        return self.process.returncode, said


@contextlib.contextmanager
def live(folder: Path, *arguments: str) -> Iterator[LiveServer]:
    """A server for as long as the block lasts."""
    server = LiveServer(folder, *arguments)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


class Stream:
    """Server-sent events, read in a thread as they come."""

    def __init__(self, http: httpx.Client, path: str) -> None:
        self.events: list[tuple[str, Any]] = []
        self.ended = threading.Event()
        self.opened = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(http, path), daemon=True)
        self._thread.start()
        assert self.opened.wait(MOST_SECONDS)

    def _read(self, http: httpx.Client, path: str) -> None:
        name = ""
        with contextlib.suppress(httpx.HTTPError, RuntimeError), http.stream("GET", path) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                self.opened.set()
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    self.events.append((name, json.loads(line.removeprefix("data:"))))
        self.opened.set()
        self.ended.set()

    def of(self, name: str) -> list[Any]:
        """What came under a name so far."""
        return [data for event, data in list(self.events) if event == name]

    def wait_for(self, name: str, condition: Callable[[Any], bool] = lambda data: True) -> Any:
        """The first event of this name that meets the condition."""
        return until(lambda: next((data for data in self.of(name) if condition(data)), None), self.events)


def until(look: Callable[[], Any], told: Any = "") -> Any:
    """Look until something is found."""
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        if (found := look()) is not None and found is not False:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain; seen: {told}")
