"""AdaLoRA's budget of ranks: schedule, importance, penalty, and that a resumed run goes on bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_adapters
import tiny_architectures
import tiny_engine
import torch
from peft.tuners.adalora.layer import RankAllocator
from pydantic import ValidationError
from torch import nn

from trimtab.strategies._rank_budget import BudgetSchedule, RankBudget, Triplets
from trimtab.strategies.base import TrainingPlan, apply_plan

OPTIONS = {"init_r": 4, "target_r": 2, "interval": 2, "warmup_share": 0.2, "final_share": 0.3}
STEPS = 10


def make(**options: Any) -> tuple[nn.Module, TrainingPlan, RankBudget]:
    strategy, model, blocks = tiny_adapters.adapt("adalora", "bert", **{**OPTIONS, **options})
    plan = strategy.plan(blocks, 1e-2)
    apply_plan(model, plan)
    (hook,) = plan.hooks
    assert isinstance(hook, RankBudget)
    return model, plan, hook


def loss_of(model: nn.Module) -> torch.Tensor:
    return nn.functional.cross_entropy(model(**tiny_architectures.inputs("bert")).logits, torch.tensor([0, 1]))


def train(model: nn.Module, hook: RankBudget, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        loss_of(model).backward()
        hook.after_backward(step)
        hook.before_update(step)
        optimizer.step()
        hook.after_update(step)
        optimizer.zero_grad()


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-2)


def test_the_budget_falls_with_the_cube_of_what_is_left() -> None:
    """Values of equation 12 of arXiv 2303.10512, by hand: 100 to 20 between the steps 10 and 90 of 100."""
    schedule = BudgetSchedule(initial=100, target=20, warmup_steps=10, final_steps=10, total_steps=100, interval=10)

    assert [schedule.budget(step) for step in (1, 10)] == [100, 100]
    assert schedule.budget(50) == 20 + 80 // 8
    assert schedule.budget(30) == int(20 + 80 * 0.75**3) == 53
    assert [schedule.budget(step) for step in (90, 91, 100)] == [20, 20, 20]
    assert [step for step in range(1, 101) if schedule.chooses(step)] == [20, 30, 40, 50, 60, 70, 80, 90]


def test_the_final_choice_is_made_between_the_intervals_too() -> None:
    schedule = BudgetSchedule(initial=8, target=4, warmup_steps=0, final_steps=0, total_steps=7, interval=5)

    assert [step for step in range(1, 8) if schedule.chooses(step)] == [5, 7]


def test_the_penalty_adds_its_gradient() -> None:
    model, _, hook = make(orthogonality=0.3)
    hook.begin(STEPS)
    matrices = [p for name, p in model.named_parameters() if "lora_A" in name or "lora_B" in name]
    norms = []
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            gram = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
            norms.append(torch.linalg.norm(gram - torch.eye(4)))
    penalty = torch.stack(norms).mean()
    expected = torch.autograd.grad(0.3 * penalty, matrices)
    for parameter in matrices[:-1]:
        parameter.grad = torch.ones_like(parameter)

    values = hook.after_backward(1)

    assert values["adalora_orthogonality"] == pytest.approx(penalty.item(), rel=1e-5)
    assert values["adalora_budget"] == 4 * 12
    for parameter, gradient in zip(matrices[:-1], expected, strict=False):
        torch.testing.assert_close(parameter.grad, gradient + 1)
    torch.testing.assert_close(matrices[-1].grad, expected[-1])


def test_importance_is_that_of_peft() -> None:
    """The same weights and gradients for both; peft's allocator is the reference of the paper's authors."""
    model, _, hook = make()
    hook.begin(STEPS)
    reference = RankAllocator(model, model.peft_config["default"], "default")
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 4):
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        reference.update_ipt(model)
        hook.before_update(step)

    hook._choose(30)
    kept = {f"{name}.lora_E.default": hook.tensors()[f"{name}.kept"].flatten().tolist() for name in hook.layers}
    assert kept == reference.mask_to_budget(model, 30)
    assert sum(map(sum, kept.values())) == 30


def test_the_run_ends_with_the_target_and_with_zeros_beside() -> None:
    model, _, hook = make()
    optimizer = make_optimizer(model)
    hook.begin(STEPS)
    target = 2 * len(hook.layers)
    train(model, hook, optimizer, range(1, 3))
    assert sum(hook.ranks().values()) == 2 * target, "the full rank while it warms up"

    train(model, hook, optimizer, range(3, 8))
    final = hook.ranks()
    assert sum(final.values()) == target
    assert len(set(final.values())) > 1, "some layers keep more than others"

    train(model, hook, optimizer, range(8, STEPS + 1))
    assert hook.ranks() == final


def test_a_resumed_run_goes_on_bit_for_bit() -> None:
    whole, _, whole_hook = make()
    whole_hook.begin(STEPS)
    train(whole, whole_hook, make_optimizer(whole), range(1, STEPS + 1))

    first, _, first_hook = make()
    first_hook.begin(STEPS)
    first_optimizer = make_optimizer(first)
    train(first, first_hook, first_optimizer, range(1, 6))
    second, _, second_hook = make()
    second.load_state_dict(first.state_dict())
    second_optimizer = make_optimizer(second)
    second_optimizer.load_state_dict(first_optimizer.state_dict())
    second_hook.load_tensors({name: tensor.clone() for name, tensor in first_hook.tensors().items()})
    second_hook.begin(STEPS)
    train(second, second_hook, second_optimizer, range(6, STEPS + 1))

    assert tiny_engine.same_weights(tiny_engine.weights_of(whole), tiny_engine.weights_of(second))
    assert all(torch.equal(tensor, second_hook.tensors()[name]) for name, tensor in whole_hook.tensors().items())


def test_a_missing_tensor_is_an_error() -> None:
    _, _, hook = make()
    hook.begin(STEPS)
    tensors = hook.tensors()
    tensors.popitem()

    with pytest.raises(KeyError):
        make()[2].load_tensors(tensors)


def test_a_parameter_without_gradient_counts_for_nothing() -> None:
    layer = Triplets(*(nn.Parameter(torch.randn(shape)) for shape in ((3, 2), (2, 1), (2, 5))))
    hook = RankBudget({"one": layer}, target_rank=1, warmup_share=0.0, final_share=0.0, interval=1, orthogonality=0.0)
    hook.begin(1)

    hook.before_update(1)
    hook.after_update(1)

    assert hook.ranks() == {"one": 1}


@pytest.mark.parametrize(
    "options", [{"target_r": 12}, {"init_r": 4, "target_r": 4}, {"warmup_share": 0.5, "final_share": 0.5}]
)
def test_budgets_that_cannot_be_kept_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"target_r|leave no part"):
        tiny_adapters.make_strategy("adalora", **{"init_r": 12, "target_r": 8, **options})
