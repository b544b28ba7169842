"""The gradient of each penalty and of each training loss against central finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.data.batching import Batch
from trimtab.regularization.criteria import Criterion, CriterionObjective
from trimtab.regularization.mixup import MixupObjective
from trimtab.regularization.penalties import L1Penalty, l2_penalty, l2_sp_penalty
from trimtab.regularization.rdrop import RDropObjective
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions

STEP = 1e-5
TOLERANCE = 1e-8
WEIGHTS = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)


def differences(value: Callable[[], float], tensor: torch.Tensor) -> torch.Tensor:
    """Central finite differences of `value` in every element of `tensor`, which is moved in place."""
    found = torch.empty_like(tensor)
    flat, out = tensor.view(-1), found.view(-1)
    for index in range(flat.numel()):
        middle = float(flat[index])
        flat[index] = middle + STEP
        above = value()
        flat[index] = middle - STEP
        below = value()
        flat[index] = middle
        out[index] = (above - below) / (2 * STEP)
    return found


def parameters() -> tuple[nn.Parameter, nn.Parameter]:
    """Two weights in float64, no element within a finite difference of zero."""
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, dtype=torch.float64, generator=draw) for shape in ((3, 4), (2, 3))]
    return nn.Parameter(weights[0]), nn.Parameter(weights[1])


def l1(first: nn.Parameter, second: nn.Parameter) -> StepHook:
    return L1Penalty([first, second], 0.3)


def l2(first: nn.Parameter, second: nn.Parameter) -> StepHook:
    return l2_penalty([first, second], 0.3)


def l2_sp(first: nn.Parameter, second: nn.Parameter) -> StepHook:
    hook = l2_sp_penalty([first], [second], 0.3, 0.7)
    with torch.no_grad():
        first += torch.randn(first.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return hook


@pytest.mark.parametrize("make", [l1, l2, l2_sp])
def test_gradient_of_a_penalty(make: Callable[..., StepHook]) -> None:
    both = parameters()
    hook = make(*both)

    def value() -> float:
        for parameter in both:
            parameter.grad = torch.zeros_like(parameter)
        return next(iter(hook.after_backward(1).values()))

    expected = [differences(value, parameter.data) for parameter in both]
    value()

    for parameter, gradient in zip(both, expected, strict=True):
        assert parameter.grad is not None
        assert float(gradient.abs().min()) > 0.01
        assert torch.allclose(parameter.grad, gradient, atol=TOLERANCE, rtol=0)


class Float64Task(TextClassification):
    """The task with logits in float64, as float32 has no digits for finite differences."""

    def logits(self, outputs: SimpleNamespace) -> torch.Tensor:
        logits: torch.Tensor = outputs.logits
        return logits


CRITERIA = {
    "plain": Criterion(),
    "smoothing": Criterion(label_smoothing=0.2),
    "weights": Criterion(weights=WEIGHTS),
    "smoothing and weights": Criterion(label_smoothing=0.2, weights=WEIGHTS),
    "focal": Criterion(focal_gamma=2.0),
    "focal below 1": Criterion(focal_gamma=0.5),
    "focal and weights": Criterion(focal_gamma=1.5, weights=WEIGHTS),
}


@pytest.mark.parametrize("kind", ["criterion", "r_drop", "mixup"])
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_gradient_of_a_training_loss(kind: str, criterion: Criterion) -> None:
    """The gradient in the representation that a linear head reads, which R-Drop sees with two dropout masks."""
    task = Float64Task(TextClassificationOptions(), ("a", "b", "c"))
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 4, dtype=torch.float64, generator=draw, requires_grad=True)
    head = torch.randn(4, 3, dtype=torch.float64, generator=draw)
    masks = torch.randint(0, 2, (10, 4), generator=draw).double() * 2
    batch = Batch({"rows": torch.arange(5)}, torch.tensor([0, 1, 2, 2, 1]), 5, 5)

    def forward(inputs: dict[str, torch.Tensor]) -> SimpleNamespace:
        rows = inputs["rows"]
        return SimpleNamespace(logits=(hidden[rows] * masks[: len(rows)]) @ head)

    def loss() -> torch.Tensor:
        objective = {
            "criterion": CriterionObjective(task, criterion),
            "r_drop": RDropObjective(task, criterion, 1.7),
            "mixup": MixupObjective(task, criterion, 0.8, 3),
        }[kind]
        return objective.loss(forward, batch, 4)[0]

    loss().backward()
    expected = differences(lambda: loss().item(), hidden.data)

    assert hidden.grad is not None
    assert float(expected.abs().max()) > 0.1
    assert torch.allclose(hidden.grad, expected, atol=TOLERANCE, rtol=0)
