"""Comparing runs in a browser: curves over one another, what differs, the paired test, brushes, importance."""

from __future__ import annotations

import csv
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from browser_run_page import save_chart
from dashboard_fake_data import EVIL
from dashboard_fake_start import STATIC, FakeDashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
LOOKS = ({}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}, {"locale": "zh-CN"})


@pytest.fixture
def fake() -> Iterator[FakeDashboard]:
    with FakeDashboard(runs=12) as served:
        yield served


def compare(fake: FakeDashboard, open_page: Open, count: int = 12, **settings: Any) -> Page:
    ids = ",".join(quote(run, safe="") for run in list(fake.runs)[:count])
    page = open_page(f"{fake.url}/#/compare?runs={quote(ids, safe='')}", **settings)
    page.wait_for_selector(".compare-charts .chart canvas")
    lines(page, count)
    return page


def lines(page: Page, count: int) -> None:
    """Wait until the first chart has so many lines."""
    page.wait_for_function(f"document.querySelectorAll('.chart:first-child .legend-item').length === {count}")


def charts(page: Page) -> list[str]:
    return page.locator(".compare-charts .chart h3").all_inner_texts()


def test_runs_lie_over_one_another(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page, 3)
    assert charts(page) == ["Training loss", "Validation loss", "Validation macro_f1"]
    names = page.locator(".compare-charts .chart >> nth=0").locator(".legend-item").all_inner_texts()
    assert [name.split()[0] for name in names] == ["tickets-full-1", "tickets-full-2", "tickets-full-3"]
    page.click('.compare-tools button:has-text("epoch")')
    page.wait_for_function("document.querySelector('.legend-x').textContent.startsWith('epoch')")
    # A run is hidden in all charts at once, and comes back.
    page.click(".compare-toggle >> nth=0")
    lines(page, 2)
    page.click(".compare-toggle >> nth=0")
    page.click('[aria-label="Take tickets-full-2 out"]')
    page.wait_for_url("**tickets-full-1%2Ctickets-full-3")


def test_a_run_keeps_its_colour(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page, 3)
    colour = ".compare-run:has-text('tickets-full-3') line"
    before = page.get_attribute(colour, "stroke")
    page.click('[aria-label="Take tickets-full-1 out"]')
    page.wait_for_function("document.querySelectorAll('.compare-run').length === 2")
    assert page.get_attribute(colour, "stroke") == before
    page.reload()
    page.wait_for_selector(colour, state="attached")
    assert page.get_attribute(colour, "stroke") == before
    strokes = [line.get_attribute("stroke") for line in page.locator(".compare-run line").all()]
    assert len(set(strokes)) == 2


def test_groups_have_a_mean(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page)
    page.select_option(".compare-tools select", "optimizer.learning_rate")
    lines(page, 4)
    last = page.locator(".compare-charts .chart").last
    told = [" ".join(text.split()) for text in last.locator(".legend-item").all_inner_texts()]
    runs = list(fake.runs.values())
    for text, rate in zip(told, (1e-5, 3e-5, 1e-4, 3e-4), strict=True):
        assert "(3 runs)" in text
        mean = sum(run["summary"]["value"] for run in runs if run["rate"] == rate) / 3
        assert float(text.rsplit(" ", 1)[1]) == pytest.approx(mean, abs=2e-3)
    assert "least to the greatest" in last.inner_text()
    page.click("text=std. error")
    assert "one standard error" in last.inner_text()


def test_spread_around_a_mean_is_saved_with_the_chart(fake: FakeDashboard, open_page: Open, tmp_path: Path) -> None:
    page = compare(fake, open_page)
    page.select_option(".compare-tools select", "optimizer.learning_rate")
    lines(page, 4)
    last = page.locator(".compare-charts .chart").last
    svg = ET.fromstring(save_chart(last, "SVG", tmp_path))
    ribbons = svg.findall(".//{http://www.w3.org/2000/svg}polygon")
    assert len(ribbons) == 4 and all(len(ribbon.attrib["points"].split()) >= 4 for ribbon in ribbons)
    rows = list(csv.DictReader(save_chart(last, "Numbers", tmp_path).decode().splitlines()))
    names = [name for name in rows[0] if name.endswith(" (low)")]
    assert len(names) == 4
    told = [
        tuple(row[name.removesuffix("(low)") + f"({end})"] for end in ("low", "high")) for row in rows for name in names
    ]
    spans = [(float(low), float(high)) for low, high in told if low]
    assert spans and all(low <= high for low, high in spans) and any(low < high for low, high in spans)


def test_only_the_keys_that_differ(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page, 2)
    keys = page.locator(".compare-columns section >> nth=0").locator("tbody th").all_inner_texts()
    first, second = list(fake.runs.values())[:2]
    assert keys == [key for key, value in first["values"].items() if second["values"][key] != value]
    assert "optimizer.learning_rate" in keys
    figures = page.locator(".compare-columns section >> nth=1")
    assert figures.locator("tbody th").all_inner_texts() == ["macro_f1", "accuracy", "log_loss", "Time"]
    better = max(run["evaluation"]["metrics"]["macro_f1"]["value"] for run in (first, second))
    assert figures.locator("tr.is-main .is-best").inner_text().startswith(f"{better:.3f} [")


def test_the_paired_test_is_told_in_a_sentence(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page, 3)
    page.select_option(".compare-pair select >> nth=1", label="tickets-full-3")
    page.click(".compare-test .button-primary")
    page.wait_for_selector(".compare-result")
    assert fake.posts[-1] == ("/api/compare/test", {"first": "tickets-full-1", "second": "tickets-full-3"})
    said = page.inner_text(".compare-sentence")
    assert said == (
        "tickets-full-3 is better than tickets-full-1 by 3.2 points of macro_f1, beyond chance at the 95 % level, "
        "on 480 rows."
    )
    assert "Difference +3.2, interval +0.8 to +5.7" in page.inner_text(".compare-interval")
    assert "p = 0.017" in page.inner_text(".compare-facts")
    page.click(".compare-examples summary")
    assert EVIL in page.inner_text(".compare-examples")
    assert page.evaluate("window.evil") is None
    page.click('[aria-label="Swap"]')
    page.wait_for_selector(".compare-result", state="detached")


def test_a_brush_keeps_the_runs_that_pass(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page)
    page.locator(".parallel").scroll_into_view_if_needed()
    status = page.locator(".parallel-head [role=status]")
    assert status.inner_text() == "12 of 12 runs"
    box = page.locator('[data-axis="optimizer.learning_rate"]').bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 4)
    page.mouse.down()
    # The upper half: 3e-4 and 1e-4, as the axis is logarithmic; on a linear one 1e-4 would lie in the lower third.
    page.mouse.move(middle, box["y"] + 0.5 * box["height"], steps=8)
    page.mouse.up()
    assert status.inner_text() == "6 of 12 runs"
    assert page.locator(".parallel-lines .is-out").count() == 6
    rates = {row.locator("td >> nth=1").inner_text() for row in page.locator(".parallel-table tbody tr").all()}
    assert rates == {"1e-4", "3e-4"}
    page.click("text=Clear the brushes")
    assert status.inner_text() == "12 of 12 runs"


def test_a_brush_by_keys(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page)
    handle = page.locator('[aria-label="Lower end on strategy"]')
    handle.focus()
    page.keyboard.press("ArrowUp")
    assert page.inner_text(".parallel-head [role=status]") == "8 of 12 runs"
    assert handle.get_attribute("aria-valuetext") == "gradual"
    page.keyboard.press("Escape")
    assert page.inner_text(".parallel-head [role=status]") == "12 of 12 runs"


def test_importance_names_the_key_that_matters(fake: FakeDashboard, open_page: Open) -> None:
    page = compare(fake, open_page)
    rows = page.locator(".compare-importance tbody tr")
    assert rows.nth(0).locator("code").inner_text() == "optimizer.learning_rate"
    assert float(rows.nth(0).locator(".numeric").inner_text().split()[0]) > 50
    # Batch sizes were drawn at random: within chance, and said so.
    chance = page.locator(".compare-importance tr:has-text('training.batch_size') .compare-bar")
    assert "is-chance" in (chance.get_attribute("class") or "")
    page.goto(f"{fake.url}/#/compare?runs=tickets-full-1%2Ctickets-full-2")
    page.wait_for_selector("text=With 8 judged runs or more")


def test_importance_against_known_shares(browser: object) -> None:
    script = """
    import { etaSquared, importances, split } from "./views/compare/importance.js";
    const member = [0, 0, 1, 1], y = [1, 2, 5, 6];
    const ids = [...Array(40).keys()].map(String);
    const by = (f) => Object.fromEntries(ids.map((id, i) => [id, f(i)]));
    const found = importances([
      { key: "noise", values: by((i) => (i * 7919) % 3) },
      { key: "cause", values: by((i) => i % 2) },
      { key: "name", values: by((i) => `run ${i}`) },
    ], by((i) => i % 2));
    console.log(JSON.stringify([etaSquared(member, y, 2), split([1, 2, 3, 4, 5, 6, 7, 8]).member,
      found.map(({ key, share }) => [key, Math.round(100 * share)])]));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=STATIC, capture_output=True, text=True, check=True
    )
    # 16 of 17: the squares between {1, 2} and {5, 6}, of all. A key with a value for each run says nothing.
    assert done.stdout.strip() == '[0.9411764705882353,[0,0,1,1,2,2,3,3],[["cause",100],["noise",0]]]'


def test_runs_are_chosen_by_ticking(fake: FakeDashboard, open_page: Open) -> None:
    page = open_page(f"{fake.url}/#/compare")
    page.click(".compare-empty button")
    page.fill(".picker-tools input", "lora")
    assert page.locator(".picker li").count() == 4
    page.click("text=Tick all 4")
    page.click('.dialog-foot button:has-text("Compare")')
    page.wait_for_function("document.querySelectorAll('.compare-run').length === 4")


def test_a_run_deleted_meanwhile_is_named(fake: FakeDashboard, open_page: Open) -> None:
    page = open_page(f"{fake.url}/#/compare?runs=tickets-full-1%2Cgone%2Ctickets-full-2")
    page.wait_for_selector(".compare-run")
    assert "no longer there: gone" in page.inner_text("#app")
    assert page.locator(".compare-run").count() == 2


@pytest.mark.parametrize("settings", LOOKS)
def test_the_comparison_can_be_used_by_everyone(
    fake: FakeDashboard, open_page: Open, audit: Callable[..., list[str]], settings: dict
) -> None:
    page = compare(fake, open_page, **settings)
    page.click(".compare-test .button-primary")
    page.wait_for_selector(".compare-result")
    assert audit(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    words = "差异是否超出偶然？" if settings.get("locale") == "zh-CN" else "Is the difference beyond chance?"
    assert words in page.inner_text(".compare-test")
