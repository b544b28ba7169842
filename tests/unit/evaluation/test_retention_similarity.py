"""Rankings, cosines and their resamples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from trimtab.core.errors import DataError
from trimtab.metrics.similarity import (
    cosines,
    linear_cka,
    paired_cosines,
    resample_agreement,
    resample_spearman,
    spearman,
)

RNG = np.random.default_rng(0)


def test_cka_of_what_cannot_be_compared() -> None:
    x = RNG.normal(size=(10, 3))
    bad = x.copy()
    bad[2, 1] = np.nan
    assert np.isnan(linear_cka(x, bad))
    assert np.isnan(linear_cka(x, np.full((10, 2), 0.1)))
    assert np.isnan(linear_cka(x[:1], x[:1]))
    assert np.isnan(linear_cka(x[:3], x[:3], debiased=True))
    with pytest.raises(DataError, match="10 and of 9 rows") as caught:
        linear_cka(x, x[:9])
    assert caught.value.remedy


def test_spearman_is_scipys_with_ties() -> None:
    x = RNG.integers(5, size=50).astype(float)
    y = x + RNG.integers(4, size=50)
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)


def test_spearman_without_an_answer() -> None:
    assert np.isnan(spearman(np.array([]), np.array([])))
    assert np.isnan(spearman(np.array([1.0]), np.array([2.0])))
    assert np.isnan(spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert np.isnan(spearman(np.array([1.0, np.nan, 1.0]), np.array([1.0, 2.0, 3.0])))
    with pytest.raises(DataError, match="3 and 2") as caught:
        spearman(np.zeros(3), np.zeros(2))
    assert caught.value.remedy


def test_resampled_spearman_ranks_each_resample_anew() -> None:
    goal = RNG.normal(size=60)
    values = {"near": goal + RNG.normal(size=60), "same": goal}
    found = resample_spearman(goal, values, 40, np.random.default_rng(3))
    drawn = np.random.default_rng(3).integers(60, size=(40, 60))
    expected = [scipy.stats.spearmanr(goal[rows], values["near"][rows]).statistic for rows in drawn]
    assert found["near"] == pytest.approx(np.array(expected), abs=1e-12)
    assert found["same"] == pytest.approx(np.ones(40))
    assert np.isnan(resample_spearman(np.array([]), {"a": np.array([])}, 5, RNG)["a"]).all()


def test_cosines_and_their_order() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [-2.0, 0.0]])
    half = np.sqrt(0.5)
    assert cosines(vectors) == pytest.approx(np.array([half, 0, -1, 0, -half, 0]))
    assert paired_cosines(vectors, vectors[::-1]) == pytest.approx(np.array([-1, 0, 0, -1]))


def test_resampled_agreement_weighs_pairs_by_their_rows() -> None:
    vectors = RNG.normal(size=(25, 4))
    first, second = cosines(vectors), cosines(vectors + RNG.normal(size=(25, 4)))
    found = resample_agreement(first, second, 25, 30, np.random.default_rng(5))
    ranks = scipy.stats.rankdata(first), scipy.stats.rankdata(second)
    above = np.triu_indices(25, k=1)
    times = np.random.default_rng(5).multinomial(25, np.full(25, 1 / 25), size=30)
    for sample in range(30):
        weights = times[sample][above[0]] * times[sample][above[1]]
        repeated = [np.repeat(rank, weights) for rank in ranks]
        assert found[sample] == pytest.approx(np.corrcoef(*repeated)[0, 1], abs=1e-10)


def test_agreement_of_equal_similarities_is_one() -> None:
    similarities = cosines(RNG.normal(size=(12, 4)))
    assert resample_agreement(similarities, similarities, 12, 20, RNG) == pytest.approx(np.ones(20))
    assert spearman(similarities, similarities) == pytest.approx(1)
