"""Statistics of short series: known answers, and what is not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trimtab.monitor.conditions._series import (
    Estimate,
    averaged,
    level,
    scatter,
    since,
    slope,
    smoothed,
    spread,
    t_probability,
    window_of,
)

DRAW = np.random.default_rng(0)
NOISE = DRAW.standard_normal(4000)


def test_slope_and_error_are_those_of_scipy_where_residuals_are_independent() -> None:
    steps = np.arange(30.0)
    values = 2 - 0.1 * steps + np.where(steps % 2, 0.1, -0.1)  # alternating: no positive autocorrelation
    found, expected = slope(steps, values), stats.linregress(steps, values)
    assert found.value == pytest.approx(expected.slope)
    assert found.error == pytest.approx(expected.stderr)
    assert found.freedom == 28
    assert found.below() > 0.999
    assert found.above() < 0.001


def test_slow_waves_widen_the_error() -> None:
    steps = np.arange(200.0)
    waves = np.sin(steps / 20)
    assert slope(steps, waves).error > 3 * stats.linregress(steps, waves).stderr
    assert level(waves).error > 3 * waves.std() / math.sqrt(200)


def test_level_of_independent_values() -> None:
    found = level(NOISE[:400] + 3)
    assert found.value == pytest.approx(3, abs=4 * 0.05)
    assert found.error == pytest.approx(0.05, rel=0.2)


def test_scatter_sees_noise_and_not_the_trend_nor_one_outlier() -> None:
    falling = np.linspace(10, 0, 4000) + 0.5 * NOISE
    falling[100] = 1e6
    assert scatter(falling) == pytest.approx(0.5, rel=0.08)
    assert spread(falling) > 2


def test_t_probability_is_that_of_scipy() -> None:
    assert t_probability(1.3, 5) == pytest.approx(stats.t.cdf(1.3, 5))
    assert t_probability(1.3) == pytest.approx(stats.norm.cdf(1.3))


def test_a_difference_adds_variances() -> None:
    found = Estimate(1.0, 0.3, 10).minus(Estimate(0.5, 0.4, 10))
    assert (found.value, found.error) == (0.5, pytest.approx(0.5))
    assert 10 < found.freedom < 20


def test_without_noise_a_value_is_surely_on_its_side() -> None:
    assert (Estimate(1.0, 0.0).above(0.5), Estimate(1.0, 0.0).above(1.0), Estimate(1.0, 0.0).below(2.0)) == (1, 0, 1)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [math.nan] * 9])
def test_too_few_values_give_nothing(values: list[float]) -> None:
    column = np.asarray(values)
    assert not level(column).known
    assert not slope(np.arange(float(len(column))), column).known
    assert math.isnan(scatter(column))
    assert level(column).above(0) == level(column).below(0) == 0


def test_smoothing_passes_over_nan() -> None:
    values = np.asarray([1.0, math.nan, 3.0, 100.0, 3.0])
    assert smoothed(values, 3).tolist() == [1, 1, 2, 51.5, 3]
    assert averaged(np.asarray([math.nan, 2.0, math.nan, 4.0]), 0.5)[1:].tolist() == [2, 2, 3]
    assert smoothed(np.empty(0), 3).tolist() == []


def test_since_is_the_first_step_of_the_last_stretch() -> None:
    steps = np.asarray([10.0, 20.0, 30.0, 40.0])
    assert since(steps, [True, False, True, True]) == 30
    assert since(steps, [True, True, True, True]) == 10
    assert since(steps, [True, True, True, False]) is None
    assert since(np.empty(0), []) is None


def test_a_window_is_never_wider_than_the_series() -> None:
    assert [window_of(count) for count in (0, 3, 20, 100, 10_000)] == [0, 3, 5, 20, 100]
