"""Fisher information and EWC against closed forms, and against derivatives by finite differences in float64.

Logistic regression, p = σ(w·x): the gradient of a row's loss is (p − y)·x, so that the empirical Fisher information has
the diagonal mean((p − y)²·x²), and the Fisher information proper mean(p·(1 − p)·x²).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trimtab.data.batching import Batch
from trimtab.models.language_heads import LanguageModel
from trimtab.pipeline.parts import make_accelerator
from trimtab.regularization.ewc import EwcPenalty, measure_fisher
from trimtab.strategies.base import ScoreRequest
from trimtab.tasks.base import Examples
from trimtab.training.scores import measure_scores

CPU = torch.device("cpu")
UNITS = 5


class Rows(Examples):
    """Vectors of numbers, with class 0 or 1."""

    def __init__(self, values: torch.Tensor, labels: np.ndarray | None = None) -> None:
        self.values = values
        self.labels = labels
        self.lengths = np.ones(len(values), dtype=np.int64)

    def collate(self, rows: np.ndarray) -> Batch:
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
        return Batch({"x": self.values[torch.from_numpy(rows)]}, labels, len(rows), len(rows))


class Logistic(nn.Module):
    """p(1) = σ(w·x + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).squeeze(-1)


class LogLoss:
    """Summed logistic loss."""

    def loss(self, forward: Any, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        total = nn.functional.binary_cross_entropy_with_logits(
            forward(batch.inputs), batch.labels.float(), reduction="sum"
        )
        return total, len(batch.labels)


@pytest.fixture
def rows() -> Rows:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, UNITS, generator=generator) * torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0])
    labels = (values.sum(dim=1) + torch.randn(40, generator=generator) > 0).long().numpy()
    return Rows(values, labels)


@pytest.fixture
def model() -> Logistic:
    torch.manual_seed(1)
    return Logistic()


def closed_form(model: Logistic, rows: Rows) -> dict[str, np.ndarray]:
    """Mean gradient, empirical Fisher diagonal and Fisher diagonal of the weights, in NumPy and float64."""
    x = rows.values.numpy().astype(np.float64)
    w, b = (value.detach().numpy().astype(np.float64) for value in (model.linear.weight[0], model.linear.bias))
    p = 1 / (1 + np.exp(-(x @ w + b[0])))
    residual = p - rows.labels
    return {
        "weight": w,
        "gradient": (residual[:, None] * x).mean(axis=0),
        "empirical": (residual[:, None] ** 2 * x**2).mean(axis=0),
        "bias": np.array([(residual**2).mean()]),
        "expected": ((p * (1 - p))[:, None] * x**2).mean(axis=0),
    }


def scores(model: nn.Module, rows: Rows, measure: Any, *, per_element: bool = True) -> dict[str, np.ndarray]:
    request = ScoreRequest(measure, len(rows), per_element)
    found = measure_scores(model, LogLoss(), rows, request, device=CPU, seed=0, token_budget=7)
    return {name: value.numpy() for name, value in found.items()}


def test_fisher_score_is_the_empirical_fisher_of_logistic_regression(model: Logistic, rows: Rows) -> None:
    found = scores(model, rows, "fisher")
    expected = closed_form(model, rows)

    np.testing.assert_allclose(found["linear.weight"][0], expected["empirical"], rtol=1e-5)
    np.testing.assert_allclose(found["linear.bias"], expected["bias"], rtol=1e-5)
    # The square of the mean gradient, a common mistake, and the expectation over the model's labels are told apart.
    assert not np.allclose(expected["gradient"] ** 2, expected["empirical"], rtol=0.1)
    assert not np.allclose(expected["expected"], expected["empirical"], rtol=0.1)


def test_gradient_scores_are_those_of_logistic_regression(model: Logistic, rows: Rows) -> None:
    expected = closed_form(model, rows)
    product = expected["gradient"] * expected["weight"]

    np.testing.assert_allclose(scores(model, rows, "movement")["linear.weight"][0], -product, rtol=1e-4)
    np.testing.assert_allclose(scores(model, rows, "gradient_weight")["linear.weight"][0], abs(product), rtol=1e-4)


@pytest.mark.parametrize("measure", ["fisher", "gradient_weight", "movement"])
def test_a_score_of_a_whole_tensor_is_the_mean_of_its_elements(model: Logistic, rows: Rows, measure: str) -> None:
    single = scores(model, rows, measure)
    whole = scores(model, rows, measure, per_element=False)

    assert whole["linear.weight"].shape == ()
    for name, value in whole.items():
        assert value == pytest.approx(single[name].mean(), rel=1e-5)


class TwoTokens(nn.Module):
    """A causal language model of two tokens: after the first one, x, the second is 1 with σ(w·x)."""

    def __init__(self, weight: nn.Parameter, values: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.values = values

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        after = self.values[input_ids] @ self.weight
        return SimpleNamespace(logits=torch.stack([torch.zeros_like(after), after], dim=-1))


@dataclass
class TokenRows(Examples):
    """Rows of two tokens, the first of which is the row's number modulo `texts`."""

    count: int
    texts: int

    def __post_init__(self) -> None:
        self.lengths = np.full(self.count, 2)
        self.labels = None

    def collate(self, rows: np.ndarray) -> Batch:
        # The second token is always 1, so that the true tokens would give another information than drawn ones.
        ids = torch.from_numpy(np.stack([rows % self.texts, np.ones_like(rows)], axis=1))
        return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, None, ids.numel(), ids.numel())


def test_fisher_of_a_language_model_is_the_expected_fisher_of_logistic_regression(rows: Rows) -> None:
    """Tokens are drawn from the model's own predictions: p·(1 − p)·x², whatever tokens the texts hold."""
    classifier = nn.Module()
    classifier.weight = nn.Parameter(torch.tensor([3.0, -1.0, 0.7, 0.4, -0.3]))
    language = LanguageModel(TwoTokens(classifier.weight, rows.values), "causal")

    found = measure_fisher(
        classifier, ["weight"], TokenRows(8000, len(rows)), accelerator=make_accelerator(CPU), seed=0, language=language
    )["weight"].numpy()

    x = rows.values.numpy().astype(np.float64)
    p = 1 / (1 + np.exp(-(x @ classifier.weight.detach().numpy())))
    expected = ((p * (1 - p))[:, None] * x**2).mean(axis=0)
    true_tokens = ((1 - p)[:, None] ** 2 * x**2).mean(axis=0)
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=0.1)
    assert not np.allclose(true_tokens / true_tokens.mean(), expected / expected.mean(), rtol=0.2)


class Representation(nn.Module):
    """A model whose base model gives h(x; w), and a head that has nothing to do with it."""

    base_model_prefix = "base"

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.base(x)


class Base(nn.Module):
    """h = B · tanh(A · x), as the last hidden states of one position."""

    def __init__(self, *, linear: bool) -> None:
        super().__init__()
        self.a = nn.Linear(UNITS, 4, bias=False)
        self.b = nn.Linear(4, 3, bias=False)
        self.linear = linear

    def states(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.a(x)
        return inner if self.linear else self.b(torch.tanh(inner))

    def forward(self, x: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.states(x).unsqueeze(1))


def test_fisher_of_a_linear_representation_is_the_mean_squared_input(rows: Rows) -> None:
    """For h = A·x, Σₖ (∂hₖ/∂Aᵢⱼ)² = xⱼ², and random signs give it without any noise."""
    torch.manual_seed(0)
    model = Representation(Base(linear=True))

    found = measure_fisher(model, ["base.a.weight"], rows, accelerator=make_accelerator(CPU), seed=0)

    expected = rows.values.square().mean(dim=0)
    torch.testing.assert_close(found["base.a.weight"], (expected / expected.mean()).expand(4, -1))


def test_fisher_of_a_representation_is_the_gauss_newton_diagonal(rows: Rows) -> None:
    torch.manual_seed(0)
    base = Base(linear=False)
    model = Representation(base)
    names = ["base.a.weight", "base.b.weight"]
    repeated = Rows(rows.values.repeat(60, 1))

    found = measure_fisher(model, names, repeated, accelerator=make_accelerator(CPU), seed=0)

    expected = [torch.zeros_like(base.a.weight), torch.zeros_like(base.b.weight)]
    for x in rows.values:
        for unit in range(3):
            jacobian = torch.autograd.grad(base.states(x)[unit], [base.a.weight, base.b.weight])
            expected = [total + part.square() for total, part in zip(expected, jacobian, strict=True)]
    mean = torch.cat([value.flatten() for value in expected]).mean()
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], value / mean, rtol=0.15, atol=0.01)


def test_fisher_has_a_mean_of_one(rows: Rows) -> None:
    torch.manual_seed(0)
    model = Representation(Base(linear=False))
    found = measure_fisher(model, ["base.a.weight", "base.b.weight"], rows, accelerator=make_accelerator(CPU), seed=0)

    assert torch.cat([value.flatten() for value in found.values()]).mean() == pytest.approx(1.0, rel=1e-5)


def test_gradient_of_ewc_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    start = {
        "a": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "b": torch.randn(6, generator=generator, dtype=torch.float64),
    }
    fisher = {name: torch.rand(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()}
    parameters = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    penalty = EwcPenalty(parameters, fisher, 2.5)
    with torch.no_grad():
        for value in parameters.values():
            value.add_(torch.randn(value.shape, generator=generator, dtype=torch.float64))

    def penalty_value() -> float:
        """The formula, written out."""
        return 2.5 / 2 * sum(float((fisher[n] * (parameters[n].detach() - start[n]) ** 2).sum()) for n in start)

    before = {name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()}
    for name, value in parameters.items():
        value.grad = before[name].clone()

    values = penalty.after_backward(1)

    assert values["ewc"] == pytest.approx(penalty_value(), rel=1e-12)
    for name, parameter in parameters.items():
        added = (parameter.grad - before[name]).flatten()
        for index in range(parameter.numel()):
            flat, width = parameter.data.view(-1), 1e-4
            here = float(flat[index])
            flat[index] = here + width
            above = penalty_value()
            flat[index] = here - width
            below = penalty_value()
            flat[index] = here
            assert float(added[index]) == pytest.approx((above - below) / (2 * width), rel=1e-6, abs=1e-9)
