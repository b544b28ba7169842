"""The bootstrap: exact relation to resampled rows, pairing, determinism, edges."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.core.errors import DataError
from trimtab.core.seeds import stream
from trimtab.evaluation import bootstrap
from trimtab.evaluation.bootstrap import (
    all_alike_bound,
    percentile_interval,
    resample_predictions,
    resample_probabilities,
)
from trimtab.metrics.classification import calibration_gaps, classification_metrics, confusion_matrix, row_log_losses

K = 3


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.choice(K, size=120, p=[0.6, 0.3, 0.1])
    model = np.where(rng.random(120) < 0.8, labels, rng.integers(K, size=120))
    return labels, model, np.zeros(120, int)


def test_same_distribution_as_resampled_rows(rows: tuple) -> None:
    labels, model, _ = rows
    found = resample_predictions(labels, {"model": model}, K, 4000, stream(0, "bootstrap"))["model"]
    rng = np.random.default_rng(5)
    confusions = []
    for _ in range(4000):
        drawn = rng.integers(120, size=120)
        confusions.append(confusion_matrix(labels[drawn], model[drawn], K))
    for name, expected in classification_metrics(np.array(confusions)).items():
        quantiles = [0.025, 0.25, 0.5, 0.75, 0.975]
        # The standard error of a 2.5 % quantile from 4,000 draws is below 0.004 here; a wrong scheme is off by more.
        np.testing.assert_allclose(np.quantile(found[name], quantiles), np.quantile(expected, quantiles), atol=0.012)


def test_predictors_share_their_resamples(rows: tuple) -> None:
    labels, model, other = rows
    both = resample_predictions(labels, {"a": model, "b": model, "c": other}, K, 200, stream(0, "bootstrap"))
    for name in both["a"]:
        np.testing.assert_array_equal(both["a"][name], both["b"][name])
    # The constant predictor's accuracy is the share of class 0 in the resample: it must move against the errors.
    assert both["c"]["accuracy"].std() > 0.02
    np.testing.assert_array_equal(both["c"]["mcc"], np.zeros(200))


def test_seeded_and_bounded_by_chunks(rows: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, model, _ = rows
    whole = resample_predictions(labels, {"m": model}, K, 500, stream(3, "bootstrap"))["m"]["macro_f1"]
    again = resample_predictions(labels, {"m": model}, K, 500, stream(3, "bootstrap"))["m"]["macro_f1"]
    other = resample_predictions(labels, {"m": model}, K, 500, stream(4, "bootstrap"))["m"]["macro_f1"]
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 64)
    chunked = resample_predictions(labels, {"m": model}, K, 500, stream(3, "bootstrap"))["m"]["macro_f1"]
    np.testing.assert_array_equal(whole, again)
    np.testing.assert_array_equal(whole, chunked)
    assert (whole != other).any()


def test_row_level_metrics_centre_on_the_rows_and_spread_as_theory_says() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(2, size=400)
    probabilities = rng.dirichlet([2, 2], 400)
    losses = row_log_losses(labels, probabilities)
    bins, gaps = calibration_gaps(labels, probabilities)
    found = resample_probabilities(losses, bins, gaps, 4000, stream(0, "bootstrap", "rows"))
    assert found["log_loss"].mean() == pytest.approx(losses.mean(), abs=4 * losses.std() / 20 / np.sqrt(4000))
    assert found["log_loss"].std() == pytest.approx(losses.std() / 20, rel=0.05)
    assert ((found["ece"] >= 0) & (found["ece"] <= 1)).all()


def test_chunks_do_not_change_row_level_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (np.arange(10.0), np.arange(10) % 3, np.linspace(-0.5, 0.5, 10), 50)
    whole = resample_probabilities(*arguments, stream(0, "rows"))
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 7)
    chunked = resample_probabilities(*arguments, stream(0, "rows"))
    np.testing.assert_allclose(whole["log_loss"], chunked["log_loss"], rtol=1e-12)
    np.testing.assert_allclose(whole["ece"], chunked["ece"], rtol=1e-12)


def test_single_row() -> None:
    found = resample_predictions(np.array([1]), {"m": np.array([1])}, K, 100, stream(0, "bootstrap"))["m"]
    np.testing.assert_array_equal(found["accuracy"], np.ones(100))


def test_many_columns_of_many_classes_do_not_overflow() -> None:
    k, n = 1000, 50
    columns = [np.random.default_rng(i).integers(k, size=n) for i in range(9)]
    named = {str(i): column for i, column in enumerate(columns[1:])}
    named["right"] = columns[0]
    found = resample_predictions(columns[0], named, k, 20, stream(0, "bootstrap"))
    np.testing.assert_array_equal(found["right"]["accuracy"], np.ones(20))


def test_no_rows_are_refused() -> None:
    empty = np.array([], int)
    with pytest.raises(DataError, match="no rows to evaluate"):
        resample_predictions(empty, {"m": empty}, K, 100, stream(0, "bootstrap"))
    with pytest.raises(DataError, match="no rows to evaluate"):
        resample_probabilities(np.array([]), empty, np.array([]), 100, stream(0, "bootstrap"))


def test_interval_is_the_central_share_and_holds_the_value() -> None:
    samples = np.arange(101) / 100
    interval = percentile_interval(0.5, samples, 0.9)
    assert (interval.low, interval.high) == (pytest.approx(0.05), pytest.approx(0.95))
    assert percentile_interval(0.0, samples + 1, 0.9).low == 0.0
    assert np.isnan(percentile_interval(0.5, np.array([np.nan]), 0.9).low)


def test_exact_bound_equals_the_rule_of_three() -> None:
    assert all_alike_bound(1, 0.95) == pytest.approx(0.025)
    assert 1 - all_alike_bound(1000, 0.9) == pytest.approx(3 / 1000, rel=0.01)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        labels = rng.integers(2, size=150)
        model = np.where(rng.random(150) < 0.8, labels, 1 - labels)
        samples = resample_predictions(labels, {"m": model}, 2, 300, stream(trial, "bootstrap"))["m"]["accuracy"]
        interval = percentile_interval((labels == model).mean(), samples, 0.95)
        covered += interval.low <= 0.8 <= interval.high
    assert 180 <= covered <= 199
