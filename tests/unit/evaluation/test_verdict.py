"""Targets: reading them, and when they count as reached."""

from __future__ import annotations

import math

import pytest

from trimtab.core.errors import EXIT_BAD_INPUT, RecipeError, UnknownNameError
from trimtab.evaluation.result import Interval, TargetVerdict
from trimtab.evaluation.verdict import Target, judge_target, parse_target


def judge(text: str, value: float, low: float, high: float) -> TargetVerdict:
    return judge_target(parse_target(text), Interval(value, low, high), confidence=0.95, rows=141, split="test")


def test_target_is_read() -> None:
    assert parse_target("macro_f1=0.9") == Target("macro_f1", 0.9)
    assert parse_target(" mcc = -0.5 ") == Target("mcc", -0.5)
    assert parse_target("log_loss=2.5") == Target("log_loss", 2.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macro_f1", "not of the form metric=number"),
        ("=0.9", "not of the form metric=number"),
        ("macro_f1=high", "'high' is not a number"),
        ("macro_f1=90", "lies between 0 and 1; found 90"),
        ("mcc=-2", "lies between -1 and 1; found -2"),
        ("log_loss=-1", "lies between 0 and infinity; found -1"),
        ("accuracy=nan", "lies between 0 and 1; found nan"),
        ("log_loss=inf", "lies between 0 and infinity; found inf"),
    ],
)
def test_bad_targets_are_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_target(text)
    assert caught.value.exit_code == EXIT_BAD_INPUT
    assert "--target macro_f1=0.9" in caught.value.remedy


def test_unknown_metric_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'macro_f'.* Did you mean 'macro_f1'\?"):
        parse_target("macro_f=0.9")


def test_reached_when_the_lower_end_is_at_the_goal() -> None:
    verdict = judge("macro_f1=0.9", 0.94, 0.9, 0.97)
    assert verdict.reached
    assert verdict.sentence == (
        "Target macro_f1=0.9 reached: the value is 0.940, and the 95 % interval 0.900 to 0.970 stays on its side, on "
        "141 test rows."
    )


def test_not_shown_when_only_the_value_is_above() -> None:
    verdict = judge("macro_f1=0.9", 0.93, 0.88, 0.96)
    assert not verdict.reached
    assert verdict.sentence == (
        "Target macro_f1=0.9 not shown: the value 0.930 is above 0.9, but the 95 % interval 0.880 to 0.960 reaches "
        "below, on 141 test rows."
    )


def test_missed_with_and_without_hope() -> None:
    near = judge("macro_f1=0.9", 0.88, 0.84, 0.92)
    assert not near.reached
    assert (
        "missed: the value 0.880 is below 0.9, though the 95 % interval 0.840 to 0.920 still holds it" in near.sentence
    )
    far = judge("macro_f1=0.9", 0.6, 0.5, 0.7)
    assert not far.reached
    assert "lies wholly below" in far.sentence


def test_lower_is_better_takes_the_upper_end() -> None:
    assert judge("log_loss=0.5", 0.4, 0.3, 0.5).reached
    open_one = judge("log_loss=0.5", 0.4, 0.3, 0.51)
    assert not open_one.reached
    assert (
        "not shown: the value 0.400 is below 0.5, but the 95 % interval 0.300 to 0.510 reaches above"
        in open_one.sentence
    )
    assert "lies wholly above" in judge("ece=0.1", 0.4, 0.3, 0.5).sentence


def test_rounding_never_contradicts_the_verdict() -> None:
    verdict = judge("accuracy=0.9", 0.95, 0.8996, 0.97)
    assert not verdict.reached
    assert "interval 0.8996 to 0.970" in verdict.sentence
    assert judge("accuracy=0.9", 0.95, 0.9 - 1e-15, 0.97).reached


def test_nan_is_never_reached() -> None:
    assert not judge("accuracy=0", math.nan, math.nan, math.nan).reached
    assert not judge("log_loss=9", math.nan, math.nan, math.nan).reached
