"""`trimtab dashboard` in a process of its own: streams, restarts, and a run from the form to its end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from command import trimtab
from dashboard_client import (
    LiveServer,
    Stream,
    finish_run,
    live,
    make_run,
    refused,
    run_path,
    set_alive,
    step_event,
    until,
    write_events,
)  # fmt: skip
from tiny import save_bert, write_csv

from trimtab.core.runs import RunDirectory

STALE = 2**22 + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    set_alive(make_run(runs, "one"))
    return runs


def test_streams_tell_what_is_new_and_end_with_the_server(folder: Path) -> None:
    with live(folder) as server:
        revision = server.http.get(run_path("one", "/series")).json()["revision"]
        runs = Stream(server.http, "/api/stream")
        one, two = (Stream(server.http, run_path("one", f"/stream?revision={revision}")) for _ in range(2))
        one.wait_for("summary", lambda summary: summary["state"] == "running")
        write_events(folder / "one", step_event(4, 0.4))
        with open(folder / "one" / "events.jsonl", "ab", buffering=0) as file:  # a line that is not whole yet
            file.write(json.dumps(step_event(5, 0.3)).encode()[:20])
        for stream in (one, two):
            points = stream.wait_for("points")
            assert points["tables"]["step"]["step"] == [4] and points["cut"] is None
            assert points["tables"]["step"]["series"]["loss"] == pytest.approx([0.4])
        write_events(
            folder / "one",
            {"type": "torn"},
            step_event(6),
            {"type": "finding", "by": "doctor", "name": "plateau", "severity": "warning", "message": "m", "step": 6},
            {"type": "control", "id": "x", "command": "pause", "accepted": True, "step": 6, "time": 1.7e9},
        )
        assert one.wait_for("finding")["name"] == "plateau"
        assert one.wait_for("action")["command"] == "pause"
        # A resume goes back: what came after the checkpoint is void.
        back = {"type": "action", "action": "resume", "step": 2, "time": 1.7e9}
        write_events(folder / "one", back, step_event(3, 0.1))
        cut = one.wait_for("points", lambda told: told["cut"] is not None)
        assert cut["cut"] == 2 and cut["tables"]["step"]["step"][-1] == 3
        runs.wait_for("runs", lambda told: [run["id"] for run in told["changed"]] == ["one"])

        make_run(folder, "new")
        runs.wait_for("runs", lambda told: "new" in {run["id"] for run in told["changed"]})
        finish_run(folder / "new")
        runs.wait_for("runs", lambda told: any(run["state"] == "finished" for run in told["changed"]))
        shutil.rmtree(folder / "one")
        one.wait_for("gone")
        assert one.ended.wait(20) and two.ended.wait(20)
        runs.wait_for("runs", lambda told: told["removed"] == ["one"])
        refused(server.http.get(run_path("one", "/stream")), 404)
        assert not runs.ended.is_set()

        server.process.send_signal(signal.SIGINT)
        assert runs.ended.wait(20)
        assert server.process.wait(20) == 0
        assert server.process.communicate()[1] == ""


def test_who_comes_back_asks_anew(folder: Path) -> None:
    with live(folder) as server:
        behind = Stream(server.http, run_path("one", "/stream?revision=12345"))
        behind.wait_for("reload")  # of another server
        revision = server.http.get(run_path("one", "/series")).json()["revision"]
        write_events(folder / "one", step_event(4))
        late = Stream(server.http, run_path("one", f"/stream?revision={revision}"))
        assert late.wait_for("points")["tables"]["step"]["step"] == [4]
        other = httpx.Client(base_url=server.http.base_url, headers={"Last-Event-ID": str(revision)}, timeout=60)
        assert Stream(other, run_path("one", "/stream?revision=1")).wait_for("points")["tables"]["step"]["step"] == [4]
        server.load_page()
        server.post(run_path("one", "/notes"), {"note": "seen"})
        late.wait_for("summary", lambda summary: summary["note"] == "seen")


def test_the_token_of_visitors_and_of_the_page_after_a_restart(folder: Path) -> None:
    with live(folder, "--host", "127.0.0.1", "--token", "a-token-of-twelve") as server:
        assert "token=a-token-of-twelve" in server.url
        refused(server.http.get("/api/runs"), 401)
        assert server.http.get(server.url).status_code == 200
        assert server.http.get("/api/runs").status_code == 200  # by the cookie
        server.load_page()
        token = server.http.headers["X-Trimtab-Token"]
        server.stop(signal.SIGKILL)
    with live(folder) as again:
        again.http.headers["X-Trimtab-Token"] = token
        again.post(run_path("one", "/notes"), {"note": "after"})


@pytest.mark.skipif(not hasattr(socket, "AF_INET"), reason="needs IPv4")
def test_a_taken_port_is_told_in_words(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = trimtab("dashboard", folder, "--port", taken.getsockname()[1], "--no-open")
    assert outcome.code == 2 and f"The port {taken}" not in outcome.error
    assert "taken by another program" in outcome.error and "--port 0" in outcome.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "does not exist"),
        (["file"], "is a file"),
        (["runs", "--host", "no such host"], "not known"),
        (["runs", "--host", "203.0.113.7", "--port", "0"], "Cannot listen"),
        (["runs", "--token", "short"], "at least 12"),
    ],
)
def test_what_cannot_be_served_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("file").write_text("")
    outcome = trimtab("dashboard", *arguments, "--no-open")
    assert outcome.code == 2 and words in outcome.error


def test_a_missing_package_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sse_starlette", None)
    outcome = trimtab("dashboard", folder, "--no-open")
    assert outcome.code == 2 and "sse_starlette" in outcome.error and "trimtab[dashboard]" in outcome.error


def test_neither_help_nor_the_server_loads_what_is_heavy() -> None:
    script = (
        "import sys; from trimtab.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False); cli.main(['dashboard', '--help'], standalone_mode=False)\n"
        "assert not {'fastapi', 'uvicorn', 'torch'} & set(sys.modules)\n"
        "import trimtab.dashboard.server, trimtab.dashboard.reading.rows\n"
        "assert not {'torch', 'transformers', 'pandas', 'sklearn', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_run_from_the_form_to_its_end(tmp_path: Path) -> None:
    """Start, stop, kill the server, start it again, resume, predict: the run is a process of its own."""
    runs = tmp_path / "runs"
    runs.mkdir()
    data = write_csv(tmp_path / "rows.csv", 60)
    values: dict[str, Any] = {
        "model.name": str(save_bert(tmp_path / "bert")), "training.num_epochs": 150, "training.device": "cpu",
        "evaluation.bootstrap_samples": 100, "evaluation.every_steps": 50, "monitor.signals": False,
        "retention.measure": False,
    }  # fmt: skip
    with live(runs) as server:
        server.load_page()
        check = server.post("/api/check", {"data": str(data), "values": {"model.name": values["model.name"]}})["job"]
        started = server.post("/api/start", {"data": str(data), "values": values, "name": "<img src=x> 工单"})
        run = started["run"]
        assert run == "<img src=x> 工单"
        assert _ended(server, check)["result"]["rows"]
        until(lambda: server.http.get(run_path(run)).status_code == 200 or None)
        stream = Stream(server.http, run_path(run, "/stream"))
        stream.wait_for("points", lambda told: "step" in told["tables"])
        server.post(run_path(run, "/control"), {"command": "stop"})
        stream.wait_for("summary", lambda summary: summary["state"] == "stopped")
        server.stop(signal.SIGKILL)

    with live(runs) as server:
        server.load_page()
        assert _ended(server, started["job"])["state"] == "done"
        assert "Go on with" in server.http.get(run_path(run, "/log")).text
        pid = _resume(server, run, runs)
        server.stop(signal.SIGTERM)
        assert pid is None or psutil.pid_exists(pid)  # neither stops with the server

    with live(runs) as server:
        server.load_page()
        until(lambda: RunDirectory(runs / run).is_finished or None, server.http.get(run_path(run, "/log")).text)
        (summary,) = server.http.get("/api/runs").json()["runs"]
        assert (summary["id"], summary["state"]) == (run, "finished") and summary["value"] is not None
        refused(server.http.post(run_path(run, "/control"), json={"command": "stop"}), 409)
        assert server.http.get(run_path(run, "/rows")).json()["total"] > 0

        answer = server.post(run_path(run, "/predict"), {"inputs": ["router broken please"], "explain": True})
        (prediction,) = answer["predictions"]
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert [word["text"] for word in prediction["words"]] == ["router", "broken", "please"]
        empty = server.http.post(run_path(run, "/predict"), json={"inputs": [" "]})
        assert "empty text" in refused(empty, 400)["message"]
        worker = _worker(server)
        server.stop(signal.SIGKILL)
        until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


def _ended(server: LiveServer, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        told: dict[str, Any] = server.http.get(f"/api/jobs/{job}").json()
        return None if told["state"] == "running" else told

    told = until(look)
    assert told["state"] == "done", told
    return dict(told)


def _resume(server: LiveServer, run: str, runs: Path) -> int | None:
    """Resume a run; the process that does, if it has not ended already."""
    job = server.post(run_path(run, "/resume"))["job"]
    pid = json.loads((runs / ".trimtab-dashboard" / "starts" / job / "job.json").read_text())["pid"]
    refused(server.http.post(run_path(run, "/resume"), json={}), 409)
    return int(pid) if psutil.pid_exists(pid) else None


def _worker(server: LiveServer) -> int:
    """The process that holds the model."""
    children = psutil.Process(server.process.pid).children()
    (found,) = [child.pid for child in children if "trimtab.dashboard.predictor" in " ".join(child.cmdline())]
    return int(found)
