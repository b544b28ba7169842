"""The list of runs in a browser: what is shown, found, sorted, grouped and kept, by mouse and by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from dashboard_fake import NASTY, FakeDashboard, known_runs, many_runs, serving, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    Open = Callable[..., Page]

NARROW = {"width": 400, "height": 850}
# The mean of red, green and blue of the page's ground, 0 to 255.
GROUND = """getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).slice(0, 3)
    .reduce((sum, part) => sum + Number(part) / 3, 0)"""


@pytest.fixture
def fake(browser: object) -> Iterator[FakeDashboard]:
    """A dashboard with one run of each kind."""
    with serving(FakeDashboard(known_runs())) as running:
        yield running


@pytest.fixture
def large(browser: object) -> Iterator[FakeDashboard]:
    """A dashboard with a thousand runs."""
    with serving(FakeDashboard(many_runs(1000))) as running:
        yield running


def names(page: Page) -> list[str]:
    """The names of the runs that are drawn, from top to bottom."""
    return page.locator(".run-name").all_inner_texts()


def shows(page: Page, *expected: str) -> None:
    """Waits until exactly these runs are drawn, in this order."""
    script = "want => JSON.stringify([...document.querySelectorAll('.run-name')].map(e => e.innerText)) === want"
    try:
        page.wait_for_function(script, arg=_json(expected))
    except Exception:
        assert names(page) == list(expected)
        raise


def _json(texts: tuple[str, ...]) -> str:
    return "[" + ",".join('"' + text.replace('"', '\\"') + '"' for text in texts) + "]"


def opened(open_page: Open, fake: FakeDashboard, hash: str = "#/", **settings: object) -> Page:
    """The list, once runs are drawn."""
    page = open_page(f"{fake.address}/{hash}", **settings)
    page.wait_for_selector(".run-name")
    return page


def test_states_are_told_by_word_and_archived_runs_are_hidden(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    states = {
        row.locator(".run-name").inner_text(): row.locator(".badge").inner_text().split("\n")[-1]
        for row in page.locator(".row").all()
    }
    told = {
        "live": "running",
        "held": "paused",
        "lost": "crashed",
        "broken": "failed",
        "halted": "stopped",
        "r4": "finished",
    }
    for name, word in told.items():
        assert states[name].endswith(word), name
    assert "old-attempt" not in states
    page.locator(".toolbar .toggle").click()
    page.wait_for_selector('[data-run="old-attempt"]')
    assert "archived=1" in page.url


def test_row_shows_interval_findings_progress_and_error(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    best = page.locator('[data-run="sweep/r16"]')
    assert "0.921" in best.inner_text()
    assert "0.900–0.940" in best.inner_text()
    assert best.locator(".whiskers path").count() == 1
    assert best.locator(".spark path").get_attribute("d").count("L") == 19
    live = page.locator('[data-run="live"]')
    assert live.locator('[role="progressbar"]').get_attribute("aria-valuenow") == "62"
    assert "41 s left" in live.inner_text()
    assert "learning rate too high" in live.inner_text()
    assert live.locator(".severity-act.severity-count").inner_text().startswith("1")
    assert "Out of memory at step 3." in page.locator('[data-run="broken"]').inner_text()


def test_search_looks_through_names_notes_and_recipe_values(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    search = page.get_by_role("searchbox", name="Search runs")
    search.fill("to serve")
    shows(page, "r16")
    search.fill("lora.r=4")
    shows(page, "r4")
    search.fill("lora.r=1")
    page.wait_for_selector(".no-match")  # 1 is not 16
    search.fill("SWEEP r8")
    shows(page, "r8")
    search.fill("lora.r")
    page.wait_for_selector(".no-match")  # a key that every run has finds nothing
    search.fill("deberta")
    shows(page, "full-deberta")
    search.fill("no such run at all")
    page.wait_for_selector(".no-match")
    page.locator(".no-match button").click()
    page.wait_for_selector('[data-run="live"]')
    assert search.input_value() == ""


def test_sort_by_column_and_the_missing_stay_last(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, "#/?q=sweep")
    shows(page, "r16", "r8", "r4")  # as they come: newest first
    page.get_by_role("button", name="Name", exact=True).click()
    shows(page, "r4", "r8", "r16")  # numbers in names by their size
    page.get_by_role("button", name="Metric").click()
    shows(page, "r16", "r8", "r4")
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Metric").click()
    shows(page, "r4", "r8", "r16")
    page.goto(f"{fake.address}/#/?sort=value")
    page.wait_for_selector('[data-run="live"]')
    assert set(names(page)[-2:]) == {"lost", "broken"}
    page.goto(f"{fake.address}/#/?sort=-findings")
    page.wait_for_function("() => document.querySelector('.run-name')?.innerText === 'live'")


def test_filters_combine_and_survive_a_refresh(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    page.locator(".facet-strategy button").first.click()
    page.locator(".menu-box").get_by_label("full").check()
    page.keyboard.press("Escape")
    shows(page, "halted", "full-deberta")
    assert page.locator(".facet-strategy button").first.evaluate("e => e === document.activeElement")
    page.locator(".facet-state button").first.click()
    page.locator(".menu-box").get_by_label("finished").check()
    shows(page, "full-deberta")
    page.reload()
    shows(page, "full-deberta")
    assert "of 12 runs" in page.locator(".toolbar-count").inner_text()
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_selector('[data-run="live"]')
    page.locator('[data-run="sweep/r4"] .tag', has_text="sweep").click()
    shows(page, "r16", "r8", "r4")


def test_group_by_recipe_value_with_mean_and_spread(open_page: Open, fake: FakeDashboard) -> None:
    fake.change(
        "twin", value=0.863, low=0.85, high=0.88, values={**known_runs()[0]["values"], "seed": 1}, tags=["sweep"]
    )
    page = opened(open_page, fake, "#/?tag=sweep")
    page.get_by_label("Group by").select_option("key:lora.r")
    page.wait_for_selector(".group-head")
    heads = page.locator(".group-head").all_inner_texts()
    assert [" ".join(head.split())[:12] for head in heads] == ["▾ lora.r 4 2", "▾ lora.r 8 1", "▾ lora.r 16 "]
    assert "0.862 ± 0.001" in heads[0]  # of 0.861 and 0.863
    page.locator(".group-toggle").first.click()
    shows(page, "r8", "r16")
    page.get_by_role("button", name="Fold all").click()
    shows(page)
    page.reload()
    page.wait_for_selector(".group-head")


def test_tags_and_note_are_edited_in_place(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    row = page.locator('[data-run="halted"]')
    row.hover()
    row.locator(".edit-button").click()
    page.get_by_label("Tags", exact=True).fill("to check, ,paper，to check")
    page.get_by_label("Note", exact=True).fill("  why did it stop? ")
    page.get_by_role("button", name="Save").click()
    row.get_by_text("why did it stop?").wait_for()
    assert row.locator(".tag").all_inner_texts() == ["to check", "paper"]
    assert fake.posted == [("/api/runs/halted/notes", {"tags": ["to check", "paper"], "note": "why did it stop?"})]


def test_refused_change_is_taken_back_and_said(open_page: Open, fake: FakeDashboard) -> None:
    fake.refuse = {"message": "The disk is full.", "remedy": "Make room."}
    page = opened(open_page, fake)
    page.locator('[data-run="sweep/r4"] .run-name').focus()
    page.keyboard.press("a")
    page.get_by_text("The disk is full.").wait_for()
    page.get_by_text("Make room.").wait_for()
    page.wait_for_selector('[data-run="sweep/r4"]')
    assert fake.runs["sweep/r4"]["archived"] is False


def test_archive_can_be_undone(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    page.locator('[data-run="halted"] input').check()
    page.get_by_role("button", name="Archive", exact=True).click()
    page.wait_for_selector('[data-run="halted"]', state="detached")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector('[data-run="halted"]')
    assert [body for _, body in fake.posted] == [{"archived": True}, {"archived": False}]


def test_post_goes_on_after_the_server_has_a_new_token(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    fake.token = "token-after-a-restart"
    page.locator('[data-run="halted"] .run-name').focus()
    page.keyboard.press("a")
    page.wait_for_selector('[data-run="halted"]', state="detached")
    page.get_by_text("halted is archived").wait_for()
    page.wait_for_function("() => document.activeElement.closest('[data-run]')?.dataset.run === 'sweep/r16'")  # goes on
    assert fake.runs["halted"]["archived"] is True


def test_choose_several_and_compare(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, "#/?q=sweep")
    page.locator('[data-run="sweep/r16"] input').click()
    bar = page.get_by_role("region", name="Chosen runs")
    assert bar.get_by_text("Compare", exact=True).is_disabled()
    page.locator('[data-run="sweep/r4"] input').click(modifiers=["Shift"])
    bar.get_by_text("3 chosen").wait_for()
    link = bar.get_by_role("link", name="Compare").get_attribute("href")
    parsed = page.evaluate(
        """async hash => {
            const router = await import('/static/lib/router.js');
            return router.splitIds(router.parse(hash).query.runs);
        }""",
        link,
    )
    assert parsed == ["sweep/r4", "sweep/r8", "sweep/r16"]


def test_nasty_names_are_text(open_page: Open, fake: FakeDashboard) -> None:
    for group in ("", "&group=model"):
        page = opened(open_page, fake, f"#/?q=nasty{group}")
        row = page.locator(".row")
        assert row.count() == 1
        assert row.locator(".run-name").inner_text() == NASTY
        assert row.locator(".tag").inner_text() == NASTY
        page.locator(".facet-model button").first.click()
        page.locator(".menu-box").get_by_text(NASTY).wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
        href = row.locator(".run-name").get_attribute("href")
        address = page.evaluate("async hash => (await import('/static/lib/router.js')).parse(hash).id", href)
        assert address == f"nasty/{NASTY}"


def test_language_switch_keeps_the_list_as_it_is(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, "#/?q=sweep")
    page.locator('[data-run="sweep/r8"] input').click()
    page.get_by_role("button", name="中文").click()
    page.get_by_role("searchbox", name="搜索训练").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert "已完成" in page.locator('[data-run="sweep/r8"]').inner_text()
    assert page.get_by_text("已选 1 个").count() == 1
    shows(page, "r16", "r8", "r4")
    page.reload()
    page.get_by_role("searchbox", name="搜索训练").wait_for()
    # No word of the page is left in the other language: what is still English are the runs' own values.
    assert page.locator(".toolbar").inner_text().isascii() is False
    page.get_by_role("button", name="English").click()
    page.get_by_role("searchbox", name="Search runs").wait_for()


def test_browser_language_and_colours_are_followed(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, locale="zh-CN", color_scheme="dark")
    assert page.get_by_role("searchbox", name="搜索训练").count() == 1
    page.wait_for_function(f"() => {GROUND} < 40")
    page.locator(".switch-theme").click()  # from "as the system" to light
    page.wait_for_function(f"() => {GROUND} > 220")
    page.reload()
    page.wait_for_selector(".run-name")
    assert page.evaluate(GROUND) > 220
    page.locator(".switch-theme").click()
    assert page.evaluate(GROUND) < 40, "a choice shows at once"
    page.locator(".switch-theme").click()  # as the system again, which changes while the page is open
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"() => {GROUND} > 220")


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_narrow_page_never_scrolls_sideways(open_page: Open, fake: FakeDashboard, locale: str) -> None:
    page = opened(open_page, fake, viewport=NARROW, locale=locale)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 400
    page.locator(".toolbar > .toolbar-line > .button").click()  # the filters
    page.wait_for_selector(".toolbar-filters")
    assert page.evaluate(width) == 400
    for menu in page.locator(".toolbar-filters .menu-button").all():
        menu.click()
        assert page.evaluate(width) == 400
        box = page.locator(".menu-box").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    page.keyboard.press("Escape")
    page.locator('[data-run="halted"] .edit-button').click()
    page.wait_for_selector(".editor")
    page.locator('[data-run="held"] input').click()
    page.wait_for_selector(".chosen-bar")
    assert page.evaluate(width) == 400


def test_keys_walk_choose_edit_and_help(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, "#/?q=sweep")
    focused = "document.activeElement.closest('[data-run]')?.dataset.run"
    for key, expected in [
        ("j", "sweep/r16"),
        ("j", "sweep/r8"),
        ("j", "sweep/r4"),
        ("j", "sweep/r4"),
        ("k", "sweep/r8"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected, "at once: the next key may come before the next frame"
    page.keyboard.press("x")
    page.get_by_text("1 chosen").wait_for()
    page.keyboard.press("e")
    page.wait_for_function("() => document.activeElement.closest('.editor') !== null")
    page.keyboard.type("jk")  # letters in a field are letters
    page.keyboard.press("Escape")
    page.wait_for_selector(".editor", state="detached")
    page.keyboard.press("/")
    page.wait_for_function("() => document.activeElement.type === 'search'")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("k")
    page.wait_for_function(f"() => {focused} === 'sweep/r16'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/run/sweep%2Fr16")


@pytest.mark.parametrize("settings", [{}, {"color_scheme": "dark"}, {"viewport": NARROW}, {"locale": "zh-CN"}], ids=str)
def test_axe_finds_nothing_serious(open_page: Open, fake: FakeDashboard, audit: Callable, settings: dict) -> None:
    page = opened(open_page, fake, **settings)
    page.locator('[data-run="held"] input').click()
    page.locator('[data-run="live"] .run-name').focus()
    page.keyboard.press("e")
    page.wait_for_selector(".editor")
    assert audit(page) == []
    page.keyboard.press("Escape")
    if "viewport" not in settings:
        page.locator(".facet-state button").first.click()
        page.wait_for_selector(".menu-box")
        assert audit(page) == []
        page.goto(f"{fake.address}/#/?group=key:lora.r&archived=1")
        page.wait_for_selector(".group-head")
        assert audit(page) == []


def test_live_changes_keep_scroll_focus_and_choice(open_page: Open, large: FakeDashboard) -> None:
    page = opened(open_page, large)
    page.locator('[data-run="grid/run-0003"] input').click()
    page.evaluate("document.querySelector('.list-table').scrollTop = 20_000")
    page.wait_for_selector('[data-run="grid/run-0402"]')
    page.locator('[data-run="grid/run-0402"] .run-name').focus()
    where = "document.querySelector('[data-run=\"grid/run-0402\"]').getBoundingClientRect().top"
    before = page.evaluate(where)
    for i in range(3):
        large.change(f"fresh-{i}", started=2e9 + i)  # come in above
    large.remove("grid/run-0001")
    large.change("grid/run-0402", state="running", step=3)
    page.wait_for_selector('[data-run="grid/run-0402"] .state-running')
    page.get_by_text("1002 runs").wait_for()
    assert abs(page.evaluate(where) - before) < 2
    assert page.evaluate("document.activeElement.closest('[data-run]').dataset.run") == "grid/run-0402"
    assert page.get_by_text("1 chosen").count() == 1
    page.evaluate("document.querySelector('.list-table').scrollTop = 0")
    page.wait_for_selector('[data-run="fresh-2"]')
    assert names(page)[:3] == ["fresh-2", "fresh-1", "fresh-0"]


def test_focus_stays_with_a_run_that_moves(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake, "#/?q=sweep&sort=-value")
    shows(page, "r16", "r8", "r4")
    page.locator('[data-run="sweep/r4"] .run-name').focus()
    fake.change("sweep/r4", value=0.99)
    shows(page, "r4", "r16", "r8")
    assert page.evaluate("document.activeElement.closest('[data-run]')?.dataset.run") == "sweep/r4"


def test_thousand_runs_draw_only_what_is_seen(open_page: Open, large: FakeDashboard) -> None:
    page = opened(open_page, large)
    assert page.locator(".row").count() < 60
    assert page.locator(".runs").get_attribute("aria-rowcount") == "1001"
    height = page.evaluate("document.querySelector('.list-table').scrollHeight")
    assert 1000 * 50 <= height < 1000 * 50 + 200
    page.evaluate("document.querySelector('.list-table').scrollTop = 1e9")
    page.wait_for_selector('[data-run="grid/run-0999"]')
    assert page.locator(".row").count() < 60
    page.get_by_role("searchbox", name="Search runs").fill("grid/run-05")
    page.wait_for_selector('[data-run="grid/run-0500"]')
    assert page.locator(".toolbar-count").inner_text() == "100 of 1000 runs"
    assert page.evaluate("document.querySelector('.list-table').scrollTop") == 0


def test_keys_that_come_before_the_page_has_followed_all_count(open_page: Open, large: FakeDashboard) -> None:
    page = opened(open_page, large)
    first = page.locator(".run-name").first.get_attribute("href")
    press = "n => { for (let i = 0; i < n; i++) document.body.dispatchEvent(new KeyboardEvent('keydown', %s)) }"
    page.evaluate(press % "{ key: 'j', bubbles: true }", 200)  # in one breath, to far below what is drawn
    at = "document.activeElement.closest('[data-run]')?.getAttribute('aria-rowindex')"
    page.wait_for_function(f"() => {at} === '201'")  # the table's head is row 1
    page.evaluate(press % "{ key: 'k', bubbles: true }", 199)
    page.wait_for_function(f"() => {at} === '2'")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tab, .notice")
    assert page.url.endswith(first)


def test_lost_server_keeps_the_page_and_comes_back(open_page: Open, browser: object) -> None:
    fake = FakeDashboard(known_runs())
    with serving(fake):
        port = int(fake.address.rsplit(":", 1)[1])
        page = opened(open_page, fake, "#/?q=sweep")
    page.get_by_text("The connection to the server is lost.").wait_for()
    shows(page, "r16", "r8", "r4")
    fake.runs["sweep/r32"] = summary("sweep/r32", started=2e9)  # while nobody listened
    with serving(fake, port):
        shows(page, "r32", "r16", "r8", "r4")
        page.wait_for_selector(".connection-lost", state="detached")
        assert page.evaluate("performance.getEntriesByType('navigation').length") == 1, "the page was not loaded again"


def test_chosen_columns_are_kept(open_page: Open, fake: FakeDashboard) -> None:
    page = opened(open_page, fake)
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="Curve").uncheck()
    page.get_by_role("searchbox", name="Find a column").fill("lora")
    page.get_by_role("checkbox", name="lora.r").check()
    page.keyboard.press("Escape")
    page.reload()
    page.get_by_role("button", name="lora.r").wait_for()
    assert page.get_by_role("button", name="Curve", exact=True).count() == 0
    page.get_by_role("button", name="lora.r").click()
    page.wait_for_url("**sort=key*")
    assert names(page)[0] == "r4"


def test_empty_folder_says_what_to_type(open_page: Open, browser: object) -> None:
    with serving(FakeDashboard([], folder="/home/me/my runs")) as fake:
        page = open_page(f"{fake.address}/")
        page.get_by_text("trimtab train DATA.csv --output '/home/me/my runs/first'").wait_for()
        fake.change("first")
        page.wait_for_selector('[data-run="first"]')
        assert page.get_by_text("trimtab train DATA.csv").count() == 0


def test_unknown_page_and_way_home(open_page: Open, fake: FakeDashboard) -> None:
    page = open_page(f"{fake.address}/#/nowhere")
    page.get_by_text("There is no such page.").wait_for()
    page.get_by_role("link", name="To the list of runs").click()
    page.wait_for_selector(".run-name")
    assert urlsplit(page.url).fragment == "/"
