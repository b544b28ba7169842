"""Who may ask: Host, Origin, tokens, read-only, sizes, headers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from dashboard_client import ORIGIN, PAGE_TOKEN, Client, make_run, refused, run_path

from trimtab.dashboard.security import BODY_BYTES, HEADERS, UPLOAD_BYTES, Policy, host_name, is_local
from trimtab.dashboard.server import page_token

TOKEN = "a-token-for-visitors"
NOTES = run_path("one", "/notes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path, "one")
    return tmp_path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:9000", "LOCALHOST:1", "localhost."])
def test_names_of_this_machine_are_known(folder: Path, host: str) -> None:
    assert Client(folder).get("/api/info", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.168.0.9", "", "[", "a b", "a@localhost"],
)
def test_other_names_are_refused(folder: Path, host: str) -> None:
    """A page whose name was made to point here (DNS rebinding) would be of the same origin as ours."""
    client = Client(folder)
    for path in ("/", "/api/runs", "/static/app.js"):
        assert client.get(path, Host=host).status_code == 421, path
    refused(client.post(NOTES, {"note": "x"}, Host=host), 421)


def test_a_server_for_the_network_knows_addresses_and_its_own_names(folder: Path) -> None:
    policy = Policy(host="0.0.0.0", access_token=TOKEN, names=frozenset({"runs.example"}))
    assert all(map(policy.knows_host, ("10.1.2.3:7860", "[fe80::1]:7860", "localhost", "runs.example:443")))
    assert not policy.knows_host("evil.example")
    assert not Policy(host="127.0.0.1").knows_host("10.1.2.3")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_local_addresses(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_local(host)


def test_host_names() -> None:
    assert [host_name(text) for text in ("A.b:1", "[::1]:2", "x", "", "[")] == ["a.b", "::1", "x", "", ""]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:7861", "http://127.0.0.1", "file://", "http://[", ""]
)
def test_posts_of_other_sites_are_refused(folder: Path, origin: str) -> None:
    client = Client(folder)
    refused(client.post(NOTES, {"note": "x"}, Origin=origin), 403)
    assert client.get(run_path("one")).json()["summary"]["note"] == ""


def test_posts_need_the_token_of_the_page(folder: Path) -> None:
    client = Client(folder)
    for token in ("", "x", PAGE_TOKEN[:-1], PAGE_TOKEN + "x", PAGE_TOKEN.upper()):
        refused(client.post(NOTES, {"note": "x"}, X_Trimtab_Token=token), 403)
    assert client.send("POST", NOTES, json={"note": "x"}, headers={"X-Trimtab-Token": PAGE_TOKEN}).status_code == 200
    for method in ("PUT", "DELETE", "PATCH"):
        assert client.send(method, NOTES, json={}).status_code == 403


def test_other_sites_may_not_even_read(folder: Path) -> None:
    client = Client(folder)
    refused(client.get("/api/runs", Sec_Fetch_Site="cross-site"), 403)
    assert client.get("/api/runs", Sec_Fetch_Site="same-origin").status_code == 200
    assert "access-control-allow-origin" not in client.get("/api/runs", Origin="http://evil.example").headers


def test_read_only_refuses_every_post(folder: Path) -> None:
    client = Client(folder, read_only=True)
    assert client.get("/api/info").json()["can_start"] is False
    posts = ["/api/start", "/api/check", "/api/compare/test"]
    posts += [run_path("one", tail) for tail in ("/control", "/resume", "/remedy", "/notes", "/predict")]
    for path in posts:
        assert "--read-only" in refused(client.post(path), 403)["message"]
    assert not (folder / ".trimtab-dashboard").exists()


def test_a_token_for_visitors(folder: Path) -> None:
    client = Client(folder, host="0.0.0.0", access_token=TOKEN)
    for path in ("/api/runs", "/api/stream", run_path("one")):
        refused(client.get(path), 401)
    refused(client.post(NOTES, {"note": "x"}), 401)
    asked = client.get("/")
    assert asked.status_code == 401 and "<form" in asked.text and PAGE_TOKEN not in asked.text
    assert client.get("/static/app.js").status_code == 401
    assert "not the right one" in client.get("/?token=wrong").text
    refused(client.get(f"/api/runs?token={TOKEN}"), 401)  # only the page takes it from the address

    welcome = client.get(f"/?token={TOKEN}")
    cookie = welcome.headers["set-cookie"]
    assert welcome.status_code == 200 and PAGE_TOKEN not in welcome.text
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and TOKEN not in cookie
    pair = cookie.split(";")[0]
    assert client.get("/api/runs", Cookie=f"other=1; {pair}").status_code == 200
    assert client.post(NOTES, {"note": "x"}, Cookie=pair).status_code == 200
    refused(client.post(NOTES, {"note": "x"}, Cookie=pair, X_Trimtab_Token="x"), 403)
    refused(client.get("/api/runs", Cookie=pair[:-1] + "!"), 401)
    assert client.get("/api/runs", Authorization=f"Bearer {TOKEN}").status_code == 200


def test_the_cookie_of_another_token_gives_no_access(folder: Path) -> None:
    assert Policy(access_token=TOKEN).cookie_value != Policy(access_token=TOKEN + "x").cookie_value


def test_long_bodies_are_refused(folder: Path) -> None:
    client = Client(folder)
    headers = {"X-Trimtab-Token": PAGE_TOKEN, "Origin": ORIGIN}
    long = refused(client.send("POST", NOTES, content=b" " * (BODY_BYTES + 1), headers=headers), 413)
    assert long["remedy"] == "Send less."
    told = {**headers, "Content-Length": str(UPLOAD_BYTES + 1), "Content-Type": "multipart/form-data; boundary=x"}
    refused(client.send("POST", run_path("one", "/predict"), content=b"x", headers=told), 413)
    chunks = client.send("POST", NOTES, content=_chunks(), headers=headers)  # no length is told
    refused(chunks, 413)


async def _chunks():  # type: ignore[no-untyped-def]
    for _ in range(40):
        yield b" " * (BODY_BYTES // 32)


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/nothing", "/static/nothing.js", "/nothing", "/plain.css"])
def test_every_answer_keeps_scripts_and_frames_out(folder: Path, path: str) -> None:
    for answer in (Client(folder).get(path), Client(folder).get(path, Host="evil.example")):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert "unsafe" not in HEADERS["Content-Security-Policy"] and "default-src 'self'" in str(HEADERS)


def test_the_token_of_the_page_outlives_the_server(tmp_path: Path) -> None:
    first = page_token(tmp_path)
    kept = tmp_path / ".trimtab-dashboard" / "token"
    assert page_token(tmp_path) == first and len(first) >= 24
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_text("short")
    assert page_token(tmp_path) != "short"


@pytest.mark.parametrize("path", ["/api/check", "/api/start"])
@pytest.mark.parametrize(
    "values",
    [
        {"alerts.command": ["touch", "x"]},
        {"model.trust_remote_code": True},
        {"alerts": {"command": "touch x"}},
        {"model": {"trust_remote_code": True}},
    ],
)
def test_nobody_from_elsewhere_names_code_to_run(folder: Path, path: str, values: dict[str, object]) -> None:
    (folder / "texts.csv").write_text("text,label\na,b\n")
    body = {"data": str(folder / "texts.csv"), "values": values}
    for policy in ({"host": "0.0.0.0"}, {"names": frozenset({"runs.example"})}):
        client = Client(folder, **policy)
        error = refused(client.post(path, body), 403)
        assert "cannot be set from this dashboard" in error["message"] and "trimtab train" in error["remedy"]
    assert not (folder / ".trimtab-dashboard" / "starts").exists()


def test_what_runs_no_code_may_be_named_from_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "texts.csv").write_text("text,label\na,b\n")
    monkeypatch.setattr(
        "trimtab.dashboard.jobs._launch", lambda *_: SimpleNamespace(pid=1, poll=lambda: 0, returncode=0)
    )
    harmless = {
        "alerts.command": None,
        "model.trust_remote_code": False,
        "alerts.desktop": True,
        "model.name": "starter",
    }
    remote = Client(folder, host="0.0.0.0").post("/api/check", {"data": str(folder / "texts.csv"), "values": harmless})
    local = {"alerts.command": ["notify"], "model.trust_remote_code": True}
    here = Client(folder).post("/api/check", {"data": str(folder / "texts.csv"), "values": local})
    assert remote.status_code == here.status_code == 200, (remote.text, here.text)
