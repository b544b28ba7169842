"""Parameter groups, their own rates, weight decay where it belongs, and nothing kept of what is frozen."""

from __future__ import annotations

import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import ParameterGroup, TrainingPlan, apply_plan
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.training.optimizers import build_optimizer, optimizer_tensors, set_rates


def two_groups(model: nn.Module) -> TrainingPlan:
    names = [name for name, _ in model.named_parameters()]
    head = tuple(name for name in names if name.startswith("classifier"))
    return TrainingPlan(
        (ParameterGroup("head", head, 1e-2), ParameterGroup("body", tuple(set(names) - set(head)), 1e-4))
    )


def test_no_decay_on_biases_norms_and_vectors() -> None:
    model = tiny_engine.make_model()
    optimizer = build_optimizer(model, two_groups(model), tiny_engine.make_recipe().optimizer)
    decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["parameter_names"]}

    assert set(decay) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name or parameter.ndim < 2
        assert decay[name] == (0.0 if plain else 0.01), name


def test_one_step_of_adamw_by_hand() -> None:
    """First step: the corrected moments are g and g², so that a weight moves by rate × g / (|g| + ε)."""
    model = tiny_engine.make_model()
    section = tiny_engine.make_recipe(optimizer={"learning_rate": 0.1, "weight_decay": 0.5}).optimizer
    plan = TrainingPlan((ParameterGroup("head", ("classifier.weight", "classifier.bias"), 0.1),))
    optimizer = build_optimizer(model, plan, section)
    weight, bias = model.classifier.weight, model.classifier.bias
    before = weight.detach().clone(), bias.detach().clone()
    weight.grad, bias.grad = torch.full_like(weight, 2.0), torch.full_like(bias, -3.0)

    optimizer.step()

    torch.testing.assert_close(weight.detach(), before[0] * (1 - 0.1 * 0.5) - 0.1)
    torch.testing.assert_close(bias.detach(), before[1] + 0.1)


def test_every_group_scales_its_own_base_rate() -> None:
    model = tiny_engine.make_model()
    optimizer = build_optimizer(model, two_groups(model), tiny_engine.make_recipe().optimizer)

    assert set_rates(optimizer, 0.5) == {"head": 5e-3, "body": 5e-5}
    assert set_rates(optimizer, 0.1) == pytest.approx({"head": 1e-3, "body": 1e-5})
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([1e-5, 1e-3])


def test_the_loop_follows_the_schedule_for_every_group() -> None:
    model = tiny_engine.make_model()
    recipe = tiny_engine.make_recipe(
        training={"num_epochs": 5, "batch_size": 8}, schedule={"name": "linear", "warmup_steps": 2}
    )
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(16), recipe, two_groups(model))

    records = list(engine.steps())

    factors = [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert [record.learning_rates["head"] for record in records] == pytest.approx([1e-2 * factor for factor in factors])
    assert [record.learning_rates["body"] for record in records] == pytest.approx([1e-4 * factor for factor in factors])
    assert [record.step for record in records] == list(range(1, 11))
    assert [record.epoch for record in records] == pytest.approx([step / 2 for step in range(1, 11)])


@pytest.mark.parametrize("options", [{}, {"last_blocks": 1}, {"patterns": ["*.LayerNorm.*"], "train_head": False}])
def test_what_is_frozen_stays_bit_for_bit_and_has_no_state(options: dict[str, object]) -> None:
    model = tiny_engine.make_model(dropout=0.1)
    plan = Partial(PartialOptions.model_validate(options)).plan(map_blocks(model), 1e-2)
    before = tiny_engine.weights_of(model)
    recipe = tiny_engine.make_recipe(training={"num_epochs": 2})
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(16), recipe, plan)
    seen: set[str] = set()
    step = engine.optimizer.step

    def note() -> None:
        seen.update(name for name, parameter in model.named_parameters() if parameter.grad is not None)
        step()

    engine.optimizer.step = note
    list(engine.steps())

    after = tiny_engine.weights_of(model)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == plan.trained
    assert seen == plan.trained
    assert {name.rpartition("/")[0] for name in optimizer_tensors(engine.optimizer)} == plan.trained


def test_apply_plan_can_thaw_again() -> None:
    model = tiny_engine.make_model()
    names = tuple(name for name, _ in model.named_parameters())
    apply_plan(model, TrainingPlan((ParameterGroup("head", names[-1:], 1.0),)))
    apply_plan(model, TrainingPlan((ParameterGroup("all", names, 1.0),)))

    assert all(parameter.requires_grad for parameter in model.parameters())
