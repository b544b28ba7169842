"""Gradient noise: its variance, its streams, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trimtab.regularization.noise import GradientNoise


def noisy(
    step: int, *, seed: int = 0, names: tuple[str, ...] = ("a", "b"), shape: tuple[int, ...] = (40, 50)
) -> dict[str, torch.Tensor]:
    """The noise that a step adds, by parameter."""
    parameters = {name: nn.Parameter(torch.zeros(shape)) for name in names}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    GradientNoise(parameters, 0.3, seed).before_update(step)
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}


@pytest.mark.parametrize(("step", "variance"), [(1, 0.3), (2, 0.3 / 2**0.55), (1000, 0.3 / 1000**0.55)])
def test_variance_is_the_formula_with_t_steps_taken_before(step: int, variance: float) -> None:
    values = noisy(step, names=("a",), shape=(1000, 100))["a"]

    # Of 100,000 draws the variance is within 4 √(2/n) ≈ 1.8 %, the mean within 4 σ/√n.
    assert float(values.var()) == pytest.approx(variance, rel=0.02)
    assert abs(float(values.mean())) < 4 * (variance / values.numel()) ** 0.5
    assert GradientNoise({}, 0.3, 0).after_backward(step) == {"gradient_noise": pytest.approx(variance**0.5)}


def test_noise_is_added_after_clipping_only() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    hook = GradientNoise({"a": parameter}, 1.0, 0)

    hook.after_backward(1)
    assert parameter.grad.tolist() == [1.0, 1.0, 1.0]
    hook.before_update(1)
    assert not torch.equal(parameter.grad, torch.ones(3))


def test_a_step_draws_the_same_after_a_resume_and_whatever_else_trains() -> None:
    first, again = noisy(7), noisy(7)
    alone = noisy(7, names=("b",))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(first["b"], alone["b"])


def test_steps_seeds_and_parameters_draw_differently() -> None:
    base = noisy(7)

    for other in (noisy(8)["a"], noisy(7, seed=1)["a"], base["b"]):
        correlation = float(torch.corrcoef(torch.stack([base["a"].flatten(), other.flatten()]))[0, 1])
        # 4 / √2000 draws
        assert abs(correlation) < 0.09


def test_frozen_parameters_and_elements_get_none() -> None:
    frozen = nn.Parameter(torch.zeros(4))
    masked = nn.Parameter(torch.zeros(4))
    masked.grad = torch.zeros(4)
    mask = torch.tensor([True, False, True, False])

    GradientNoise({"frozen": frozen, "masked": masked}, 1.0, 0, {"masked": mask}).before_update(1)

    assert frozen.grad is None
    assert torch.equal(masked.grad != 0, mask)


def test_no_global_stream_is_touched() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()

    noisy(3)

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
