"""Charts: well-formed, escaped, and honest about gaps."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.evaluation.history import history_charts, skipped_steps
from trimtab.evaluation.svg import HEIGHT, LEFT, MAX_POINTS, RIGHT, WIDTH, Series, line_chart, nice_ticks


def elements(chart: str, tag: str, style: str = "") -> list[ElementTree.Element]:
    """Elements of a chart by tag and class."""
    return [one for one in ElementTree.fromstring(chart).iter(tag) if style in one.get("class", "")]


def test_nothing_to_draw() -> None:
    assert line_chart("Loss", []) == ""
    assert line_chart("Loss", [Series("a", [])]) == ""
    assert line_chart("Loss", [Series("a", [(1, None), (2, math.nan), (3, math.inf)])]) == ""


def test_single_point_is_a_dot_inside_the_frame() -> None:
    chart = line_chart("Loss", [Series("a", [(7, 0.5)])])
    (dot,) = elements(chart, "circle")
    assert LEFT <= float(dot.get("cx", "nan")) <= WIDTH - RIGHT
    assert 0 < float(dot.get("cy", "nan")) < HEIGHT
    assert not elements(chart, "polyline")


def test_a_gap_breaks_the_line() -> None:
    chart = line_chart(
        "Loss", [Series("a", [(1, 3.0), (2, 2.0), (3, math.nan), (4, 2.0), (5, None), (6, 1.0), (7, 0.5)])]
    )
    assert [len(line.get("points", "").split()) for line in elements(chart, "polyline")] == [2, 2]
    assert len(elements(chart, "circle")) == 5


def test_falling_values_fall() -> None:
    (line,) = elements(line_chart("Loss", [Series("a", [(0, 2.0), (10, 1.0)])]), "polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.get("points", "").split())
    assert x0 < x1
    assert y0 < y1  # SVG counts y downwards.


def test_names_are_escaped() -> None:
    chart = line_chart('<script>"x"', [Series("</text><script>alert(1)</script>", [(0, 1.0), (1, 2.0)])], x_label="<b>")
    assert "<script" not in chart
    assert "<b>" not in chart
    assert not elements(chart, "script")


def test_long_lines_are_thinned_by_their_mean() -> None:
    chart = line_chart("Loss", [Series("a", [(step, float(step % 2)) for step in range(10 * MAX_POINTS)])])
    (line,) = elements(chart, "polyline")
    points = line.get("points", "").split()
    assert len(points) == MAX_POINTS
    assert len({point.split(",")[1] for point in points}) == 1


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_ticks_are_few_ascending_and_hold_the_values(low: float, width: float, whole: bool) -> None:
    ticks = nice_ticks(low, low + width, whole=whole)
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))
    if not whole:
        tolerance = 1e-6 * max(1.0, abs(low), width)
        assert ticks[0] <= low + tolerance
        assert ticks[-1] >= low + width - tolerance


def test_history_takes_the_last_of_repeated_steps() -> None:
    events = [
        {"type": "step", "step": 1, "loss": 9.0, "learning_rates": {"all": 1e-5}},
        {"type": "step", "step": 2, "loss": 8.0, "learning_rates": {"all": 1e-5}},
        {"type": "action", "step": 1, "action": "resume"},
        {"type": "step", "step": 2, "loss": None, "skipped": "the loss is NaN", "learning_rates": {"all": 1e-5}},
        {"type": "step", "step": 3, "loss": 1.0, "learning_rates": {"head": 1e-5, "body": 2e-5}},
    ]
    assert skipped_steps(events) == 1
    assert skipped_steps(events[:2]) == 0
    loss, rate = history_charts(events, "macro_f1")
    assert not elements(loss, "polyline")
    assert len(elements(loss, "circle")) == 2
    assert "Learning rate" in rate
    assert all(group in rate for group in ("all", "head", "body"))


def test_history_finds_the_validation_metric() -> None:
    event = {"type": "evaluation", "step": 5, "metrics": {"macro_f1": 0.5, "loss": 1.2}}
    loss, score = history_charts([event], "macro_f1")
    assert "validation" in loss
    assert "Validation macro_f1" in score


def test_empty_history_has_no_charts() -> None:
    assert history_charts([], "macro_f1") == []
    assert history_charts([{"type": "step", "step": 1}], "macro_f1") == []
