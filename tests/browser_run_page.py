"""What tests of a run's page share: opening it, and reading its charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_fake_run import FakeRuns
    from playwright.sync_api import Locator, Page

    Open = Callable[..., Page]


def opened(open_page: Open, fake: FakeRuns, tab: str = "", run_id: str | None = None, **settings: Any) -> Page:
    """The page of a run, once its head is drawn and its stream is open."""
    wanted = run_id or next(iter(fake.open))
    page = open_page(f"{fake.address}/#/run/{quote(wanted, safe='')}/{tab}", **settings)
    page.wait_for_selector(".run-title")
    for _ in range(200):
        if wanted not in fake.open or fake.open[wanted].streams:
            break
        page.wait_for_timeout(20)
    return page


def chart(page: Page, title: str) -> Any:
    """The figure with a title."""
    return page.locator(f'figure.chart[aria-label="{title}"]')


def save_chart(figure: Locator, kind: str, folder: Path) -> bytes:
    """The file that a chart is saved as: `PNG`, `SVG` or `Numbers`."""
    figure.locator(".export > button").click()
    with figure.page.expect_download() as waiting:
        figure.locator(".export-box").get_by_text(kind).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path.read_bytes()


def reads(page: Page, title: str, text: str) -> None:
    """Waits until a chart's legend holds a text."""
    script = """([title, text]) => [...document.querySelectorAll('figure.chart')].some((figure) =>
      figure.getAttribute('aria-label') === title
      && figure.querySelector('.legend')?.innerText.replace(/\\s+/g, ' ').includes(text))"""
    page.wait_for_function(script, arg=[title, text])


def drawn_colours(page: Page, title: str) -> int:
    """How many colours a chart's canvas shows."""
    script = """(figure) => {
      const canvas = figure.querySelector('canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const seen = new Set();
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 250) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
      }
      return seen.size;
    }"""
    return int(chart(page, title).evaluate(script))


def drag_over(page: Page, title: str, first: float, last: float) -> None:
    """Zooms into a part of a chart."""
    box = chart(page, title).locator(".u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + first * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], y, steps=5)
    page.mouse.up()
