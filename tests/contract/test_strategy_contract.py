"""What every strategy keeps to, on every architecture: groups that do not overlap, of parameters that exist."""

from __future__ import annotations

import math

import pytest
import tiny_architectures

from trimtab.core.registry import STRATEGIES
from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import Strategy, TrainingPlan, apply_plan, frozen_modules, train_mode

RATE = 3e-4


NAMES = [name for name in STRATEGIES.names() if not STRATEGIES.get(name).stands_for_another]


@pytest.fixture(params=NAMES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    strategy_class = STRATEGIES.get(request.param)
    return strategy_class(strategy_class.Options())


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_the_plan_is_a_partition_of_what_trains(strategy: Strategy, architecture: str) -> None:
    model = tiny_architectures.make(architecture)
    names = {name for name, _ in model.named_parameters()}
    blocks = map_blocks(model)

    plan = strategy.plan(blocks, RATE)

    assert isinstance(plan, TrainingPlan)
    listed = [name for group in plan.groups for name in group.parameters]
    assert len(listed) == len(set(listed)), "a parameter stands in two groups"
    assert set(listed) <= names
    assert set(listed) == plan.trained
    assert set(blocks.head.parameters) <= plan.trained
    assert all(group.parameters for group in plan.groups)
    assert len({group.name for group in plan.groups}) == len(plan.groups)
    assert all(0 < group.learning_rate <= RATE for group in plan.groups)
    assert all(note.strip().endswith(".") for note in plan.notes)


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_the_model_trains_by_the_plan(strategy: Strategy, architecture: str) -> None:
    model = tiny_architectures.make(architecture)
    blocks = map_blocks(model)
    plan = strategy.plan(blocks, RATE)
    apply_plan(model, plan)
    train_mode(model, frozen_modules(model, blocks, plan))

    model(**tiny_architectures.inputs(architecture)).logits.sum().backward()

    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient <= plan.trained
    assert set(blocks.head.parameters) & with_gradient


@pytest.mark.parametrize("width", [0, 16, 384, 768, 4096])
def test_default_learning_rate_is_a_number_with_a_reason(strategy: Strategy, width: int) -> None:
    rate, reason = strategy.default_learning_rate(width)

    assert math.isfinite(rate) and 1e-6 <= rate <= 1e-1
    assert reason


def test_the_plan_is_the_same_every_time(strategy: Strategy) -> None:
    blocks = map_blocks(tiny_architectures.make("bert"))

    assert strategy.plan(blocks, RATE) == strategy.plan(blocks, RATE)
