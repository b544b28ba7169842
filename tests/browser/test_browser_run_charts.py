"""The charts of a run in a browser: what is drawn, what arrives live, how it is read, zoomed and saved."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from browser_run_page import chart, drag_over, drawn_colours, opened, reads, save_chart
from dashboard_fake_run import FakeRuns, serving_runs
from dashboard_made_run import FakeRun, made_run, rows_of, step_table

if TYPE_CHECKING:
    from pathlib import Path

    from browser_run_page import Open


def test_curves_are_drawn_with_the_gap_and_hover_reads_all_series(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "curves")
    for title in ("Loss", "macro_f1", "Gradient norm", "Update ratio by depth", "Throughput"):
        chart(page, title).scroll_into_view_if_needed()
        assert drawn_colours(page, title) > 3
    reads(page, "Loss", "step 400")
    page.evaluate("scrollTo(0, 0)")
    box = chart(page, "Loss").locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 199 / 399, box["y"] + 50)
    reads(page, "Loss", "step 200 training (fixed sample) 0.2123 validation 0.5475 each step")
    reads(page, "macro_f1", "step 200")
    reads(page, "Gradient norm", "step 200")
    page.mouse.move(5, 5)
    reads(page, "Loss", "step 400")


def test_live_points_are_appended_and_the_zoom_is_kept(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "curves")
    drag_over(page, "Loss", 0.25, 0.5)
    all_button = page.get_by_role("button", name="Show all", exact=True)
    assert all_button.is_enabled()
    plot = chart(page, "Loss").locator(".uplot").element_handle()
    run.add_points({"step": step_table(range(401, 431), seed=1), "evaluation": rows_of(range(0, 0))})
    reads(page, "Gradient norm", "step 430")
    assert plot is not None and plot.evaluate("element => element.isConnected")  # the same plot, not a new one
    assert all_button.is_enabled()
    loss = run.tables["step"]["series"]["loss"][199]
    page.mouse.move(0, 0)
    box = chart(page, "Loss").locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 40)  # the left edge of the zoom, a quarter into the steps
    reads(page, "Loss", "step 101")
    assert loss is not None
    all_button.click()
    assert all_button.is_disabled()


def test_rows_above_a_cut_are_taken_out(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    page = opened(open_page, fake, "curves")
    reads(page, "Gradient norm", "step 400")
    run.add_points({"step": step_table(range(301, 321), seed=2)}, cut=300)
    reads(page, "Gradient norm", "step 320")
    reads(page, "Loss", "step 320")
    reads(page, "macro_f1", "step 300")
    for title in ("Gradient norm", "Loss", "macro_f1"):
        assert "400" not in chart(page, title).locator(".legend").inner_text().split()


def test_a_zoom_into_a_sample_asks_for_its_rows(open_page: Open, fake: FakeRuns, run: FakeRun) -> None:
    for table in run.tables.values():
        table["sampled"] = True
    page = opened(open_page, fake, "curves")
    drag_over(page, "Loss", 0.25, 0.5)
    for _ in range(100):
        asked = [query for query in run.asked if query.startswith("series?") and "from=" in query]
        if asked:
            break
        page.wait_for_timeout(50)
    fields = dict(part.split("=") for part in urlsplit(asked[-1]).query.split("&"))
    assert abs(int(fields["from"]) - 100) <= 3 and abs(int(fields["to"]) - 201) <= 3
    assert unquote(fields["tables"]) == "step,evaluation,signals,inspection"
    page.wait_for_timeout(200)
    reads(page, "Loss", "step 400")  # rows outside stay


def test_smoothing_logarithm_and_axis_change_what_is_drawn(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "curves")
    reads(page, "Gradient norm", "step 400")
    page.get_by_label("Smoothing").fill("0.9")
    reads(page, "Gradient norm", "(~1.")
    page.get_by_text("Logarithmic").click()
    page.get_by_role("button", name="epoch", exact=True).click()
    reads(page, "Gradient norm", "epoch 4")
    page.get_by_role("button", name="time", exact=True).click()
    reads(page, "Gradient norm", "time 3 min 20 s")
    page.reload()
    reads(page, "Gradient norm", "time 3 min 20 s")  # choices are kept
    assert page.get_by_label("Smoothing").input_value() == "0.9"
    assert page.get_by_role("button", name="time", exact=True).get_attribute("aria-pressed") == "true"


def test_a_line_is_hidden_by_its_name(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "curves")
    before = drawn_colours(page, "Throughput")
    button = chart(page, "Throughput").locator(".legend-item", has_text="tokens per second")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(100)
    assert drawn_colours(page, "Throughput") < before


def test_a_chart_is_read_and_zoomed_by_keyboard(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake, "curves")
    chart(page, "Gradient norm").locator(".chart-plot").focus()
    page.keyboard.press("ArrowLeft")
    reads(page, "Gradient norm", "step 399")
    page.keyboard.press("Shift+ArrowLeft")
    reads(page, "Gradient norm", "step 389")
    page.keyboard.press("+")
    assert page.get_by_role("button", name="Show all", exact=True).is_enabled()
    page.keyboard.press("0")
    assert page.get_by_role("button", name="Show all", exact=True).is_disabled()


def test_charts_are_saved_as_files(open_page: Open, fake: FakeRuns, run: FakeRun, tmp_path: Path) -> None:
    page = opened(open_page, fake, "curves")

    def saved(title: str, kind: str) -> bytes:
        return save_chart(chart(page, title), kind, tmp_path)

    for title in ("Loss", "Update ratio by depth"):
        png = saved(title, "PNG")
        assert png.startswith(b"\x89PNG") and len(png) > 5000
        svg = ET.fromstring(saved(title, "SVG"))
        assert svg.tag.endswith("svg")
        assert title in "".join(svg.itertext())
    lines = saved("Loss", "Numbers").decode().splitlines()
    assert lines[0] == "step,epoch,seconds,training (fixed sample),validation,each step"
    assert len(lines) == 401
    values = lines[200].split(",")
    assert [float(value) for value in values[:3]] == [200, 2.0, 99.5]
    assert float(values[5]) == run.tables["step"]["series"]["loss"][199]
    assert lines[150].endswith(",")  # the missing value


def test_a_run_that_has_not_begun_says_so(open_page: Open, browser: object) -> None:
    run = made_run(state="preparing", step=0, value=None)
    empty = rows_of(range(0, 0))
    run.tables = dict.fromkeys(("step", "evaluation", "signals", "inspection"), empty)
    with serving_runs(run) as fake:
        page = opened(open_page, fake, "curves")
        page.get_by_text("The curves begin with the first step.").wait_for()
        run.add_points({"step": step_table(range(1, 11))})
        reads(page, "Loss", "step 10")
        assert page.get_by_text("The curves begin with the first step.").count() == 0


def test_a_server_that_comes_back_loses_nothing(open_page: Open, browser: object) -> None:
    run = made_run()
    with serving_runs(run) as fake:
        page = opened(open_page, fake, "curves")
        reads(page, "Loss", "step 400")
        drag_over(page, "Loss", 0.25, 0.5)
        port = int(fake.address.rsplit(":", 1)[1])
    page.get_by_text("Gradient norm", exact=True).first.wait_for()  # what was seen stays
    again = made_run()
    again.tables["step"] = step_table(range(1, 451))
    with serving_runs(again, port=port):
        reads(page, "Gradient norm", "step 450")
        assert page.get_by_role("button", name="Show all", exact=True).is_enabled()  # so does the zoom


def test_the_numbers_of_the_charts(open_page: Open, fake: FakeRuns) -> None:
    page = opened(open_page, fake)

    def call(module: str, expression: str) -> Any:
        return page.evaluate(f"import('/static/{module}.js').then((m) => {expression})")

    # A constant stays itself from the first value on; a gap stays a gap, and what follows remembers what was before.
    assert call("charts/smoothing", "m.smooth([2, 2, 2], [1, 2, 3], 0.9)") == pytest.approx([2, 2, 2])
    smoothed = call("charts/smoothing", "m.smooth([0, null, 1], [1, 2, 3], 0.5, 1)")
    assert smoothed[1] is None and smoothed[2] == pytest.approx(0.5 / (0.5 + 0.125))
    coarse = call("charts/smoothing", "m.smooth([0, 1], [1, 11], 0.9, 1)")
    assert coarse[1] == pytest.approx(1 / (1 + 0.9**10))
    # Curves that cross at 1.5 give two pieces that meet there.
    pieces = call("charts/gap", "m.gapPolygons([1, 2], [1, 0], [0, 1])")
    assert [piece["above"] for piece in pieces] == [False, True]
    assert pieces[0]["points"][1] == pytest.approx([1.5, 0.5]) and pieces[1]["points"][0] == pytest.approx([1.5, 0.5])
    assert call("charts/gap", "m.gapPolygons([1, 2, 3], [1, null, 1], [2, null, 2])") == []
    # Rows that were sent twice stand once, the later ones hold, and a cut takes the rest.
    before = "{a: {step: [1, 2, 3], epoch: [1, 2, 3], time: [1, 2, 3], series: {x: [1, 2, 3]}}}"
    after = "{a: {step: [3, 4], epoch: [3, 4], time: [3, 4], series: {x: [30, 4], y: [7, 8]}}}"
    merge = f"m.merge({before}, {after}, %s).a"
    merged = call("views/run/tables", merge % "null")
    assert merged["step"] == [1, 2, 3, 4] and merged["series"] == {"x": [1, 2, 30, 4], "y": [None, None, 7, 8]}
    assert call("views/run/tables", merge % "1")["step"] == [1, 3, 4]
    # A clock that goes back does not turn the axis around; other tables' rows are passed over, missing values are gaps.
    assert call("charts/data", "m.positions({step: [1, 2, 3], time: [100, 90, 130]}, 'time')") == [0, 0, 30]
    tables = "{a: {step: [1, 3], series: {x: [5, null]}}, b: {step: [2], series: {y: [6]}}}"
    lines = "[{table: 'a', name: 'x'}, {table: 'b', name: 'y'}]"
    shown = "columns.map((column) => column.map((value) => value === undefined ? 'none' : value))"
    columns = call("charts/data", f"m.align({tables}, {lines}, 'step').{shown}")
    assert columns == [[5, "none", None], ["none", 6, "none"]]
    # Ticks without end: a run at its first step has an axis without a width, and floats may differ in the last digit.
    for least, most in ((1, 1), (0.5, 0.5 + 1e-16), (1e12, 1e12 + 0.001)):
        for ends in (f"m.linearRange({least!r}, {most!r})", f"m.widened({least!r}, {most!r})"):
            low, high = call("charts/options", ends)
            assert high - low > 1e-6 and low < least <= most < high
    assert call("charts/options", "m.widened(3, 3.25)") == [3, 3.25]
    # Colours: the greatest value in a pixel is seen; blocks stand by depth.
    assert call("charts/heat_data", "m.perPixel([1, 2, 3, 4], [9, 1, 2, 3], 0, 4, 2)") == [9, 3]
    signals = "{step: [1, 2, 3], epoch: [0, 1, 2], time: [7, 8, 9], series: {'a/x': [1, null, 3], 'noise': [1, 2, 3]}}"
    assert call("charts/heat_data", f"m.rowsOf({signals}, 'a')") == {
        "step": [1, 3],
        "epoch": [0, 2],
        "time": [7, 9],
        "series": {"a/x": [1, 3]},
    }
    assert call("charts/heat_data", "m.byDepth(['head', 'block 10', 'block 2', 'embeddings'])") == [
        "embeddings",
        "block 2",
        "block 10",
        "head",
    ]
    assert call("charts/export", "m.csv([['=1+1', 'a,b', 1.5, null]])") == '\'=1+1,"a,b",1.5,\r\n'
