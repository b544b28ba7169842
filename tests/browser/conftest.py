"""Fixtures of the tests that drive the page in a browser: Playwright with the machine's own Chromium."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dashboard_fake_run import serving_runs
from dashboard_made_run import made_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dashboard_fake_run import FakeRuns
    from dashboard_made_run import FakeRun
    from playwright.sync_api import Browser, Page

VENDOR = Path(__file__).parents[2] / "src" / "trimtab" / "dashboard" / "static" / "vendor"
# The first without a window of its own, whose drawing takes two thirds of the processor time of a page's test.
BROWSERS = ("chromium-headless-shell", "chromium")
# Fixtures that are servers.
SERVERS = {"fake", "large"}
TIMEOUT = 15_000  # ms; generous, since other tests share the machine
# What the browser itself says about answers that are errors; tests of such answers look at the page.
EXPECTED = ("Failed to load resource",)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, or a skip that says what is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip("chromium is not on the PATH (Debian: apt-get install chromium-headless-shell, or chromium)")
    if not (VENDOR / "LICENSES.txt").exists():
        pytest.skip("the browser libraries are not built (make web)")
    with api.sync_playwright() as playwright:
        # A container gives little shared memory, and no rights for a sandbox of the browser's own.
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Opens addresses, each in a browser of its own as if never used; errors in the page's scripts fail the test.

    Keyword arguments go to `Browser.new_context`: `viewport`, `color_scheme`, `locale`, and so on. A page's `errors`
    is the list of what went wrong in it.
    """
    for server in SERVERS.intersection(request.fixturenames):
        request.getfixturevalue(server)  # begun first, so that it ends last: a page without its server has errors
    contexts, errors = [], []

    def open_it(address: str, **settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", **settings})
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
        page.on("console", lambda said: errors.append(said.text) if _is_error(said) else None)
        page.on("dialog", lambda dialog: (errors.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        with suppress(Exception):
            context.close()
    assert errors == []


@pytest.fixture
def run() -> FakeRun:
    """A run at work, at step 400 of 600."""
    return made_run()


@pytest.fixture
def fake(browser: Browser, run: FakeRun) -> Iterator[FakeRuns]:
    """A dashboard with that run; files with other needs have their own."""
    with serving_runs(run) as running:
        yield running


def _is_error(said: Any) -> bool:
    return said.type == "error" and not said.text.startswith(EXPECTED)


@pytest.fixture
def audit() -> Callable[[Page], list[str]]:
    """Lists what axe finds serious or critical in a page: the rule and the elements, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

    def run(page: Page) -> list[str]:
        page.wait_for_timeout(350)  # colours that are still changing have no contrast to speak of
        found = axe.Axe().run(page).response["violations"]
        return [
            f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    return run
