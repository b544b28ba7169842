"""The form that starts runs, and the tab that tries a model, in a browser: from the real schema to the run's page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from dashboard_fake_data import EVIL, data_report
from dashboard_fake_start import FakeDashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
LOOKS = ({}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}, {"locale": "zh-CN"})
REFUSAL = {
    "name": "unknown_tokens",
    "severity": "refuse",
    "message": f"80 % of the tokens are unknown to starter. {EVIL}",
    "evidence": {},
    "remedy": "Choose a model that reads this language.",
}


@pytest.fixture
def fake() -> Iterator[FakeDashboard]:
    with FakeDashboard(runs=4) as served:
        yield served


def form(fake: FakeDashboard, open_page: Open, query: str = "", **settings: Any) -> Page:
    page = open_page(f"{fake.url}/#/start{query}", **settings)
    page.wait_for_selector(".start-step")
    return page


def check(page: Page, data: str = "/data/tickets.csv") -> None:
    page.fill("#start-data", data)
    page.click(".start-data-line button")
    page.wait_for_selector(".start-report")


def field(key: str) -> str:
    return f'[id="field-{key}"]'


def test_every_key_of_the_schema_has_a_field(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    keys = {
        f"{section}.{name}"
        for section, about in fake.schema["properties"].items()
        if "$ref" in about
        for name in fake.schema["$defs"][about["$ref"].rsplit("/", 1)[1]]["properties"]
    }
    keys |= {name for name, about in fake.schema["properties"].items() if "$ref" not in about}
    for details in page.locator("details.start-section, details.start-fold").all():
        details.evaluate("(element) => { element.open = true; }")
    shown = set(page.eval_on_selector_all(".start-field", "(all) => all.map((one) => one.dataset.key)"))
    assert shown == keys - {"output", "data.path"}
    # The name of a strategy brings its options.
    page.select_option(field("strategy"), label="lora")
    page.wait_for_selector(field("strategy.r"))
    assert page.input_value(field("strategy.r")) == "8"


def test_check_then_start_then_the_runs_page(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    assert page.locator(".start-go").is_disabled()
    check(page)
    report = page.inner_text(".start-report")
    assert "message" in report
    assert "queue" in report
    assert "7.0 times the rows of the smallest" in report
    widths = page.eval_on_selector_all(".start-bar", "(all) => all.map((one) => one.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * widths[3]
    page.fill(field("training.batch_size"), "64")
    page.fill(field("optimizer.learning_rate"), "3e-5")
    page.fill("#start-name", "my-run")
    assert page.locator(".start-changes tbody tr").count() == 2
    page.click(".start-go")
    page.wait_for_url("**/#/run/my-run")
    asked = dict(fake.posts)
    values = {"training.batch_size": 64, "optimizer.learning_rate": 3e-5}
    assert asked["/api/check"] == {"data": "/data/tickets.csv", "values": {}}
    assert asked["/api/start"] == {"data": "/data/tickets.csv", "values": values, "name": "my-run"}
    page.wait_for_selector(".start-step", state="detached")
    # What was sent is not offered again.
    page.goto(f"{fake.url}/#/start")
    page.wait_for_selector(".start-step")
    assert page.input_value("#start-data") == ""


def test_what_the_schema_forbids_is_told_beside_the_field(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    check(page)
    page.fill(field("optimizer.learning_rate"), "-1")
    page.fill(field("training.batch_size"), "2.5")
    told = page.locator(".start-fault").all_inner_texts()
    assert told == ["Above 0.", "Only whole numbers."]
    assert page.get_attribute(field("optimizer.learning_rate"), "aria-invalid") == "true"
    assert page.locator(".start-go").is_disabled()
    assert "2 settings cannot be used" in page.inner_text(".start-launch")
    page.fill(field("optimizer.learning_rate"), "auto")
    page.fill(field("training.batch_size"), "32")
    assert page.locator(".start-fault").count() == 0
    assert page.locator(".start-go").is_enabled()


def test_faults_of_the_recipe_stand_at_the_top_and_beside_their_field(fake: FakeDashboard, open_page: Open) -> None:
    problems = [
        "schedule.cycles (recipe.yaml, line 4): found 3; only for cosine_restarts.",
        "schedule: power: not an option of the schedule 'linear'.",
        "the model and the task do not fit together.",
    ]
    fake.check_error = {
        "message": "The recipe has 3 problems.\n- " + "\n- ".join(problems),
        "problems": problems,
        "remedy": "See every key with: trimtab recipe",
    }
    page = form(fake, open_page)
    page.fill("#start-data", "t.csv")
    page.click(".start-data-line button")
    page.wait_for_selector(".start-faults")
    top = page.inner_text(".start-faults")
    assert "the model and the task do not fit together." in top
    assert "trimtab recipe" in top
    # The field was folded away: its fault unfolds it, and the link leads there.
    assert page.inner_text('[data-key="schedule.cycles"] .start-fault') == "found 3; only for cosine_restarts."
    assert page.inner_text('[data-key="schedule.power"] .start-fault') == "not an option of the schedule 'linear'."
    assert page.locator(field("schedule.cycles")).is_visible()
    page.click(".start-faults a")
    assert page.evaluate("document.activeElement.id") == "field-schedule.cycles"


def test_refused_data_block_the_start(fake: FakeDashboard, open_page: Open) -> None:
    fake.report = data_report(REFUSAL)
    page = form(fake, open_page)
    check(page)
    assert page.locator(".start-finding.is-refuse").count() == 1
    assert EVIL in page.inner_text(".start-finding.is-refuse")
    assert page.evaluate("window.evil") is None
    assert page.locator(".start-go").is_disabled()
    page.check(".start-force input")
    # The recipe has changed with it, so the data are looked at again before anything starts.
    assert page.locator(".start-go").is_disabled()
    page.click(".start-data-line button")
    page.wait_for_selector(".start-go:not([disabled])")
    assert fake.posts[-1][1]["values"] == {"data.force": True}


def test_a_check_of_other_settings_is_stale(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    check(page)
    page.fill(field("training.batch_size"), "16")
    assert page.locator(".start-go").is_enabled()
    page.fill(field("seed"), "3")
    assert "Checked with other settings" in page.inner_text(".start-step >> nth=0")
    assert page.locator(".start-go").is_disabled()


def test_another_runs_recipe_with_a_findings_change(fake: FakeDashboard, open_page: Open) -> None:
    run = next(iter(fake.runs))
    page = form(fake, open_page, f"?from={quote(run, safe='')}&finding=0")
    assert "Validation loss has risen" in page.inner_text(".start-from")
    assert page.input_value("#start-data") == "/data/tickets.csv"
    rows = [" ".join(text.split()) for text in page.locator(".start-changes tbody tr").all_inner_texts()]
    assert rows == [
        "Epochs training.num_epochs from the finding 4 2 ↺",
        "Label smoothing regularization.label_smoothing from the finding 0 0.1 ↺",
    ]
    page.click('.start-changes tr:has-text("Label smoothing") button')
    assert page.locator(".start-changes tbody tr").count() == 1
    check(page)
    page.click(".start-go")
    page.wait_for_url("**/#/run/tickets-starter-99")
    sent = dict(fake.posts)["/api/start"]["values"]
    assert sent["training.num_epochs"] == 2
    assert sent["optimizer.learning_rate"] == 1e-5
    assert "regularization.label_smoothing" not in sent
    assert "data.path" not in sent


def test_search_and_only_changed(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    page.fill(".start-search", "ewc")
    keys = page.eval_on_selector_all(".start-found .start-field", "(all) => all.map((one) => one.dataset.key)")
    assert keys[:2] == ["forgetting.ewc", "forgetting.ewc_rows"]
    page.fill(field("forgetting.ewc"), "0.5")
    page.fill(".start-search", "")
    page.click("text=Changed (1)")
    assert page.locator(".start-found .start-field").count() == 1
    page.click(".start-found .start-reset")
    assert "Nothing has been changed." in page.inner_text("#app")


def test_typed_settings_outlive_a_refresh(fake: FakeDashboard, open_page: Open) -> None:
    page = form(fake, open_page)
    page.fill("#start-data", "/data/x.csv")
    page.fill(field("seed"), "7")
    page.reload()
    page.wait_for_selector(".start-step")
    assert page.input_value("#start-data") == "/data/x.csv"
    assert page.input_value(field("seed")) == "7"


def test_a_start_that_fails_says_why_and_one_that_goes_on_outlives_a_refresh(
    fake: FakeDashboard, open_page: Open
) -> None:
    page = form(fake, open_page)
    check(page)
    fake.start_error = {"message": "The model cannot be found.", "remedy": "Name a directory.", "problems": []}
    page.click(".start-go")
    page.wait_for_selector(".start-faults")
    assert "The model cannot be found." in page.inner_text(".start-faults")
    fake.start_error = None
    page.fill("#start-name", "goes-on")
    page.click(".start-go")
    page.wait_for_selector("text=Starting goes-on")
    page.reload()
    page.wait_for_url("**/#/run/goes-on")
    assert [path for path, _ in fake.posts].count("/api/start") == 2


def test_looking_only(fake: FakeDashboard, open_page: Open) -> None:
    fake.can_start = False
    page = form(fake, open_page)
    assert "Runs cannot be started here" in page.inner_text("#app")
    check(page)
    assert page.locator(".start-go").is_disabled()


@pytest.mark.parametrize("settings", LOOKS)
def test_the_form_can_be_used_by_everyone(
    fake: FakeDashboard, open_page: Open, audit: Callable[..., list[str]], settings: dict
) -> None:
    fake.report = data_report(REFUSAL, *data_report()["findings"])
    run = next(iter(fake.runs))
    page = form(fake, open_page, f"?from={quote(run, safe='')}&finding=0", **settings)
    page.click(".start-data-line button")
    page.wait_for_selector(".start-report")
    page.select_option(field("strategy"), label="lora")
    page.fill(field("seed"), "x")
    assert audit(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    words = "数据" if settings.get("locale") == "zh-CN" else "Data"
    assert words in page.inner_text("#start-step-1")


def test_trying_a_text_shows_labels_and_words(
    fake: FakeDashboard, open_page: Open, audit: Callable[..., list[str]]
) -> None:
    run = next(iter(fake.runs))
    page = open_page(f"{fake.url}/#/try?run={quote(run, safe='')}")
    page.fill(".try textarea", "the router  is old, no refund <b>please</b>")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".try-card")
    assert page.inner_text(".try-text") == "the router  is old, no refund <b>please</b>"
    assert page.locator(".try-word.is-for").all_inner_texts() == ["router"]
    assert page.locator(".try-word.is-against").all_inner_texts() == ["refund"]
    assert "“router” +30.0" in page.inner_text(".try-told")
    assert "“refund” −12.0" in page.inner_text(".try-told")
    assert page.inner_text(".try-bars tr >> nth=0").split() == ["network", "71.0", "%"]
    assert fake.posts[-1][1] == {"inputs": ["the router  is old, no refund <b>please</b>"], "explain": True}
    assert audit(page) == []
    page.click("text=several")
    page.fill(".try textarea", "one\n\n two ")
    page.click(".try-go button")
    page.wait_for_function("document.querySelectorAll('.try-card').length === 2")
    assert fake.posts[-1][1]["inputs"] == ["one", "two"]
    assert page.locator(".try-history li").count() == 3
    page.click("text=a pair")
    page.fill(".try-pair textarea >> nth=0", "first")
    page.fill(".try-pair textarea >> nth=1", "second")
    page.click(".try-go button")
    page.wait_for_selector("text=first | second")
    assert fake.posts[-1][1] == {"inputs": [["first", "second"]], "explain": False}
    page.click(".try-history button.try-again >> nth=-1")
    page.wait_for_selector(".try-word")
    page.reload()
    page.wait_for_selector(".try-history li")


@pytest.mark.parametrize("settings", LOOKS)
def test_trying_can_be_done_by_everyone(
    fake: FakeDashboard, open_page: Open, audit: Callable[..., list[str]], settings: dict
) -> None:
    page = open_page(f"{fake.url}/#/try?run={quote(next(iter(fake.runs)), safe='')}", **settings)
    assert audit(page) == []
    page.fill(".try textarea", "the router is old, no refund please")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".try-card")
    assert audit(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")


def test_trying_an_image(fake: FakeDashboard, open_page: Open) -> None:
    run = next(iter(fake.runs.values()))
    run["summary"]["task"] = "image-classification"
    page = open_page(f"{fake.url}/#/try/{quote(run['id'], safe='')}")
    page.set_input_files(".try-file input", {"name": "cat.png", "mimeType": "image/png", "buffer": b"\x89PNG1234"})
    page.wait_for_selector(".try-card")
    path, body = fake.posts[-1]
    assert path.endswith("/predict")
    assert body["file"] > 8
    assert page.locator(".try-history li").count() == 1
