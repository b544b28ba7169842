"""The page of one run in a browser: what it tells, what was found, and what is asked of the run."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from browser_run_page import chart, drawn_colours, opened, reads
from dashboard_fake import NASTY
from dashboard_fake_run import FakeRuns, serving_runs
from dashboard_made_run import FakeRun, finding, made_run, rows_of, step_table
from monitor_traces import make_facts, make_trace

from trimtab.monitor.conditions.divergence import Divergence
from trimtab.monitor.diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser_run_page import Open
    from playwright.sync_api import Page

    from trimtab.monitor.findings import Finding

NARROW = {"width": 400, "height": 850}
TABS = ("overview", "curves", "findings", "rows", "try", "recipe", "environment", "log")


def test_a_mark_opens_its_finding_with_evidence_and_diff(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "curves")
    chart(page, "Loss").get_by_role("button", name="Overfitting: show").click()
    page.wait_for_selector(".tab[aria-selected=true][data-tab=findings]")
    finding = page.locator("article.finding", has=page.get_by_text("Overfitting", exact=True))
    entry = finding.locator(".diff-entry", has_text="training.num_epochs")
    assert entry.locator(".diff-old").inner_text().endswith("6")
    assert entry.locator(".diff-new").inner_text().endswith("3")
    evidence = finding.locator("table.evidence tr", has_text="training accuracy")
    assert "0.97" in evidence.inner_text()
    assert "Prechelt 1998" in finding.inner_text()
    assert "97 %" in finding.inner_text()
    assert drawn_colours(page, "Curves of Overfitting") > 3
    link = finding.get_by_role("link", name="Start a new run with it")
    assert link.get_attribute("href") == "#/start?from=tickets%2Flora&finding=1"


def test_findings_stand_worst_first_and_new_ones_appear(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "findings")
    names = page.locator(".finding-name")
    assert names.all_inner_texts() == ["Learning rate too high", "Overfitting", "Seed noise"]
    new = {
        **run.detail["findings"][2],
        "index": 3,
        "name": "divergence",
        "confidence": 1.0,
        "message": "The loss is not finite.",
    }
    run.detail["findings"].append(new)
    run.tell("finding", new)
    page.get_by_text("The loss is not finite.").wait_for()
    assert names.all_inner_texts()[0] == "Divergence"
    assert page.locator(".tab[data-tab=findings]").inner_text().split() == ["Findings", "3"]


def test_a_healthy_run_says_what_was_examined(open_page: Open, browser: object) -> None:
    run = made_run(state="finished")
    run.detail["findings"], run.detail["data_findings"] = [], []
    with serving_runs(run) as fake:
        page = opened(open_page, fake, "findings")
        text = page.locator(".findings").inner_text()
    assert "Nothing stands in the way of this run." in text
    assert "Examined and sound (3)" in text and "Plateau" in text
    assert "no retention was measured" in text


@pytest.mark.parametrize(
    ("button", "body", "told"),
    [
        ("Pause", {"command": "pause"}, "Pause: done at step 400."),
        ("Checkpoint now", {"command": "checkpoint"}, "Checkpoint: done at step 400."),
    ],
)
def test_requests_are_sent_and_their_outcome_told(
    open_page: Open, fake: FakeRuns, button: str, body: dict[str, Any], told: str
) -> None:
    page = opened(open_page, fake)
    page.get_by_role("button", name=button).click()
    page.get_by_text(told).wait_for()
    assert fake.posted == [("/api/runs/tickets%2Flora/control", body)]


def test_a_stop_asks_first(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake)
    page.get_by_role("button", name="Stop …").click()
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert fake.posted == []
    page.get_by_role("button", name="Stop …").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop …").click()
    page.get_by_text("Stop: done at step 400.").wait_for()
    assert fake.posted == [("/api/runs/tickets%2Flora/control", {"command": "stop"})]


def test_the_learning_rate_is_changed_by_a_factor(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake)
    page.get_by_role("button", name="Learning rate …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Factor").fill("-1")
    assert dialog.get_by_role("button", name="Change it").is_disabled()
    dialog.get_by_label("Factor").fill("0.25")
    now = run.tables["step"]["series"]["learning_rate/head"][-1]
    row = dialog.locator("tbody tr", has_text="head").inner_text().split()
    assert float(row[1]) == pytest.approx(now, rel=1e-2) and float(row[2]) == pytest.approx(0.25 * now, rel=1e-2)
    dialog.get_by_role("button", name="Change it").click()
    page.get_by_text("Learning rate × 0.25: done at step 400.").wait_for()
    assert fake.posted == [("/api/runs/tickets%2Flora/control", {"command": "learning_rate", "factor": 0.25})]


def test_a_remedy_is_applied_and_a_refusal_tells_why(open_page: Open, fake: FakeRuns) -> None:
    fake.outcome = {"accepted": False, "reason": f"Batches cannot change now. {NASTY}"}
    page = opened(open_page, fake, "findings?finding=2")
    finding = page.locator("article.finding-act")
    finding.get_by_role("button", name="Apply to this run now").click()
    assert "0.0005" in page.get_by_role("dialog").locator(".diff-new").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Apply to this run now").click()
    page.get_by_text("Remedy: the run refused.").wait_for()
    assert page.get_by_text(f"Batches cannot change now. {NASTY}").is_visible()
    assert fake.posted == [("/api/runs/tickets%2Flora/remedy", {"finding": 2, "how": "now"})]


def test_a_request_that_the_server_refuses_is_told(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake)
    fake.refuse = {"message": "The run does not run.", "remedy": "Resume it first."}
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Pause: could not be sent.").wait_for()
    assert page.get_by_text("Resume it first.").is_visible()


@pytest.mark.parametrize(
    ("state", "there", "missing"),
    [
        ("running", ["Pause", "Stop …"], ["Go on", "Resume training"]),
        ("paused", ["Go on", "Stop …"], ["Pause", "Resume training"]),
        ("stopped", ["Resume training"], ["Pause", "Stop …", "Go on"]),
        ("crashed", ["Resume training"], ["Pause", "Stop …"]),
        ("finished", [], ["Pause", "Stop …", "Resume training"]),
    ],
)
def test_only_what_is_possible_is_offered(
    open_page: Open, fake: FakeRuns, run: FakeRun, state: str, there: list[str], missing: list[str]
) -> None:
    run.summary["state"] = state
    page = opened(open_page, fake)
    controls = page.locator(".run-controls")
    for name in there:
        assert controls.get_by_role("button", name=name, exact=True).count() == 1
    for name in missing:
        assert controls.get_by_role("button", name=name, exact=True).count() == 0
    assert controls.get_by_role("link", name="New run from this recipe").count() == 1


def test_the_state_and_the_numbers_of_the_head_follow_the_run(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake)
    assert "step 400 of 600" in page.locator(".run-progress").inner_text()
    assert page.title().startswith("66 % · lora")
    run.summary |= {"state": "finished", "step": 600, "value": 0.87, "low": 0.84, "high": 0.9, "split": "test"}
    run.detail["evaluation"] = {"verdict": "Fine-tuning beats the baseline.", "confidence": 0.95}
    run.tell("summary", run.summary)
    page.get_by_text("Fine-tuning beats the baseline.").wait_for()
    assert (
        "0.870" in page.locator(".run-metric").inner_text()
        and "[0.840, 0.900]" in page.locator(".run-metric").inner_text()
    )
    assert page.locator(".run-controls").get_by_role("button", name="Pause").count() == 0


def test_tabs_are_reached_by_keyboard(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake)
    page.locator(".tab[data-tab=overview]").focus()
    for name in TABS[1:]:
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f".tab[data-tab={name}][aria-selected=true]")
        assert page.evaluate("document.activeElement.dataset.tab") == name
        assert page.url.endswith(f"/{name}")
    page.keyboard.press("Home")
    page.wait_for_selector(".tab[data-tab=overview][aria-selected=true]")


def test_rows_are_filtered_by_a_cell_of_the_matrix(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "rows")
    first = max(run.rows, key=lambda row: row["loss"])
    assert f"row {first['row']} of test.csv" in page.locator(".sample").first.inner_text()
    page.get_by_role("button", name="billing taken for outage: 4 rows").click()
    wanted = [row for row in run.rows if row["label"] == "billing" and row["prediction"] == "outage"]
    page.get_by_text(f"{len(wanted)} rows", exact=True).wait_for()
    page.wait_for_function("n => document.querySelectorAll('.sample').length === n", arg=len(wanted))
    page.get_by_role("button", name="Any label").click()
    page.get_by_text("Page 1 of 3").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2 of 3").wait_for()
    page.get_by_role("button", name="Suspect labels").click()
    page.get_by_text("Nothing works.").wait_for()
    assert "Suggested outage" in page.locator(".sample").inner_text()


def test_words_are_shaded_by_their_effect(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "rows")
    page.get_by_role("button", name="Which words decide?").nth(1).click()
    page.locator("mark.word-for").wait_for()
    assert page.locator("mark.word-for").get_attribute("title") == "30 points for outage"
    assert page.locator("mark.word-against").count() == 1


def test_the_recipe_is_searched(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "recipe")
    assert page.locator(".recipe-table tbody tr").count() == 4
    page.get_by_text("Only what differs from the defaults").click()
    page.wait_for_function("document.querySelectorAll('.recipe-table tbody tr').length === 2")
    page.get_by_label("Search keys, values, origins").fill("inferred")
    page.wait_for_function("document.querySelectorAll('.recipe-table tbody tr').length === 1")
    assert "optimizer.learning_rate" in page.locator(".recipe-table tbody").inner_text()


def test_environment_and_log_are_shown_as_they_are(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "environment")
    assert "trimtab train 'my data.csv'" in page.locator(".environment pre").inner_text()
    page.locator(".tab[data-tab=log]").click()
    page.get_by_text("step 99 loss 0.010").wait_for()
    run.log += "one more line\n"
    page.get_by_text("one more line").wait_for()  # it follows
    page.get_by_label("Only lines with …").fill("step 42")
    page.wait_for_function("document.querySelector('.log-text').innerText.trim() === 'step 42  loss 0.023'")


def test_text_is_never_markup(open_page: Open, browser: object) -> None:
    run = made_run(f"nasty/{NASTY}", name=NASTY, model=NASTY, data=NASTY, tags=[NASTY], note=NASTY)
    run.detail["stages"][1]["name"] = NASTY
    run.detail["findings"][2] |= {"name": NASTY, "remedy": NASTY, "change": {NASTY: NASTY}, "evidence": {NASTY: NASTY}}
    run.detail["recipe"].append({"key": NASTY, "value": NASTY, "origin": NASTY})
    run.detail["environment"][NASTY] = NASTY
    run.matrix["labels"][0] = NASTY  # type: ignore[index]
    run.tables["step"]["series"][NASTY] = [1.0] * 400
    with serving_runs(run) as fake:
        page = opened(open_page, fake)
        assert page.locator("h1").inner_text() == NASTY
        for tab in TABS:
            page.locator(f".tab[data-tab={tab}]").click()
            page.wait_for_timeout(300)
            assert page.evaluate("window.hacked") is None, tab
            assert page.locator("#app script, #app img[src=x]").count() == 0, tab


def test_a_run_with_little_shows_what_there_is(open_page: Open, browser: object) -> None:
    run = made_run(
        state="foreign", foreign="transformers", metric=None, value=None, total_steps=None, seconds=None, epoch=None
    )
    run.detail |= {
        "findings": [],
        "actions": [],
        "stages": [],
        "suspects": [],
        "recipe": [],
        "environment": {},
        "evaluation": {},
        "start": {},
    }
    run.detail |= {"data_findings": [], "has": {"predictions": False, "model": False, "images": False, "log": False}}
    run.detail.pop("examined")
    run.detail.pop("not_examined")
    run.matrix, run.rows, run.log = None, [], ""
    empty = rows_of(range(0, 0))
    run.tables = {"step": step_table(range(1, 50)), "evaluation": empty, "signals": empty, "inspection": empty}
    with serving_runs(run) as fake:
        page = opened(open_page, fake)
        assert page.locator(".tab[data-tab=try]").count() == 0, "there is no model to try"
        for tab in (name for name in TABS if name != "try"):
            page.locator(f".tab[data-tab={tab}]").click()
            page.wait_for_selector(f"#panel-{tab}")
            page.wait_for_timeout(150)
            assert page.locator(".notice-error").count() == 0, tab
        page.locator(".tab[data-tab=curves]").click()
        reads(page, "Loss", "step 49")
        assert page.locator(".run-controls button").count() == 0


def test_a_deleted_run_says_so_and_keeps_what_was_seen(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "curves")
    reads(page, "Loss", "step 400")
    run.tell("gone", {})
    page.get_by_text("This run's directory is gone.").wait_for()
    reads(page, "Loss", "step 400")
    assert page.locator(".run-controls button").count() == 0


def test_an_unknown_run_says_so(open_page: Open, fake: FakeRuns) -> None:
    page = open_page(f"{fake.address}/#/run/nothing")
    page.get_by_text("There is no such run here.").wait_for()
    assert page.get_by_role("link", name="To all runs").get_attribute("href") == "#/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    open_page: Open, fake: FakeRuns, audit: Callable[[Page], list[str]], scheme: str
) -> None:
    page = opened(open_page, fake, color_scheme=scheme)
    for tab in TABS:
        page.locator(f".tab[data-tab={tab}]").click()
        page.wait_for_selector(f"#panel-{tab}")
        assert audit(page) == [], tab


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_it_fits_400_pixels(open_page: Open, fake: FakeRuns, locale: str) -> None:
    page = opened(open_page, fake, viewport=NARROW, locale=locale)
    for tab in TABS:
        page.locator(f".tab[data-tab={tab}]").click()
        page.wait_for_selector(f"#panel-{tab}")
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, tab


def test_chinese_is_complete(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, locale="zh-CN")
    assert page.locator(".tab").first.inner_text() == "概览"
    assert page.get_by_role("button", name="暂停").is_visible()


def test_findings_are_told_in_chinese(open_page: Open, browser: object) -> None:
    (real,) = diagnose(make_trace([0.7, 0.6, *[math.nan] * 20], facts=make_facts()), [Divergence()])
    run = made_run()
    # The second as a run of an older version has it: in English, without what it was made of.
    run.detail["findings"] = [
        finding(0, "divergence", "act", **told_of(real)),
        finding(1, "divergence", "act", **{**told_of(real), "said": {}}),
    ]
    run.detail["evaluation"]["verdict"] = real.message
    run.detail["evaluation"]["said"] = {"verdict": real.to_dict()["said"]["message"]}
    with serving_runs(run) as fake:
        page = opened(open_page, fake, locale="zh-CN")
        assert page.locator(".run-verdict").inner_text().startswith("自第 3 步起")
        messages = page.locator(".found p").all_inner_texts()
        page.locator(".tab[data-tab=findings]").click()
        page.wait_for_selector(".finding-side")
        assert messages == page.locator(".finding-message").all_inner_texts()[:2]
        assert messages[0].startswith("自第 3 步起") and messages[1] == real.message
        card = page.locator("article.finding").first.inner_text()
    assert "检查点" in card and "第一步" in card
    assert real.remedy not in card


def told_of(found: Finding) -> dict[str, Any]:
    """The fields of a finding that the doctor gave, but for its curves."""
    fields = found.to_dict()
    return {name: fields[name] for name in ("message", "remedy", "evidence", "said")}


def test_a_tab_that_nobody_looks_at_holds_no_connection(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    """Browsers open six connections to a host: many hidden tabs would leave none for the one in front."""
    page = open_page("about:blank")
    page.clock.install()
    page.goto(f"{fake.address}/#/run/tickets%2Flora")
    page.wait_for_selector(".run-title")
    streams(page, run, 1)
    show(page, "hidden")
    page.clock.run_for(40_000)
    show(page, "visible")
    run.tell("summary", {**run.summary, "note": "it is heard"})
    page.get_by_text("it is heard").wait_for()
    page.clock.run_for(30_000)
    assert len(run.streams) == 1, "it was hidden only for a while"
    # A stream that is silent for long is taken for dead.
    run.tell("summary", {**run.summary, "note": "not dead"})
    page.get_by_text("not dead").wait_for()
    show(page, "hidden")
    page.clock.run_for(40_000)
    run.tell("summary", {**run.summary, "note": "and still"})
    page.get_by_text("and still").wait_for()
    page.clock.run_for(21_000)
    streams(page, run, 0)
    run.summary["note"] = "written meanwhile"
    show(page, "visible")
    streams(page, run, 1)
    page.get_by_text("written meanwhile").wait_for()
    assert page.locator(".connection-lost").count() == 0


def show(page: Page, state: str) -> None:
    """Let the page believe that its tab is shown or hidden."""
    page.evaluate(
        """(state) => {
          Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        state,
    )


def streams(page: Page, run: FakeRun, count: int) -> None:
    """Waits until so many streams of a run are open."""
    for _ in range(300):
        if len(run.streams) == count:
            return
        # The fake server learns that a page has gone when it writes to it.
        run.tell("ping", {})
        page.evaluate("new Promise((done) => requestIdleCallback(done))")
        time.sleep(0.03)
    raise AssertionError(f"{len(run.streams)} streams are open, not {count}")
