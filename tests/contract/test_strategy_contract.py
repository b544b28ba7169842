"""What every strategy keeps to, on every architecture: groups that do not overlap, of parameters that exist."""

from __future__ import annotations

import math

import pytest
import tiny_architectures
import torch
from torch import nn

from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.base import Strategy, TrainingPlan, apply_plan, frozen_modules, train_mode

RATE = 3e-4


NAMES = [name for name in STRATEGIES.names() if not STRATEGIES.get(name).stands_for_another]


@pytest.fixture(params=NAMES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    strategy_class = STRATEGIES.get(request.param)
    return strategy_class(strategy_class.Options())


def planned(strategy: Strategy, architecture: str) -> tuple[nn.Module, Blocks, TrainingPlan]:
    """A model that the strategy has adapted, its depth map, and the plan; skips where it refuses, and may."""
    model = tiny_architectures.make(architecture)
    kind = model.config.model_type
    try:
        model, blocks = strategy.adapt(model, map_blocks(model))
        return model, blocks, strategy.plan(blocks, RATE, scores(strategy, model))
    except RecipeError as error:
        assert kind in strategy.unsupported, f"{strategy.name} refuses {kind}: {error}"
        assert error.remedy
        pytest.skip(f"{strategy.name} refuses {kind}, as it says")


def scores(strategy: Strategy, model: nn.Module) -> dict[str, torch.Tensor] | None:
    """Made-up scores of the shape that the strategy asks for."""
    request = strategy.scores_wanted()
    if request is None:
        return None
    draw = torch.Generator().manual_seed(0)
    parameters = dict(model.named_parameters()).items()
    return {name: torch.rand(p.shape if request.per_element else (), generator=draw) for name, p in parameters}


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_the_plan_is_a_partition_of_what_trains(strategy: Strategy, architecture: str) -> None:
    model, blocks, plan = planned(strategy, architecture)
    names = {name for name, _ in model.named_parameters()}

    listed = [name for group in plan.groups for name in group.parameters]
    assert len(listed) == len(set(listed)), "a parameter stands in two groups"
    assert set(listed) <= names
    assert set(listed) == plan.trained
    assert set(blocks.head.parameters) <= plan.trained
    assert all(group.parameters for group in plan.groups)
    assert len({group.name for group in plan.groups}) == len(plan.groups)
    assert all(0 < group.learning_rate <= RATE for group in plan.groups)
    assert all(note.strip().endswith(".") for note in plan.notes)
    assert set(plan.masks) <= plan.trained


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_stages_name_groups_that_there_are_and_the_last_trains_everything(
    strategy: Strategy, architecture: str
) -> None:
    _, blocks, plan = planned(strategy, architecture)
    groups = {group.name for group in plan.groups}
    for stage in plan.stages:
        assert stage.groups and set(stage.groups) <= groups
        assert set(stage.rates) <= set(stage.groups)
        assert all(rate > 0 for rate in stage.rates.values())
    if plan.stages:
        assert set(plan.stages[-1].groups) == groups
        assert plan.stages[-1].length is None
        assert all(stage.length is not None and stage.length > 0 for stage in plan.stages[:-1])
    assert set(blocks.head.parameters) <= plan.trained_in(0)


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_the_model_trains_by_the_plan(strategy: Strategy, architecture: str) -> None:
    model, blocks, plan = planned(strategy, architecture)
    for stage in range(max(1, len(plan.stages))):
        model.zero_grad()
        apply_plan(model, plan, stage)
        train_mode(model, frozen_modules(model, blocks, plan, stage))

        model(**tiny_architectures.inputs(architecture)).logits.sum().backward()

        with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert with_gradient <= plan.trained_in(stage)
        assert set(blocks.head.parameters) & with_gradient


@pytest.mark.parametrize("width", [0, 16, 384, 768, 4096])
def test_default_learning_rate_is_a_number_with_a_reason(strategy: Strategy, width: int) -> None:
    rate, reason = strategy.default_learning_rate(width)

    assert math.isfinite(rate) and 1e-6 <= rate <= 1e-1
    assert reason


def test_the_plan_is_the_same_every_time(strategy: Strategy) -> None:
    model, blocks, plan = planned(strategy, "bert")

    assert strategy.plan(blocks, RATE, scores(strategy, model)) == plan
