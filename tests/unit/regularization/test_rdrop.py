"""R-Drop: the divergence by hand, the loss from its parts, one pass with every row twice."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_engine
import torch
from torch.nn import functional

from trimtab.regularization.criteria import Criterion
from trimtab.regularization.rdrop import RDropObjective, symmetric_divergence


def test_divergence_by_hand() -> None:
    p, q = (0.7, 0.2, 0.1), (0.5, 0.3, 0.2)
    forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    backward = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))

    found = symmetric_divergence(torch.tensor([p]).log() + 1, torch.tensor([q]).log() - 2)

    assert found.item() == pytest.approx((forward + backward) / 2, rel=1e-5)


def test_divergence_is_that_of_torch_and_symmetric() -> None:
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(5, 4, generator=draw), torch.randn(5, 4, generator=draw)
    logs = one.log_softmax(-1), other.log_softmax(-1)
    expected = (
        functional.kl_div(logs[1], logs[0], log_target=True, reduction="none").sum(1)
        + functional.kl_div(logs[0], logs[1], log_target=True, reduction="none").sum(1)
    ) / 2

    assert torch.allclose(symmetric_divergence(one, other), expected, atol=1e-6)
    assert torch.equal(symmetric_divergence(one, other), symmetric_divergence(other, one))
    assert symmetric_divergence(one, one).abs().max() == 0


def test_loss_is_half_of_the_sum_of_both_fits_and_the_weighted_divergence() -> None:
    draw = torch.Generator().manual_seed(0)
    passes = torch.randn(12, 3, generator=draw)
    batch = tiny_engine.make_examples(6).collate(np.arange(6))
    seen: dict[str, torch.Tensor] = {}

    def forward(inputs: dict[str, torch.Tensor]) -> SimpleNamespace:
        seen.update(inputs)
        return SimpleNamespace(logits=passes)

    criterion = Criterion(label_smoothing=0.1)
    total, count = RDropObjective(tiny_engine.make_task(), criterion, 4.0).loss(forward, batch, 1)

    assert batch.labels is not None
    fits = criterion(passes[:6], batch.labels).sum() + criterion(passes[6:], batch.labels).sum()
    expected = (fits + 4.0 * symmetric_divergence(passes[:6], passes[6:]).sum()) / 2
    assert count == 6
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, values in batch.inputs.items():
        assert torch.equal(seen[name], torch.cat([values, values]))


@pytest.mark.parametrize(("dropout", "differs"), [(0.0, False), (0.5, True)])
def test_dropout_alone_makes_the_divergence(dropout: float, differs: bool) -> None:
    model = tiny_engine.make_model(dropout=dropout).train()
    batch = tiny_engine.make_examples(6).collate(np.arange(6))
    task = tiny_engine.make_task()

    def loss(alpha: float) -> float:
        torch.manual_seed(0)
        return RDropObjective(task, Criterion(), alpha).loss(lambda inputs: model(**inputs), batch, 1)[0].item()

    # The tiny model's logits hardly differ, hence the large weight.
    assert (loss(1000.0) - loss(0.0) > 0.05) is differs
    if not differs:
        assert loss(0.0) == pytest.approx(task.loss(model(**batch.inputs), batch)[0].item(), rel=1e-5)


def test_both_passes_take_part_in_the_gradient() -> None:
    passes = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = tiny_engine.make_examples(1).collate(np.arange(1))

    objective = RDropObjective(tiny_engine.make_task(), Criterion(), 1.0)
    objective.loss(lambda inputs: SimpleNamespace(logits=passes), batch, 1)[0].backward()

    assert passes.grad is not None
    assert bool((passes.grad.abs().sum(dim=1) > 0.01).all())
