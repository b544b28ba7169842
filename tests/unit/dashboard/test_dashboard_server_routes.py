"""Every route of the dashboard's server, without a network: answers, refusals, and names that try to be more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dashboard_client import Client, finish_run, make_run, refused, run_path, set_alive, write_events

from trimtab.core.control import take_requests
from trimtab.core.runs import RunDirectory
from trimtab.dashboard import server
from trimtab.dashboard.jobs import Jobs

FINDING = {
    "type": "finding", "time": 1.7e9, "step": 2, "by": "doctor", "name": "overfitting", "severity": "act",
    "message": "Validation loss rises.", "remedy": "Train shorter.", "change": {"training.num_epochs": 2}, "since": 1,
}  # fmt: skip
NASTY = ["<img src=x onerror=alert(1)>", "%2e%2e", "工单 一", "a\nb", "a?b#c&d", "a,b", "q\"uote's", "a%2Fb"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    make_run(runs, "one")
    make_run(runs, "sub/two")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "recipe.yaml").write_text("seed: 1")
    (tmp_path / "secret" / "events.jsonl").write_text('{"type": "start"}\n')
    return runs


@pytest.fixture
def client(folder: Path) -> Client:
    return Client(folder)


def test_info_and_list(client: Client, folder: Path) -> None:
    info = client.get("/api/info").json()
    assert (info["folder"], info["can_start"], info["languages"]) == (str(folder), True, ["en", "zh"])
    runs = client.get("/api/runs").json()["runs"]
    assert {run["id"] for run in runs} == {"one", "sub/two"}
    assert {"state", "findings", "curve", "tags", "note", "archived", "values"} <= set(runs[0])


def test_every_reading_route_of_a_run(client: Client, folder: Path) -> None:
    write_events(folder / "sub" / "two", FINDING)
    detail = client.get(run_path("sub/two")).json()
    assert detail["summary"]["id"] == "sub/two"
    assert [finding["name"] for finding in detail["findings"]] == ["overfitting"]
    assert {"key": "optimizer.learning_rate", "value": 0.001, "origin": "flag"} in detail["recipe"]
    series = client.get(run_path("sub/two", "/series?tables=step&from=2&to=3")).json()
    assert list(series["tables"]) == ["step"]
    assert series["tables"]["step"]["step"] == [2, 3]
    export = client.get(run_path("sub/two", "/export?table=step"))
    assert export.text.splitlines()[0].startswith("step,epoch,time,loss") and len(export.text.splitlines()) == 4
    assert "sub-two-step.csv" in export.headers["content-disposition"]
    log = client.get(run_path("sub/two", "/log"))
    assert "Validation loss rises." in log.text and log.headers["content-type"].startswith("text/plain")


def test_numbers_that_are_none_become_null(client: Client, folder: Path) -> None:
    with open(folder / "one" / "events.jsonl", "a") as file:
        file.write('{"type": "step", "time": 1700000009.0, "step": 4, "loss": NaN}\n')
        file.write('{"type": "step", "time": 1700000010.0, "step": 5, "loss": 1e999}\n')
    table = client.get(run_path("one", "/series")).json()["tables"]["step"]
    assert table["series"]["loss"][-2:] == [None, None]
    assert "NaN" not in client.get("/api/runs").text


def test_rows_and_matrix(client: Client, folder: Path) -> None:
    for tail in ("/rows", "/matrix", "/rows?kind=all", "/image/1"):
        refused(client.get(run_path("one", tail)), 404)
    finish_run(folder / "one")
    matrix = client.get(run_path("one", "/matrix")).json()
    assert (matrix["labels"], matrix["counts"]) == (["a", "b"], [[5, 1], [2, 6]])
    refused(client.get(run_path("one", "/rows?kind=best")), 422)
    refused(client.get(run_path("one", "/rows?page=-1")), 422)
    refused(client.get(run_path("one", "/image/1?split=../../x")), 404)


@pytest.mark.parametrize(
    "tail", ["", "/series", "/rows", "/matrix", "/log", "/export", "/image/1", "/stream", "/nothing"]
)
@pytest.mark.parametrize("run", ["none", "../secret", "/etc", "", "./", "%00", "one/..", "sub", "\ud7ff", "%2e%2e"])
def test_no_id_leads_out_of_the_index(client: Client, run: str, tail: str) -> None:
    answer = client.get(run_path(run, tail))
    if run == "" and tail == "":  # the address of the list with a slash behind it
        assert answer.status_code in (307, 404)
        return
    refused(answer, 404)


def test_a_path_that_is_not_encoded_leads_nowhere(client: Client) -> None:
    for path in ("/api/runs/../../secret", "/api/runs/sub/two", "/static/../server.py", "/static/%2e%2e/server.py",
                 "/static/..%2fserver.py", "/api/runs/%ff"):  # fmt: skip
        assert client.get(path).status_code == 404, path


@pytest.mark.parametrize("name", NASTY)
def test_names_are_text(client: Client, folder: Path, name: str) -> None:
    make_run(folder, name)
    runs = client.get("/api/runs")
    assert name in {run["id"] for run in runs.json()["runs"]}
    assert runs.headers["content-type"] == "application/json" and runs.headers["x-content-type-options"] == "nosniff"
    assert client.get(run_path(name)).json()["summary"]["name"] == name
    assert client.post(run_path(name, "/notes"), {"note": name, "tags": ["<b>"]}).json()["note"] == name
    assert client.get(run_path(name)).json()["summary"]["tags"] == ["<b>"]
    export = client.get(run_path(name, "/export"))
    assert export.status_code == 200 and "\n" not in export.headers["content-disposition"]
    compared = client.get(f"/api/compare?runs={quote(name, safe='')},one").json()
    assert [run["id"] for run in compared["runs"]] == [name, "one"]


def test_a_run_that_is_deleted_is_gone(client: Client, folder: Path) -> None:
    assert client.get(run_path("one", "/series")).status_code == 200
    shutil.rmtree(folder / "one")
    refused(client.get(run_path("one")), 404)
    refused(client.get(run_path("one", "/series")), 404)
    assert [run["id"] for run in client.get("/api/runs").json()["runs"]] == ["sub/two"]


def test_notes_stand_in_the_summary(client: Client, folder: Path) -> None:
    client.post(run_path("sub/two", "/notes"), {"tags": ["best"], "archived": True})
    found = {run["id"]: run for run in client.get("/api/runs").json()["runs"]}
    assert (found["sub/two"]["tags"], found["sub/two"]["archived"], found["one"]["tags"]) == (["best"], True, [])
    assert json.loads((folder / ".trimtab-dashboard" / "notes.json").read_text())["sub/two"]["tags"] == ["best"]
    refused(client.post(run_path("one", "/notes"), {"tags": "x"}), 422)
    refused(client.post(run_path("none", "/notes"), {"tags": []}), 404)
    refused(client.post(run_path("one", "/notes"), {"other": 1}), 422)


def test_control_reaches_a_run_that_goes_on(client: Client, folder: Path) -> None:
    set_alive(folder / "one")
    told = client.post(run_path("one", "/control"), {"command": "learning_rate", "factor": 0.5}).json()
    (request,) = take_requests(RunDirectory(folder / "one"))
    assert (request.id, request.command, request.by) == (told["id"], "learning_rate", "dashboard")
    assert request.fields == {"factor": 0.5} and not request.fault


@pytest.mark.parametrize(
    "body", [{"command": "explode"}, {"command": "learning_rate"}, {"command": "learning_rate", "factor": -1},
             {"command": "pause", "path": "/etc"}]
)  # fmt: skip
def test_what_no_run_takes_is_refused(client: Client, folder: Path, body: dict[str, Any]) -> None:
    set_alive(folder / "one")
    refused(client.post(run_path("one", "/control"), body), 400)
    assert take_requests(RunDirectory(folder / "one")) == []


def test_a_run_that_does_not_go_on_takes_no_requests(client: Client, folder: Path) -> None:
    error = refused(client.post(run_path("one", "/control"), {"command": "pause"}), 409)
    assert "resume" in error["remedy"]
    finish_run(folder / "one")
    refused(client.post(run_path("one", "/control"), {"command": "stop"}), 409)
    refused(client.post(run_path("one", "/resume")), 409)
    refused(client.post(run_path("one", "/predict"), {"inputs": ["x"]}), 409)


def test_a_run_that_goes_on_is_not_resumed(client: Client, folder: Path) -> None:
    set_alive(folder / "one")
    assert "running" in refused(client.post(run_path("one", "/resume")), 409)["message"]


def test_remedies_now_and_in_a_new_run(client: Client, folder: Path) -> None:
    write_events(folder / "one", FINDING, {**FINDING, "name": "plateau", "change": {}})
    index = {finding["name"]: finding["index"] for finding in client.get(run_path("one")).json()["findings"]}
    new = client.post(run_path("one", "/remedy"), {"finding": index["overfitting"], "how": "new"}).json()["draft"]
    assert new["training.num_epochs"] == 2 and new["optimizer.learning_rate"] == 0.001
    now = {"finding": index["overfitting"], "how": "now"}
    refused(client.post(run_path("one", "/remedy"), now), 409)
    set_alive(folder / "one")
    assert client.post(run_path("one", "/remedy"), now).json()["id"]
    (request,) = take_requests(RunDirectory(folder / "one"))
    assert (request.command, request.fields) == ("remedy", {"finding": "overfitting"})
    refused(client.post(run_path("one", "/remedy"), {"finding": index["plateau"], "how": "now"}), 409)
    refused(client.post(run_path("one", "/remedy"), {"finding": 99, "how": "new"}), 404)
    refused(client.post(run_path("one", "/remedy"), {"finding": 0, "how": "later"}), 422)


def test_drafts(client: Client, folder: Path) -> None:
    write_events(folder / "one", FINDING)
    values = client.get("/api/draft?run=one").json()["values"]
    assert values == {"optimizer.learning_rate": 0.001, "data.path": "x.csv", "model.name": "starter"}
    assert client.get("/api/draft?run=one&finding=0").json()["values"]["training.num_epochs"] == 2
    refused(client.get("/api/draft?run=none"), 404)


def test_compare(client: Client, folder: Path) -> None:
    for seed, rate in ((1, 0.001), (2, 0.001), (3, 0.01)):
        make_run(folder, f"seed{seed}", recipe={"seed": seed, "optimizer": {"learning_rate": rate}})
    told = client.get("/api/compare?runs=seed1,seed2,seed3").json()
    assert {row["key"] for row in told["differs"]} == {"seed", "optimizer.learning_rate"}
    assert {"key": "seed", "values": {"seed1": 1, "seed2": 2, "seed3": 3}} in told["differs"]
    assert [(group["name"], group["runs"]) for group in told["groups"]] == [
        ("learning_rate 0.001", ["seed1", "seed2"]), ("learning_rate 0.01", ["seed3"])]  # fmt: skip
    refused(client.get("/api/compare?runs=seed1,none"), 404)
    refused(client.get("/api/compare"), 400)
    make_run(folder, "a,b")
    assert len(client.get("/api/compare?runs=a%2Cb,seed1").json()["runs"]) == 2
    assert len(client.get("/api/compare?runs=seed1%2Cseed2").json()["runs"]) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"data": "", "values": {}}, 400),
        ({"data": "/no/such/file.csv", "values": {}}, 400),
        ({"data": "{csv}", "values": {"a b": 1}}, 400),
        ({"data": "{csv}", "values": {}, "name": "../out"}, 400),
        ({"data": "{csv}", "values": {}, "name": "one"}, 409),
        ({"data": "{csv}", "values": [], "name": "x"}, 422),
        ({"values": {}}, 422),
    ],
)
def test_starts_that_cannot_be(client: Client, folder: Path, body: dict[str, Any], status: int) -> None:
    csv = folder.parent / "x.csv"
    csv.write_text("text,label\n")
    refused(client.post("/api/start", {**body, **({"data": str(csv)} if body.get("data") == "{csv}" else {})}), status)
    assert not list(folder.glob(".trimtab-dashboard/starts/*/job.json"))


def test_a_start_is_a_process_with_its_recipe_and_its_log(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = folder.parent / "-x {recipe}.csv"
    csv.write_text("text,label\n")
    launched: list[list[str]] = []
    monkeypatch.setattr("trimtab.dashboard.jobs._launch", _not_launched(launched))
    made = client.post("/api/start", {"data": str(csv), "values": {"seed": 3, "output": "/etc", "data.path": "y"}})
    run, job = made.json()["run"], made.json()["job"]
    home = folder / ".trimtab-dashboard" / "starts" / job
    assert launched == [["train", "--recipe", str(home / "recipe.yaml"), "--output", str(folder / run), "--", str(csv)]]
    assert run == "-x-recipe-starter-1" or run.endswith("-starter-1")
    assert (home / "recipe.yaml").read_text().splitlines()[1:] == ["seed: 3"]


def test_a_name_is_taken_while_its_run_is_being_prepared(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = folder.parent / "x.csv"
    csv.write_text("text,label\n")
    monkeypatch.setattr("trimtab.dashboard.jobs._launch", _not_launched([]))
    monkeypatch.setattr("trimtab.dashboard.jobs.Job.is_alive", lambda job: True)
    monkeypatch.setattr("trimtab.dashboard.starting.LEAVE_SECONDS", 0.1)
    body = {"data": str(csv), "values": {}}
    assert [client.post("/api/start", body).json()["run"] for _ in range(2)] == ["x-starter-1", "x-starter-2"]
    refused(client.post("/api/start", {**body, "name": "x-starter-2"}), 409)
    set_alive(folder / "one", pid=2**22 + 1)
    assert client.post(run_path("one", "/resume")).json()["started"] is True
    refused(client.post(run_path("one", "/resume")), 409)


def _not_launched(seen: list[list[str]]) -> Any:
    class Process:
        pid, returncode = 2**22 + 1, 0

        def poll(self) -> int | None:
            return None

    def launch(folder: Path, arguments: list[str], result: bool) -> Process:
        seen.append(list(arguments))
        (folder / "log").write_text("")
        return Process()

    return launch


def test_jobs_of_another_server_are_told_from_their_files(client: Client, folder: Path) -> None:
    home = folder / ".trimtab-dashboard" / "starts"
    refused(client.get("/api/jobs/nothing"), 404)
    refused(client.get("/api/jobs/..%2f..%2fone"), 404)

    def job(number: int, kind: str, **files: str) -> dict[str, Any]:
        path = home / f"20260101-000000-{number:08x}"
        path.mkdir(parents=True)
        (path / "job.json").write_text(json.dumps({"kind": kind, "run": "one", "pid": None, "pid_started": None}))
        for name, content in files.items():
            (path / name.replace("_", ".")).write_text(content)
        told: dict[str, Any] = client.get(f"/api/jobs/{path.name}").json()
        return told

    assert job(1, "check", out_json='{"rows": 3}')["result"] == {"rows": 3}
    failed = job(2, "check", out_json='{"error": {"message": "No.", "remedy": "Do.", "problems": ["p"]}}')
    assert (failed["state"], failed["error"]) == ("failed", {"message": "No.", "problems": ["p"], "remedy": "Do."})
    assert job(3, "check", out_json='{"rows"', log="Killed\n")["state"] == "failed"
    told = job(4, "start", log="reading\nerror: The recipe has 2 problems.\n  - a\n  - b\nSee every key.\n")
    assert (told["state"], told["error"]["problems"], told["error"]["remedy"]) == (
        "failed",
        ["a", "b"],
        "See every key.",
    )
    assert job(5, "start", log="training\ndone\n")["state"] == "done"
    stopped = "error: Stopped: a checkpoint was written.\nGo on with: trimtab resume one\n"
    assert job(0, "start", log=stopped)["state"] == "done"
    assert job(6, "resume", exit="-9")["state"] == "failed"
    assert job(7, "start", exit="130", log="error: SIGINT received: a checkpoint was written.\n")["state"] == "done"
    assert client.get(run_path("one", "/log")).text.startswith("error: SIGINT")


def test_old_checks_are_removed_and_logs_of_runs_kept(folder: Path) -> None:
    jobs = Jobs(folder / ".trimtab-dashboard" / "starts")
    import os

    for number, (kind, run) in enumerate([("check", None), ("start", "one"), ("start", "deleted")]):
        path = jobs.home / f"20260101-000000-{number:08x}"
        path.mkdir(parents=True)
        (path / "job.json").write_text(json.dumps({"kind": kind, "run": run}))
        os.utime(path, (1, 1))
    jobs.tidy()
    assert [job.run for job in jobs.all()] == ["one"]


def test_predict_checks_what_it_is_given(client: Client, folder: Path) -> None:
    (folder / "one" / "model").mkdir()
    for body in ({"inputs": []}, {"inputs": "x"}, {"inputs": [["a", "b", "c"]]}, {"inputs": ["x"] * 101}, {}):
        refused(client.post(run_path("one", "/predict"), body), 422)
    long = refused(client.post(run_path("one", "/predict"), {"inputs": ["x" * 100_001]}), 413)
    assert "100,000 characters" in long["message"]
    headers = {"X-Trimtab-Token": "a-token-of-the-page-for-tests"}
    files = {"file": ("x.png", b"#!/bin/sh", "image/png")}
    script = refused(client.send("POST", run_path("one", "/predict"), files=files, headers=headers), 400)
    assert "no image" in script["message"] and "PNG" in script["remedy"]


def test_what_breaks_is_told_as_json(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret of the inside")

    monkeypatch.setattr("trimtab.dashboard.desk.Desk.list", broken)
    assert "fault in Trimtab" in refused(client.get("/api/runs"), 500)["remedy"]


def test_pages(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<h1>404 Not Found</h1>" in client.get("/%3Cscript%3E").text
    assert "<script>" not in client.get("/%3Cscript%3E").text
    assert client.get("/plain.css").headers["content-type"].startswith("text/css")
    refused(client.send("DELETE", "/api/runs", headers={"X-Trimtab-Token": "a-token-of-the-page-for-tests"}), 405)
    monkeypatch.setattr(server, "STATIC", tmp_path / "none")
    bare = server.create_app(tmp_path, static=tmp_path / "none")
    assert bare is not None


def test_a_page_that_is_not_built_says_how(tmp_path: Path) -> None:
    from trimtab.dashboard.routes.pages import BUILT, index_page

    assert index_page(tmp_path, "t").status_code == 503
    assert b"make web" in bytes(index_page(tmp_path, "t").body)
    (tmp_path / "index.html").write_text('<head><meta name="trimtab-token" content="{{token}}"></head>')
    for name in BUILT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert bytes(index_page(tmp_path, 'a"b').body) == b'<head><meta name="trimtab-token" content="a&quot;b"></head>'
    (tmp_path / "index.html").write_text("<head></head>")
    assert b'content="t"' in bytes(index_page(tmp_path, "t").body)
