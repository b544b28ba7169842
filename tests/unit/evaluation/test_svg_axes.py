"""Charts with a mark, a logarithmic axis, and many names."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.evaluation.svg import LEFT, RIGHT, WIDTH, Series, line_chart, log_ticks


def elements(chart: str, tag: str, style: str = "") -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(chart).iter(tag) if style in one.get("class", "").split()]


def numbers(element: ElementTree.Element) -> list[list[float]]:
    return [[float(value) for value in point.split(",")] for point in element.get("points", "").split()]


def test_the_mark_stands_where_the_line_has_its_step() -> None:
    chart = line_chart("Loss", [Series("a", [(0, 1.0), (5, 2.0), (10, 3.0)])], mark=5)
    (mark,) = elements(chart, "line", "mark")
    (line,) = elements(chart, "polyline", "line")
    assert mark.get("x1") == mark.get("x2")
    assert float(mark.get("x1", "nan")) == pytest.approx(numbers(line)[1][0])
    assert not elements(line_chart("Loss", [Series("a", [(0, 1.0), (10, 3.0)])]), "line", "mark")


def test_a_mark_outside_the_points_stays_on_the_chart() -> None:
    chart = line_chart("Loss", [Series("a", [(10, 1.0), (20, 2.0)])], mark=40)
    (mark,) = elements(chart, "line", "mark")
    assert LEFT <= float(mark.get("x1", "nan")) <= WIDTH - RIGHT


def test_a_logarithmic_axis_spaces_powers_evenly_and_leaves_gaps() -> None:
    points = [(0, 1e-6), (1, 1e-4), (2, 1e-2), (3, 0.0), (4, -1.0), (5, 1.0)]
    chart = line_chart("Ratio", [Series("a", points)], log=True)
    (line,) = elements(chart, "polyline", "line")
    heights = [y for _, y in numbers(line)]
    assert len(heights) == 3
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    texts = [one.text for one in elements(chart, "text", "tick")]
    assert "1e-06" in texts
    assert line_chart("Ratio", [Series("a", [(0, 0.0), (1, -1.0)])], log=True) == ""


@given(st.floats(-12, 12), st.floats(0, 12))
@settings(max_examples=80, deadline=None)
def test_logarithmic_ticks_hold_the_values(low: float, width: float) -> None:
    ticks = log_ticks(low, low + width)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= low + width - 1e-6
    for tick in ticks:
        mantissa = 10 ** (tick - math.floor(tick + 1e-9))
        assert min(abs(mantissa - one) for one in (1, 2, 5)) < 1e-6


def test_many_names_stand_in_rows_below_the_title() -> None:
    series = [Series(f"encoder block {index}", [(0, 1.0), (1, 2.0)], index) for index in range(6)]
    chart = line_chart("Gradient norm by depth", series)
    strokes = elements(chart, "line", "line")
    assert len(strokes) == 6
    assert all(LEFT <= float(one.get("x1", "nan")) <= WIDTH - RIGHT for one in strokes)
    assert len({one.get("y1") for one in strokes}) == 2
    assert min(float(one.get("y1", "nan")) for one in strokes) > 20
    (few,) = {one.get("y1") for one in elements(line_chart("Loss", series[:2]), "line", "line")}
    assert few == "12"
