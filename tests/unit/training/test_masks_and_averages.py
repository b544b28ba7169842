"""Elements that stay frozen, and averages of the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.models.blocks import map_blocks
from trimtab.strategies.full import Full, FullOptions
from trimtab.training.averages import ExponentialAverage, StochasticAverage
from trimtab.training.masks import FrozenElements

NAME = "bert.encoder.layer.0.attention.self.query.weight"


def test_frozen_elements_stay_bit_for_bit_under_adamw_with_weight_decay() -> None:
    model = tiny_engine.make_model()
    before = model.get_parameter(NAME).detach().clone()
    mask = torch.rand(before.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    plan = replace(Full(FullOptions()).plan(map_blocks(model), 1e-2), hooks=(FrozenElements(model, {NAME: mask}),))
    recipe = tiny_engine.make_recipe(optimizer={"weight_decay": 0.5})
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(40), recipe, plan)

    norms = [record.grad_norm for record in engine.steps()]

    after = model.get_parameter(NAME)
    assert torch.equal(after[~mask], before[~mask])
    assert not torch.isclose(after[mask], before[mask], rtol=0, atol=1e-6).all()
    assert all(norms)


def test_gradients_of_frozen_elements_do_not_count_in_the_norm() -> None:
    model = nn.Linear(4, 1, bias=False)
    hook = FrozenElements(model, {"weight": torch.tensor([[True, False, True, False]])})
    model.weight.grad = torch.tensor([[3.0, 100.0, 4.0, 100.0]])
    hook.after_backward(1)
    assert float(model.weight.grad.norm()) == 5.0


def test_exponential_average_against_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(10.0)
    average = ExponentialAverage(model, ["weight"], decay=0.15)
    expected = 10.0
    for step, value in enumerate([1.0, 2.0, 4.0], start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.after_update(step)
        decay = min(0.15, step / (step + 9))
        expected = decay * expected + (1 - decay) * value
    average.apply()
    assert float(model.weight.detach()) == pytest.approx(expected)


def test_stochastic_average_takes_every_so_many_steps_of_the_end_and_the_last() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = StochasticAverage(model, ["weight"], every=2, start=0.5)
    average.begin(9)
    for step in range(1, 10):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.after_update(step)
    assert average.count == 3
    average.apply()
    assert float(model.weight.detach()) == pytest.approx((6 + 8 + 9) / 3)


def test_an_average_that_saw_nothing_leaves_the_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.detach().clone()
    average = StochasticAverage(model, ["weight"], every=1)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.apply()
    assert torch.equal(model.weight, before + 1.0)


def test_averages_come_back_from_a_checkpoint() -> None:
    model = nn.Linear(3, 2)
    one = ExponentialAverage(model, ["weight", "bias"])
    with torch.no_grad():
        model.weight.add_(1.0)
    one.after_update(1)
    other = ExponentialAverage(nn.Linear(3, 2), ["weight", "bias"])
    other.load_tensors({name: tensor.clone() for name, tensor in one.tensors().items()})
    assert other.count == 1
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())
    with pytest.raises(KeyError):
        other.load_tensors({})
