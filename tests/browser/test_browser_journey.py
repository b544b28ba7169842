"""The page, the server and runs together: a browser drives real runs of a tiny model from the form to their end.

Later tests look at the runs that earlier ones have made, as somebody does who works with them for a while.
"""

from __future__ import annotations

import csv
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
import tiny
from dashboard_client import LiveServer, live, run_path, until

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Locator, Page

    Open = Callable[..., Page]

NASTY_NAME = "<img src=x onerror=alert(1)>"
NASTY_LABEL = "</script><script>alert(1)</script>"
SLOW = 120_000  # ms; what waits for a process that has to load a model
QUICK = {
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
    "retention.measure": False,
    "training.batch_size": 8,
    # What is fastest here is measured else, and may differ between two runs.
    "training.precision": "fp32",
    "model.attention": "sdpa",
}
STEPS_AN_EPOCH = 11
STEERED = {"training__num_epochs": 70}
LOOKS = [
    {"viewport": {"width": 400, "height": 850}},
    {"color_scheme": "dark", "locale": "zh-CN"},
]


@dataclass
class World:
    """A server over a folder of runs, and what the runs are made of."""

    folder: Path
    data: Path
    model: Path
    server: LiveServer

    @property
    def address(self) -> str:
        """Of the page."""
        return self.server.url.rstrip("/")

    def start(self, name: str, **settings: Any) -> None:
        """Start a run without the form."""
        values = {"model.name": str(self.model), **QUICK, **{k.replace("__", "."): v for k, v in settings.items()}}
        self.server.post("/api/start", {"data": str(self.data), "values": values, "name": name})

    def summary(self, run: str) -> dict[str, Any]:
        """What the list says of a run; empty while there is none."""
        answer = self.server.http.get(run_path(run))
        return dict(answer.json()["summary"]) if answer.status_code == 200 else {}

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        return [event for event in read_events(self.folder / run / "events.jsonl") if event["type"] == kind]

    def wait_for(self, run: str, *states: str) -> None:
        """Wait until a run is in one of these states."""
        until(lambda: self.summary(run).get("state") in states or None, (run, states))

    def stop(self, run: str) -> None:
        """Stop a run, if it goes on."""
        if self.summary(run).get("state") in ("preparing", "running", "evaluating", "paused"):
            self.server.http.post(run_path(run, "/control"), json={"command": "stop"})
            self.wait_for(run, "stopped", "finished", "failed")

    def kill_server(self) -> None:
        """Kill the server, and start another on the same port."""
        port = str(urlsplit(self.server.url).port)
        self.server.stop(signal.SIGKILL)
        self.server = LiveServer(self.folder, "--port", port)
        self.server.load_page()


@pytest.fixture(scope="module")
def world(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dashboard, and a run that it has started, which is left alone."""
    home = tmp_path_factory.mktemp("world")
    model, data, runs = tiny.save_bert(home / "bert"), home / "tickets.csv", home / "runs"
    runs.mkdir()
    with open(data, "w", newline="", encoding="utf-8") as file:
        named = [(text, NASTY_LABEL if label == "other" else label) for text, label in tiny.labelled_texts(120)]
        csv.writer(file).writerows([("text", "label"), *named])
    world = World(runs, data, model, LiveServer(runs))
    world.server.load_page()
    try:
        world.start("whole", **STEERED)
        yield world
    finally:
        for summary in world.server.http.get("/api/runs").json()["runs"]:
            world.stop(summary["id"])
        world.server.stop(signal.SIGKILL)


@pytest.fixture
def faulty(world: World) -> Iterator[str]:
    """A run whose learning rate is far too high, for as long as a test looks at it."""
    world.start(NASTY_NAME, optimizer__learning_rate=1.0, training__num_epochs=4000)
    world.wait_for(NASTY_NAME, "running", "evaluating")
    yield NASTY_NAME
    world.stop(NASTY_NAME)


def shown(open_page: Open, world: World, run: str, tab: str = "", **settings: Any) -> Page:
    """The page of a run."""
    page = open_page(f"{world.address}/#/run/{quote(run, safe='')}/{tab}", **settings)
    page.wait_for_selector(".run-title")
    return page


def step_of(page: Page) -> int:
    """The last step that the chart of the loss knows."""
    text = page.locator('figure.chart[aria-label="Loss"] .legend-x').inner_text()
    return int(re.sub(r"\D", "", text) or 0)


def grows(page: Page, more: int = 10) -> None:
    """Waits until the chart of the loss has got further, on its own."""
    script = """([from]) => Number(document.querySelector('figure.chart[aria-label="Loss"] .legend-x')
      ?.textContent.replace(/\\D/g, '') ?? 0) > from"""
    page.wait_for_function(script, arg=[step_of(page) + more], timeout=SLOW)


def state_is(page: Page, *states: str) -> None:
    """Waits until the head of the page tells one of these states."""
    page.wait_for_selector(", ".join(f".run-title .state-{state}" for state in states), timeout=SLOW)


def press(page: Page, name: str) -> None:
    """A button of the head."""
    page.locator(".run-controls").get_by_role("button", name=name).click()


def unfold(finding: Locator) -> None:
    """Shows the whole of a finding; the first one is unfolded by itself."""
    if finding.locator(".finding-head").get_attribute("aria-expanded") == "false":
        finding.locator(".finding-head").click()


def field(page: Page, key: str) -> Locator:
    """A field of the form."""
    return page.locator(f'[id="field-{key}"]')


def test_a_run_from_the_form_to_its_metric(open_page: Open, world: World) -> None:
    page = open_page(f"{world.address}/#/start")
    page.wait_for_selector(".start-go:disabled")
    field(page, "model.name").fill(str(world.model))
    field(page, "training.num_epochs").fill("40")
    field(page, "training.batch_size").fill("8")
    assert page.locator(".start-changes tbody tr").count() == 3
    page.fill("#start-name", "first")
    page.fill("#start-data", str(world.data))
    page.click(".start-data-line button")
    page.wait_for_selector(".start-report", timeout=SLOW)
    report = page.inner_text(".start-report")
    assert "text-classification" in report and NASTY_LABEL in report
    page.locator(".start-go:enabled").click()

    page.wait_for_url("**/#/run/first", timeout=SLOW)
    page.evaluate("window.same = true")
    state_is(page, "running", "evaluating")
    grows(page)
    grows(page)
    assert page.evaluate("window.same"), "no reload"
    before = step_of(page)
    page.reload()
    state_is(page, "running", "evaluating", "finishing", "finished")
    page.wait_for_selector('figure.chart[aria-label="Loss"] .legend-x')
    assert step_of(page) >= before, "a refresh loses nothing"
    state_is(page, "finished")
    page.wait_for_selector(".run-metric-interval")
    evaluation = world.server.http.get(run_path("first")).json()["evaluation"]
    metric = evaluation["metrics"][evaluation["primary_metric"]]
    told = [float(number) for number in re.findall(r"\d\.\d+", page.inner_text(".run-metric-value"))]
    assert told == pytest.approx([metric["value"], metric["low"], metric["high"]], abs=1e-3)
    assert step_of(page) == 40 * STEPS_AN_EPOCH == world.events("first", "step")[-1]["step"]


def test_a_fault_is_found_remedied_and_answered_by_a_new_run(open_page: Open, world: World, faulty: str) -> None:
    page = shown(open_page, world, faulty)
    assert page.locator("h1").inner_text() == faulty
    state_is(page, "running", "evaluating")
    page.locator(".marks").get_by_role("button", name=re.compile("Learning rate too high")).first.wait_for(timeout=SLOW)
    page.locator(".tab[data-tab=findings]").click()
    finding = page.locator("article.finding", has=page.get_by_text("Learning rate too high", exact=True))
    finding.wait_for(timeout=SLOW)
    unfold(finding)
    change = finding.locator(".diff-entry", has_text="optimizer.learning_rate")
    lower = float(change.locator(".diff-new").inner_text().split()[-1])
    assert lower < float(change.locator(".diff-old").inner_text().split()[-1]) == 1.0

    finding.get_by_role("button", name="Apply to this run now").click()
    page.get_by_role("dialog").get_by_role("button", name="Apply to this run now").click()
    page.get_by_text(re.compile(r"Remedy: done at step [\d,\s]+\.")).wait_for(timeout=SLOW)
    (answer,) = [event for event in world.events(faulty, "control") if event["command"] == "remedy"]
    assert answer["accepted"] and answer["by"] == "dashboard" and answer["after"]["rate_scale"] < 1
    page.locator(".tab[data-tab=overview]").click()
    page.locator(".marks").get_by_role("button", name=re.compile("Remedy")).first.wait_for()
    page.locator(".tab[data-tab=log]").click()
    page.get_by_text("remedy (dashboard)").first.wait_for()

    page.locator(".tab[data-tab=findings]").click()
    unfold(finding)
    finding.get_by_role("link", name="Start a new run with it").click()
    row = page.locator(".start-changes tbody tr", has_text="optimizer.learning_rate")
    row.wait_for(timeout=SLOW)
    assert page.locator(".start-changes tbody tr").count() == 1, "the finding's change, and nothing else"
    assert float(row.locator("del").inner_text()) == 1.0
    assert float(row.locator("ins").inner_text()) == pytest.approx(lower, rel=1e-2)
    assert page.input_value("#start-data") == str(world.data)
    assert "The learning rate is too high" in page.inner_text(".start-from")


def test_pause_go_on_kill_the_server_stop_and_resume(open_page: Open, world: World) -> None:
    world.start("steered", **STEERED)
    world.wait_for("steered", "running", "evaluating")
    page = shown(open_page, world, "steered")
    press(page, "Pause")
    state_is(page, "paused")
    page.get_by_text(re.compile(r"Pause: done at step [\d,]+\.")).wait_for()
    held = world.events("steered", "step")[-1]["step"]
    page.get_by_role("button", name="Go on").click()
    state_is(page, "running", "evaluating")
    assert world.events("steered", "control")[-1]["step"] == held

    # The server dies, and another takes its place; the run goes on, and the page was open all along.
    page.evaluate("window.same = true")
    world.kill_server()
    grows(page)
    press(page, "Stop …")
    page.get_by_role("dialog").get_by_role("button", name="Stop …").click()
    state_is(page, "stopped")
    stopped = world.events("steered", "step")[-1]["step"]
    assert held < stopped < 70 * STEPS_AN_EPOCH
    press(page, "Resume training")
    state_is(page, "running", "evaluating", "finishing")
    state_is(page, "finished")
    assert page.evaluate("window.same"), "no reload"
    assert step_of(page) == 70 * STEPS_AN_EPOCH
    world.wait_for("whole", "finished")
    weights = [sha256_of(world.folder / run / "model" / "model.safetensors") for run in ("steered", "whole")]
    assert weights[0] == weights[1], "as if nothing had come between"


def test_names_and_labels_are_text(open_page: Open, world: World) -> None:
    """`open_page` fails the test where a script of theirs ran: it would open a dialog, or break the page's policy."""
    page = open_page(world.address)
    page.get_by_role("link", name=NASTY_NAME).wait_for()
    assert page.locator("#app img, #app script").count() == 0
    page = shown(open_page, world, "first", "rows")
    page.get_by_text(NASTY_LABEL).first.wait_for()
    assert page.locator("#app script").count() == 0
    both = ",".join(quote(quote(run, safe=""), safe="") for run in ("first", NASTY_NAME))
    page = open_page(f"{world.address}/#/compare?runs={both}")
    page.get_by_text(NASTY_NAME).first.wait_for()
    assert page.locator("#app img, #app script").count() == 0


def test_a_run_that_is_deleted_under_the_page(open_page: Open, world: World) -> None:
    shutil.copytree(world.folder / "first", world.folder / "copy")
    try:
        until(lambda: world.summary("copy") or None)
        page, all_runs = shown(open_page, world, "copy"), open_page(world.address)
        all_runs.get_by_role("link", name="copy", exact=True).wait_for()
    finally:
        shutil.rmtree(world.folder / "copy")
    page.get_by_text("This run's directory is gone.").wait_for()
    assert step_of(page) == 40 * STEPS_AN_EPOCH, "what was seen stays"
    assert page.locator(".run-controls button").count() == 0
    all_runs.get_by_role("link", name="copy", exact=True).wait_for(state="detached")


def test_two_dashboards_see_each_others_notes(open_page: Open, world: World) -> None:
    with live(world.folder) as other:
        first, second = open_page(world.address), open_page(other.url)
        for here, there, note in ((first, second, "a good one"), (second, first, "better than it looks")):
            here.get_by_role("button", name="Tags and note of first").click()
            here.get_by_label("Tags", exact=True).fill("kept")
            here.get_by_label("Note", exact=True).fill(note)
            here.keyboard.press("Enter")
            there.get_by_text(note).wait_for()
            there.get_by_role("button", name="kept", exact=True).wait_for()
            entries = [server.http.get(run_path("first")).json()["summary"] for server in (world.server, other)]
            assert [(entry["tags"], entry["note"]) for entry in entries] == [(["kept"], note)] * 2


def test_from_the_list_to_the_findings_by_keyboard(open_page: Open, world: World) -> None:
    page = open_page(world.address)
    page.wait_for_selector(".run-name")
    for _ in range(10):
        page.keyboard.press("j")  # has the focus at once: a key right after it goes there
        if page.evaluate("document.activeElement.innerText") == "first":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/run/first")
    page.wait_for_selector(".tab")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.tab") == "overview":
            break
    assert page.evaluate("document.activeElement.dataset.tab") == "overview"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus can be seen"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".tab[data-tab=findings][aria-selected=true]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".finding-head[aria-expanded]:focus")


@pytest.mark.parametrize("settings", LOOKS, ids=["narrow", "dark-chinese"])
def test_real_pages_are_for_everyone(
    open_page: Open, world: World, audit: Callable[[Page], list[str]], settings: dict[str, Any]
) -> None:
    page = open_page(world.address, **settings)
    page.wait_for_selector(".run-name")
    looked_at = ["list"]
    faults = {"list": audit(page)}
    assert fits(page), "list"
    for tab in ("overview", "findings", "rows"):
        page.goto(f"{world.address}/#/run/first/{tab}")
        page.wait_for_selector(f"#panel-{tab}")
        page.wait_for_selector(".waiting", state="detached")
        faults[tab] = audit(page)
        looked_at.append(tab)
        assert fits(page), tab
    assert faults == {name: [] for name in looked_at}
    if settings.get("locale"):
        assert page.locator(".tab").first.inner_text() == "概览"
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert max(map(int, re.findall(r"\d+", ground)[:3])) < 80


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
