"""Division by the step's weight before the backward pass, and clipping that has nothing to clip."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.data.batching import PIECE_OVERHEAD
from trimtab.training import engine as module
from trimtab.training.engine import Engine
from trimtab.training.gradients import is_within

ROWS = 8


class Seen(StepHook):
    """Keeps the gradients that a hook is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__("seen")
        self.model = model
        self.gradients: dict[str, torch.Tensor] = {}

    def after_backward(self, step: int) -> dict[str, float]:
        self.gradients = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        return {}


def make(*, budget: int = 8192, limit: float | None = None, double: bool = True) -> tuple[Engine, Seen]:
    model = tiny_engine.make_model()
    model = model.double() if double else model
    recipe = tiny_engine.make_recipe(training={"max_grad_norm": limit, "max_tokens_per_batch": budget})
    hook = Seen(model)
    return tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe, hooks=(hook,)), hook


@pytest.fixture
def one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its rows, a batch stays in one piece where the budget lets it."""
    monkeypatch.setitem(PIECE_OVERHEAD, "cpu", 10_000)


def test_hooks_are_given_the_mean_gradient_of_one_piece_and_of_several(one_piece: None) -> None:
    single, first = make()
    several, second = make(budget=20)
    records = [next(engine.steps()) for engine in (single, several)]

    assert records[0].pieces == 1 < records[1].pieces
    assert records[0].weight == records[1].weight == ROWS
    assert records[0].loss == pytest.approx(records[1].loss, abs=1e-12)
    assert records[0].grad_norm == pytest.approx(records[1].grad_norm, abs=1e-12)
    assert all(torch.allclose(first.gradients[name], other, atol=1e-12) for name, other in second.gradients.items())


def test_one_piece_needs_no_pass_over_the_gradients(one_piece: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*unused: Any) -> None:
        raise AssertionError("gradients were multiplied")

    engine, _ = make(limit=1e6)
    monkeypatch.setattr(module, "scale_gradients", forbidden)
    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", forbidden)

    assert next(engine.steps()).grad_norm is not None


def test_gradients_beyond_the_limit_are_clipped() -> None:
    limit = 1e-3
    engine, seen = make(limit=limit)
    clipped: dict[str, torch.Tensor] = {}
    engine.optimizer.step = lambda: clipped.update(
        {name: p.grad.clone() for name, p in engine.model.named_parameters() if p.grad is not None}
    )
    norm = next(engine.steps()).grad_norm

    assert norm is not None and norm > limit
    for name, gradient in seen.gradients.items():
        assert torch.allclose(clipped[name], gradient * (limit / (norm + 1e-6)), atol=1e-15)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0 - 1e-6, 1.0, 1.5, float("inf"), float("nan")])
def test_clipping_is_left_out_where_it_would_change_nothing(norm: float) -> None:
    """Against torch itself: the same bits with and without the shortcut."""
    gradients = torch.randn(50)
    parameter = nn.Parameter(torch.zeros(50))
    parameter.grad = gradients.clone()
    nn.utils.clip_grads_with_norm_([parameter], 1.0, torch.tensor(norm))

    assert is_within(torch.tensor(norm), 1.0) == torch.equal(parameter.grad, gradients)


def test_a_loss_that_is_not_finite_is_skipped_as_before(one_piece: None) -> None:
    engine, seen = make(double=False)
    before = tiny_engine.weights_of(engine.model)
    task_loss = engine.objective.loss

    def broken(*arguments: Any) -> tuple[torch.Tensor, int]:
        loss, weight = task_loss(*arguments)
        return loss * float("nan"), weight

    engine.objective.loss = broken  # type: ignore[method-assign]
    record = next(engine.steps())

    assert record.loss is None and record.skipped == "the loss is NaN" and record.pieces == 1
    assert seen.gradients == {}
    assert tiny_engine.same_weights(before, tiny_engine.weights_of(engine.model))
    assert all(parameter.grad is None for parameter in engine.model.parameters())
