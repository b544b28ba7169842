"""The numbers of the learning-rate range test."""

from __future__ import annotations

import json
import math
import random
from xml.etree import ElementTree

import pytest

from trimtab.pipeline.lr_find import rate_chart
from trimtab.training.rate_range import RateRange, Suggestion, has_diverged, smooth, spaced_rates, suggest

RATES = spaced_rates(1e-6, 1.0, 121)


def valley(rate: float) -> float:
    """Flat at 2, a fall to 1 with its middle at 10^-4, flat, and a climb from 10^-2 on."""
    place = math.log10(rate)
    return 1.0 + 1.0 / (1.0 + math.exp(6.0 * (place + 4.0))) + max(0.0, place + 2.0) ** 2


def noisy(level: float, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [level + draw.gauss(0.0, 0.1) for _ in RATES]


def test_rates_are_evenly_spaced_by_their_logarithm() -> None:
    assert spaced_rates(1e-4, 1.0, 5) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_smoothing_by_hand() -> None:
    """With 0.5 kept: 4; (0.5·2 + 1) / 0.75; (0.5·2 + 3) / 0.875."""
    assert smooth([4.0, 2.0, 6.0], keep=0.5) == pytest.approx([4.0, 2.0 / 0.75, 4.0 / 0.875])
    assert smooth([3.0] * 20) == pytest.approx([3.0] * 20)
    assert smooth([]) == []
    assert all(math.isnan(mean) for mean in smooth([1.0, math.nan, 1.0])[1:])


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([], False),
        ([1.0, 1.0], False),
        # Smoothed: 1, then (0.09 + 0.1·x) / 0.19; four times the first at x = 6.7.
        ([1.0, 6.6], False),
        ([1.0, 6.8], True),
        ([1.0, math.inf], True),
        ([1.0, math.nan], True),
        # The lowest value counts, not the first.
        ([10.0] + [0.1] * 60 + [9.0], True),
    ],
)
def test_when_the_test_ends(losses: list[float], diverged: bool) -> None:
    assert has_diverged(losses) is diverged


def test_the_steepest_point_and_the_tenth_of_the_lowest() -> None:
    found = suggest(RATES, [valley(rate) for rate in RATES])

    assert found.steepest == pytest.approx(1e-4, rel=0.15)
    assert found.tenth_of_minimum is not None
    # The smoothed loss lags by some steps of 0.05 decades behind the flat bottom, which ends at 10^-2.
    assert 3e-4 < found.tenth_of_minimum < 4e-3
    assert found.recommended == found.steepest
    assert "falls fastest" in found.reason


def test_the_smaller_reading_is_recommended() -> None:
    """A fall right before the climb: a tenth of the lowest point lies below the steepest one."""
    losses = [2.0 if rate < 1e-3 else 1.0 if rate < 1e-2 else 8.0 for rate in RATES]
    found = suggest(RATES, losses)

    assert found.steepest == pytest.approx(1e-3, rel=0.5)
    assert found.recommended == found.tenth_of_minimum
    assert found.recommended is not None and found.recommended < 1.5e-3
    assert "a tenth" in found.reason


@pytest.mark.parametrize("seed", range(20))
def test_no_suggestion_where_the_loss_never_falls(seed: int) -> None:
    flat = suggest(RATES, noisy(1.0, seed))
    rising = suggest(RATES, [loss + 5 * index / len(RATES) for index, loss in enumerate(noisy(1.0, seed))])

    for found in (flat, rising):
        assert (found.steepest, found.tenth_of_minimum, found.recommended) == (None, None, None)
        assert found.reason.startswith("The loss never falls")


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_hide_a_fall(seed: int) -> None:
    losses = [noise + valley(rate) for noise, rate in zip(noisy(0.0, seed), RATES, strict=True)]
    found = suggest(RATES, losses)

    assert found.steepest is not None and 2e-5 < found.steepest < 5e-4


def test_a_constant_loss_and_a_test_that_breaks_off_at_once() -> None:
    assert suggest(RATES, [1.0] * len(RATES)).recommended is None
    assert suggest(RATES[:7], [1.0] * 7).reason == "The loss grew beyond all bounds within 7 steps."


def finished(suggestion: Suggestion) -> RateRange:
    losses = (*(valley(rate) for rate in RATES[:-1]), None)
    return RateRange(
        tuple(RATES), losses, (*smooth([valley(rate) for rate in RATES[:-1]]), None), "at step 121 …", suggestion
    )


def test_chart_is_a_document_of_its_own() -> None:
    without = ElementTree.fromstring(rate_chart(finished(Suggestion(None, None, None, "-"))))
    chart = ElementTree.fromstring(rate_chart(finished(Suggestion(1e-4, 1e-3, 1e-4, "-"))))
    space = "{http://www.w3.org/2000/svg}"

    assert chart.tag == f"{space}svg"
    assert chart.find(f"{space}style") is not None
    lines = [line.get("class") for line in chart.iter(f"{space}polyline")]
    assert lines == ["line s1", "line s0", "line s2"]
    assert [line.get("class") for line in without.iter(f"{space}polyline")] == ["line s1", "line s0"]
    upright = next(line for line in chart.iter(f"{space}polyline") if line.get("class") == "line s2")
    (x1, _), (x2, _) = (point.split(",") for point in (upright.get("points") or "").split())
    assert x1 == x2


def test_numbers_are_plain_json() -> None:
    plain = json.loads(json.dumps(finished(Suggestion(1e-4, 1e-3, 1e-4, "-")).to_dict(), allow_nan=False))
    assert plain["rates"] == RATES and plain["losses"][-1] is None
    assert plain["suggestion"]["recommended"] == 1e-4
