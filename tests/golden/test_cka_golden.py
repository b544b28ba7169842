"""Linear CKA against its definition by Gram matrices, and the invariances that define it."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.metrics.similarity import linear_cka

RNG = np.random.default_rng(0)
CASES = [(40, 6, 9), (12, 30, 30), (5, 3, 8)]


def representations(rows: int, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """Two representations that have something in common, with different means."""
    common = RNG.normal(size=(rows, 3))
    x = common @ RNG.normal(size=(3, first)) + RNG.normal(size=(rows, first)) + 5
    y = common @ RNG.normal(size=(3, second)) + RNG.normal(size=(rows, second)) - 2
    return x, y


def gram_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, equations 3 and 4: HSIC(K, L) = tr(KHLH) / (n - 1)² with centring matrix H."""
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = x @ x.T, y @ y.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ h @ b @ h)) / (n - 1) ** 2

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def unbiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, on Gram matrices without their diagonals."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        value = np.trace(a @ b)
        value += (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        value -= 2 / (n - 2) * (one @ a @ b @ one)
        return float(value) / (n * (n - 3))

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize(("rows", "first", "second"), CASES)
def test_feature_form_is_gram_form(rows: int, first: int, second: int) -> None:
    x, y = representations(rows, first, second)
    assert linear_cka(x, y) == pytest.approx(gram_cka(x, y), abs=1e-12)
    assert linear_cka(x, y, debiased=True) == pytest.approx(unbiased_cka(x, y), abs=1e-10)


def test_value_worked_by_hand() -> None:
    # Centred: x = (-1, 0, 1), y = (-1, 2, -1) / 3 shares nothing with it; z = (-2, 0, 2) is x scaled.
    x, y, z = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [0.0]]), np.array([[1.0], [3.0], [5.0]])
    assert linear_cka(x, y) == pytest.approx(0, abs=1e-15)
    assert linear_cka(x, z) == pytest.approx(1, abs=1e-15)
    # With a second column (x, y): |X'Y|² = 4, |X'X| = 2, |Y'Y| = sqrt(2² + (2/3)²).
    both = np.hstack([x, y])
    assert linear_cka(x, both) == pytest.approx(4 / (2 * np.sqrt(4 + 4 / 9)), abs=1e-15)


@pytest.mark.parametrize("debiased", [False, True])
def test_invariances(debiased: bool) -> None:
    x, y = representations(30, 8, 8)
    value = linear_cka(x, y, debiased=debiased)
    rotation, _ = np.linalg.qr(RNG.normal(size=(8, 8)))
    order = RNG.permutation(30)
    for one, other in ((x @ rotation, y), (3 * x + 7, -0.5 * y), (x[order], y[order]), (y, x)):
        assert linear_cka(one, other, debiased=debiased) == pytest.approx(value, abs=1e-12)
    assert linear_cka(x, x @ rotation * 2, debiased=debiased) == pytest.approx(1, abs=1e-12)
    # An invertible map that is no rotation does change it.
    assert abs(linear_cka(x @ np.diag(np.arange(1.0, 9)), y, debiased=debiased) - value) > 1e-3


def test_noise_is_unrelated_only_without_bias() -> None:
    x, y = RNG.normal(size=(100, 200)), RNG.normal(size=(100, 200))
    assert linear_cka(x, y) > 0.5
    assert abs(linear_cka(x, y, debiased=True)) < 0.05


def test_large_offset_in_float32_costs_no_digits() -> None:
    x, y = representations(20, 5, 5)
    shifted = (x + 1000).astype(np.float32)
    assert linear_cka(shifted, y) == pytest.approx(linear_cka(x, y), abs=1e-4)
