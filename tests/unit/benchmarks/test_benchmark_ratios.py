"""Ratios over rounds, differences of accuracy, and the comparison with committed ratios."""

from __future__ import annotations

import math

import pytest
from ratios import Ratio, compared, merged, paired_difference, summary, times_as_fast


def test_a_ratio_takes_the_two_times_of_one_round() -> None:
    ratio = times_as_fast([4.0, 9.0, 8.0], [2.0, 3.0, 4.0])
    assert ratio == Ratio(median=2.0, low=2.0, high=3.0, rounds=3)
    assert str(ratio) == "2.00 (2.00–3.00)"
    assert str(times_as_fast([3.0], [2.0])) == "1.50"


@pytest.mark.parametrize(("theirs", "ours"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [0.0]), ([math.nan], [1.0])])
def test_what_is_no_ratio_is_refused(theirs: list[float], ours: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rounds|positive"):
        times_as_fast(theirs, ours)


def test_summary_refuses_what_is_not_positive() -> None:
    assert summary([0.5, 0.25, 1.0]) == Ratio(0.5, 0.25, 1.0, 3)
    with pytest.raises(ValueError, match="positive"):
        summary([0.5, -1.0])


def test_the_paired_difference_has_a_t_interval() -> None:
    mean, half = paired_difference([0.9, 0.8, 0.85], [0.8, 0.8, 0.8])
    assert mean == pytest.approx(0.05)
    # Standard deviation 0.05 over the root of 3, times the 97.5 % point of t with two degrees of freedom.
    assert half == pytest.approx(4.302653 * 0.05 / math.sqrt(3), rel=1e-6)
    single, unknown = paired_difference([0.9], [0.8])
    assert single == pytest.approx(0.1)
    assert math.isnan(unknown)
    with pytest.raises(ValueError, match="no pair"):
        paired_difference([], [])


def test_merging_replaces_what_is_new_and_keeps_all_else() -> None:
    before = {"quick": {"b": {"median": 1.0}, "a": {"median": 2.0}}, "full": {"a": {"median": 3.0}}}
    after = merged(before, "quick", {"b": Ratio(5.0, 4.0, 6.0, 2)}, "a machine")
    assert after["full"] == before["full"]
    assert after["quick"] == {
        "a": {"median": 2.0},
        "b": {"median": 5.0, "low": 4.0, "high": 6.0, "rounds": 2, "machine": "a machine"},
    }
    assert list(after["quick"]) == ["a", "b"]
    assert before["quick"]["b"] == {"median": 1.0}
    assert merged({}, "full", {"x": Ratio(1.0, 1.0, 1.0, 1)}, "")["full"]["x"]["median"] == 1.0


def test_a_fall_beyond_the_tolerance_and_a_missing_ratio_are_regressions() -> None:
    before = {name: {"median": 4.0} for name in ("better", "gone", "slower", "within")}
    now = {"better": {"median": 9.0}, "slower": {"median": 3.3}, "within": {"median": 3.5}, "new": {"median": 1.0}}
    changes = compared(before, now, tolerance=0.15)
    assert [(change.name, change.is_regression) for change in changes] == [
        ("gone", True),
        ("slower", True),
        ("better", False),
        ("within", False),
    ]
    assert "not measured" in str(changes[0])
    assert "-18%" in str(changes[1])
