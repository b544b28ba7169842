"""Trial passes leave no trace, and give the loss and the gradient that training would have."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.data.batching import Batch
from trimtab.training.objective import TaskObjective
from trimtab.training.trial_steps import cosine, interleaved_medians, left_as_it_was, one_pass, outcome, timed_pass


class Noted(nn.Module):
    """A model with batch norm and dropout, and a head of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, values: torch.Tensor) -> Any:
        random.random()
        np.random.rand()
        return type("Outputs", (), {"logits": self.head(self.dropout(self.norm(values)))})()


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch({"values": torch.randn(6, 4, generator=generator)}, torch.tensor([0, 1, 2, 0, 1, 2]), 6, 6)


def objective() -> TaskObjective:
    return TaskObjective(tiny_engine.make_task())


def drawn() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def test_passes_leave_weights_buffers_gradients_modes_and_random_states_as_they_were() -> None:
    torch.manual_seed(3)
    model = Noted().train()
    model.norm.eval()
    one_pass(model, objective(), make_batch(), "fp32")
    model.head.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    copies = {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None}
    states = drawn()
    with left_as_it_was(model):
        model.train()
        model.head.bias.requires_grad_(True)
        assert timed_pass(model, objective(), make_batch(), "fp32") > 0
        outcome(model, objective(), make_batch(), "fp32")
        assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])  # it did run
    assert tiny_engine.same_weights(before, dict(model.state_dict()))
    assert drawn() == states
    assert not model.norm.training and model.dropout.training
    assert not model.head.bias.requires_grad and model.head.weight.requires_grad
    for name, parameter in model.named_parameters():
        assert parameter.grad is gradients[name]
        assert parameter.grad is not None and torch.equal(parameter.grad, copies[name])


def test_they_are_put_back_when_a_pass_fails() -> None:
    model = Noted().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = drawn()
    with pytest.raises(RuntimeError, match="broken"), left_as_it_was(model):
        one_pass(model, objective(), make_batch(), "fp32")
        raise RuntimeError("broken")
    assert tiny_engine.same_weights(before, dict(model.state_dict()))
    assert drawn() == states
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_outcome_draws_nothing_and_has_the_gradient_of_all_that_trains() -> None:
    model = Noted().train()
    first = outcome(model, objective(), make_batch(), "fp32")
    second = outcome(model, objective(), make_batch(), "fp32")
    assert torch.equal(first.gradient, second.gradient) and first.loss == second.loss
    assert first.gradient.shape == (4 + 4 + 12 + 3,)
    assert model.training and model.dropout.training
    model.head.weight.requires_grad_(False)
    assert outcome(model, objective(), make_batch(), "fp32").gradient.shape == (11,)


def test_bfloat16_points_where_float32_does() -> None:
    model = tiny_engine.make_model()
    batch = tiny_engine.make_examples(12).collate(np.arange(12))
    reference, found = (outcome(model, objective(), batch, precision) for precision in ("fp32", "bf16"))
    assert found.loss == pytest.approx(reference.loss, rel=0.02)
    assert 0.95 < cosine(found.gradient, reference.gradient) < 1
    assert not torch.equal(found.gradient, reference.gradient)


def test_cosine() -> None:
    one = torch.tensor([1.0, 0.0])
    assert cosine(one, torch.tensor([2.0, 0.0])) == 1
    assert cosine(one, torch.tensor([0.0, 2.0])) == 0
    assert cosine(one, torch.tensor([-1.0, 0.0])) == -1
    assert math.isnan(cosine(one, torch.zeros(2)))
    assert math.isnan(cosine(one, torch.zeros(3)))
    assert math.isnan(cosine(one, torch.tensor([math.nan, 1.0])))


def test_settings_take_turns_and_the_median_counts() -> None:
    times = {"a": iter([9.0, 1.0, 2.0]), "b": iter([3.0, 4.0, 50.0])}
    order: list[str] = []

    def run(setting: str) -> float:
        order.append(setting)
        return next(times[setting])

    assert interleaved_medians(["a", "b"], run, 3) == {"a": 2.0, "b": 4.0}
    assert order == ["a", "b"] * 3
