"""New rows of an embedding matrix train at their own rate, whatever the strategy does with the old ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny_engine
import torch
from torch import nn
from transformers import BertForSequenceClassification

from trimtab.config.plugins import PluginSection, parse_options
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.models.blocks import map_blocks
from trimtab.models.extension import NewRows
from trimtab.models.vocabulary import NewToken
from trimtab.strategies._new_tokens import NEW_TOKENS, NewRowsRate, RowsStage, extend_plan
from trimtab.strategies.base import ParameterGroup, Stage, TrainingPlan, apply_plan
from trimtab.training.masks import FrozenElements

NAME = "bert.embeddings.word_embeddings.weight"
FIRST, COUNT, TOTAL = 12, 5, 20
RATE = 3e-3
TOKENS = tuple(NewToken(str(index), str(index), 1) for index in range(COUNT))


def rows_of(*parameters: nn.Parameter) -> NewRows:
    return NewRows(parameters, TOKENS, FIRST)


def model_with_rows() -> tuple[BertForSequenceClassification, NewRows]:
    model = tiny_engine.make_model()
    return model, rows_of(model.get_input_embeddings().weight)


def plan_of(model: nn.Module, name: str, rate: float = 1e-3, **options: Any) -> TrainingPlan:
    strategy = STRATEGIES.get(name)(parse_options("strategy", PluginSection(name=name, options=options)))
    plan: TrainingPlan = strategy.plan(map_blocks(model), rate)
    return plan


def take_step(hook: NewRowsRate, optimizer: torch.optim.Optimizer, gradient: torch.Tensor, step: int) -> None:
    """One step as the loop takes it."""
    (parameter,) = optimizer.param_groups[0]["params"]
    parameter.grad = gradient.clone()
    hook.after_backward(step)
    hook.before_update(step)
    optimizer.step()
    hook.after_update(step)


def matrix() -> nn.Parameter:
    return nn.Parameter(torch.randn(TOTAL, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.1),
    "rmsprop": lambda parameters, lr: torch.optim.RMSprop(parameters, lr=lr),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rows_move_as_if_the_optimizer_had_their_rate(name: str) -> None:
    """Against two matrices of their own, with a falling rate."""
    whole = matrix()
    new = slice(FIRST, FIRST + COUNT)
    apart = {"old": nn.Parameter(whole.detach().clone()), "new": nn.Parameter(whole.detach()[new].clone())}
    rate, factor = 1e-2, 7.0
    optimizer = OPTIMIZERS[name]([whole], rate)
    others = {key: OPTIMIZERS[name]([p], rate * (factor if key == "new" else 1)) for key, p in apart.items()}
    hook = NewRowsRate(whole, rows_of(whole), (RowsStage(factor),), "rows")
    draw = torch.Generator().manual_seed(1)
    for step in range(1, 6):
        gradient = torch.randn(TOTAL, 4, dtype=torch.float64, generator=draw)
        for group in (*optimizer.param_groups, *(g for other in others.values() for g in other.param_groups)):
            group["lr"] *= 0.8
        take_step(hook, optimizer, gradient, step)
        apart["old"].grad, apart["new"].grad = gradient.clone(), gradient[new].clone()
        for other in others.values():
            other.step()
    outside = torch.ones(TOTAL, dtype=torch.bool)
    outside[new] = False
    assert torch.equal(whole[outside], apart["old"][outside])
    assert torch.allclose(whole[new], apart["new"], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(whole[new], apart["old"][new])


def test_old_rows_are_held_where_a_stage_freezes_them() -> None:
    whole = matrix()
    before = whole.detach().clone()
    optimizer = OPTIMIZERS["adamw"]([whole], 1e-2)
    hook = NewRowsRate(whole, rows_of(whole), (RowsStage(hold_old=True), RowsStage(2.0)), "rows")
    new = slice(FIRST, FIRST + COUNT)
    hook.enter_stage(0)
    take_step(hook, optimizer, torch.ones_like(whole), 1)
    moved = (whole != before).any(dim=1)
    assert moved[new].all() and moved.sum() == COUNT
    moments = optimizer.state[whole]["exp_avg"]
    assert moments[new].all() and torch.count_nonzero(moments) == moments[new].numel()
    hook.enter_stage(1)
    take_step(hook, optimizer, torch.ones_like(whole), 2)
    assert (whole != before).any(dim=1).all()


def test_a_step_without_a_gradient_is_none_of_its_business() -> None:
    whole = matrix()
    hook = NewRowsRate(whole, rows_of(whole), (RowsStage(hold_old=True),), "rows")
    assert hook.after_backward(1) == {} and hook.tensors() == {}
    hook.after_update(1)
    assert torch.equal(whole, matrix())


def test_full_keeps_its_groups_and_scales_the_new_rows() -> None:
    model, rows = model_with_rows()
    plan = plan_of(model, "full")
    longer = extend_plan(plan, model, rows, RATE)
    assert longer.groups == plan.groups and not longer.masks
    (hook,) = longer.hooks
    assert isinstance(hook, NewRowsRate) and hook.name == NEW_TOKENS and hook._stages == (RowsStage(3.0),)
    assert longer.notes[-1] == "The embeddings of the 5 new tokens train from the first step on, at 0.003."


def test_discriminative_rates_are_those_of_the_embeddings() -> None:
    model, rows = model_with_rows()
    plan = plan_of(model, "discriminative", decay=0.5)
    own = next(group.learning_rate for group in plan.groups if NAME in group.parameters)
    assert own < 1e-3
    (hook,) = extend_plan(plan, model, rows, RATE).hooks
    assert isinstance(hook, NewRowsRate) and hook._stages == (RowsStage(RATE / own),)


def test_no_hook_where_the_rates_agree() -> None:
    model, rows = model_with_rows()
    assert extend_plan(plan_of(model, "full"), model, rows, 1e-3, optimizer="schedule_free_adamw").hooks == ()


def test_frozen_embeddings_get_a_group_with_a_mask() -> None:
    model, rows = model_with_rows()
    plan = plan_of(model, "partial", last_blocks=1)
    assert NAME not in plan.trained
    longer = extend_plan(plan, model, rows, RATE, optimizer="schedule_free_adamw")
    assert longer.groups == (*plan.groups, ParameterGroup(NEW_TOKENS, (NAME,), RATE))
    assert longer.hooks == ()
    mask = longer.masks[NAME]
    assert mask.dtype == torch.bool and mask.shape == (TOTAL, 16)
    assert mask.any(dim=1).nonzero().flatten().tolist() == list(range(FIRST, FIRST + COUNT))
    assert mask[FIRST].all()


def test_a_mask_on_the_embeddings_lets_the_new_rows_through() -> None:
    model, rows = model_with_rows()
    chosen = torch.zeros(TOTAL, 16, dtype=torch.bool)
    chosen[3, 4] = True
    plan = TrainingPlan((ParameterGroup("all", (NAME,), RATE),), masks={NAME: chosen})
    mask = extend_plan(plan, model, rows, RATE).masks[NAME]
    assert mask[3].sum() == 1 and mask.sum() == 1 + COUNT * 16
    assert chosen.sum() == 1


def test_stages_that_unfreeze_the_embeddings_last() -> None:
    model, rows = model_with_rows()
    plan = plan_of(model, "gradual", decay=0.5)
    stages = len(plan.stages)
    own = next(group for group in plan.groups if NAME in group.parameters)
    assert own.name not in plan.stages[0].groups and own.name in plan.stages[-1].groups
    longer = extend_plan(plan, model, rows, RATE)
    assert [NAME in longer.trained_in(stage) for stage in range(stages)] == [True] * stages
    others = [name for name in own.parameters if name != NAME]
    for stage in range(stages):
        assert [name in longer.trained_in(stage) for name in others] == [stage == stages - 1] * len(others)
        names = {name for name in plan.trained_in(stage) if name != NAME}
        assert names == longer.trained_in(stage) - {NAME}
    assert sum(NAME in group.parameters for group in longer.groups) == 1
    (group,) = (group for group in longer.groups if NAME in group.parameters)
    assert group == ParameterGroup(NEW_TOKENS, (NAME,), RATE)
    # In the last stage the matrix has its own rate again, and the new rows a multiple of it.
    assert longer.stages[-1].rates[NEW_TOKENS] == own.learning_rate and NEW_TOKENS not in longer.stages[0].rates
    (hook,) = longer.hooks
    assert isinstance(hook, NewRowsRate)
    assert hook._stages == (*[RowsStage(hold_old=True)] * (stages - 1), RowsStage(RATE / own.learning_rate))


def test_a_group_of_the_embeddings_alone_gives_way() -> None:
    model, rows = model_with_rows()
    groups = (ParameterGroup("head", ("classifier.weight",), 1e-3), ParameterGroup("embeddings", (NAME,), 1e-4))
    stages = (Stage("one", ("head",), 1), Stage("two", ("head", "embeddings"), rates={"embeddings": 5e-5}))
    longer = extend_plan(TrainingPlan(groups, stages=stages), model, rows, RATE)
    assert [group.name for group in longer.groups] == ["head", NEW_TOKENS]
    assert [stage.groups for stage in longer.stages] == [("head", NEW_TOKENS)] * 2
    assert longer.stages[1].rates[NEW_TOKENS] == 5e-5
    (hook,) = longer.hooks
    assert isinstance(hook, NewRowsRate) and hook._stages == (RowsStage(hold_old=True), RowsStage(RATE / 5e-5))


def test_stages_that_never_train_the_embeddings() -> None:
    model, rows = model_with_rows()
    plan = TrainingPlan(
        (ParameterGroup("head", ("classifier.weight",), 1e-3),),
        stages=(Stage("one", ("head",), 1), Stage("two", ("head",))),
    )
    longer = extend_plan(plan, model, rows, RATE)
    assert all(stage.groups == ("head", NEW_TOKENS) for stage in longer.stages)
    apply_plan(model, longer, 1)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", NAME}


def test_two_matrices_get_a_group_each() -> None:
    model, _ = model_with_rows()
    rows = rows_of(model.get_input_embeddings().weight, model.classifier.weight)
    longer = extend_plan(TrainingPlan(()), model, rows, RATE)
    names = [f"{NEW_TOKENS}: {NAME}", f"{NEW_TOKENS}: classifier.weight"]
    assert [group.name for group in longer.groups] == names and longer.masks.keys() == {NAME, "classifier.weight"}


@pytest.mark.parametrize("strategy", ["full", "gradual"])
def test_an_optimizer_that_averages_its_steps_is_refused(strategy: str) -> None:
    model, rows = model_with_rows()
    with pytest.raises(RecipeError, match=r"schedule_free_sgd averages its own steps[^\n]*\n.*optimizer\.name=sgd"):
        extend_plan(plan_of(model, strategy), model, rows, RATE, optimizer="schedule_free_sgd")


def test_the_loop_trains_new_rows_alone_where_the_rest_of_the_embeddings_is_frozen() -> None:
    model, rows = model_with_rows()
    examples = tiny_engine.make_examples(16)
    plan = extend_plan(plan_of(model, "partial"), model, rows, RATE)
    # Texts with new tokens, as the tiny tokenizer knows none: each word 11 becomes the first new one.
    examples.ids["input_ids"][examples.ids["input_ids"] == 11] = FIRST  # type: ignore[attr-defined]
    before = tiny_engine.weights_of(model)
    engine = tiny_engine.make_engine(model, examples, plan=plan)
    engine.hooks = (FrozenElements(model, plan.masks),)
    for _ in engine.steps():
        pass
    changed = {name for name, value in tiny_engine.weights_of(model).items() if not torch.equal(value, before[name])}
    head = {name for name in before if name.startswith(("classifier", "bert.pooler"))}
    assert changed == {NAME, *head}
    moved = (tiny_engine.weights_of(model)[NAME] != before[NAME]).any(dim=1)
    # Weight decay alone moves new rows that no text uses.
    assert moved.nonzero().flatten().tolist() == list(range(FIRST, FIRST + COUNT))
