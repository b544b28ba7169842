"""Distillation from the frozen original: the distances, what is caught of a pass, and that it keeps the model."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_architectures
import tiny_engine
import tiny_forgetting
import torch
from torch import nn

from trimtab.config.forgetting import ForgettingSection
from trimtab.core.errors import RecipeError
from trimtab.data.batching import Batch
from trimtab.regularization.distillation import (
    DistillationObjective,
    backbone_of,
    catching,
    logit_distance,
    pooled,
    positions,
    representation_distance,
)
from trimtab.regularization.forgetting import ForgettingContext, wrap_objective
from trimtab.training.objective import Forward, TaskObjective

TARGETS = ("pooled", "tokens", "logits")


@pytest.fixture
def context(tmp_path: Path) -> ForgettingContext:
    return tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", "headless"), fresh_head=False)


def section(**fields: Any) -> ForgettingSection:
    return ForgettingSection.model_validate({"distillation": 2.0, **fields})


def wrapped(context: ForgettingContext, **fields: Any) -> DistillationObjective:
    objective = wrap_objective(section(**fields), TaskObjective(tiny_engine.make_task()), context)
    assert isinstance(objective, DistillationObjective)
    return objective


def batch_of(context: ForgettingContext, rows: int = 6) -> Batch:
    return context.examples.collate(np.arange(rows))


def shake(model: nn.Module, size: float = 0.3) -> None:
    """Move every weight at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=size)


def loss_of(objective: Any, context: ForgettingContext, batch: Batch) -> tuple[torch.Tensor, int]:
    return objective.loss(lambda inputs: context.model(**inputs), batch, 1)


def hidden_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    return model.base_model(**batch.inputs).last_hidden_state


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_added_while_the_model_is_the_original(context: ForgettingContext, target: str) -> None:
    batch = batch_of(context)
    plain, weight = loss_of(TaskObjective(tiny_engine.make_task()), context, batch)
    total, same = loss_of(wrapped(context, distillation_target=target), context, batch)

    assert weight == same == 6
    assert total.item() == pytest.approx(plain.item(), abs=1e-5)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
@pytest.mark.parametrize("target", ["pooled", "tokens"])
def test_the_distance_is_that_of_the_formula(context: ForgettingContext, target: str, distance: str) -> None:
    """Row by row, over the tokens that are no padding, in NumPy."""
    objective = wrapped(context, distillation_target=target, distillation_distance=distance)
    batch = batch_of(context)
    other = hidden_of(context.model, batch).detach().numpy()
    shake(context.model)
    mine = hidden_of(context.model, batch).detach().numpy()
    mask = batch.inputs["attention_mask"].numpy().astype(bool)
    assert not mask.all()

    def apart(one: np.ndarray, two: np.ndarray) -> float:
        if distance == "mse":
            return float(((one - two) ** 2).mean())
        return 1 - float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))

    rows = []
    for row in range(len(mask)):
        one, two = mine[row][mask[row]], other[row][mask[row]]
        if target == "pooled":
            one, two = one.mean(axis=0, keepdims=True), two.mean(axis=0, keepdims=True)
        rows.append(np.mean([apart(a, b) for a, b in zip(one, two, strict=True)]))

    plain, weight = loss_of(TaskObjective(tiny_engine.make_task()), context, batch)
    total, _ = loss_of(objective, context, batch)

    assert (total - plain).item() == pytest.approx(2.0 * weight * np.mean(rows), rel=1e-4)
    assert np.mean(rows) > 0.01


def test_divergence_of_logits_is_that_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, other = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)

    def probabilities(logits: torch.Tensor) -> np.ndarray:
        values = np.exp(logits.numpy().astype(np.float64) / 3)
        return values / values.sum(axis=1, keepdims=True)

    p, q = probabilities(other), probabilities(mine)
    expected = 9 * (p * np.log(p / q)).sum(axis=1)

    np.testing.assert_allclose(logit_distance(mine, other, 3.0).numpy(), expected, rtol=1e-4)


def test_the_gradient_of_the_divergence_is_that_of_the_cross_entropy() -> None:
    """Li & Hoiem take the cross-entropy at the temperature: the same gradient, but for the factor T²."""
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(5, 3, generator=generator, requires_grad=True)
    other = torch.randn(5, 3, generator=generator)
    cross_entropy = -((other / 2).softmax(dim=1) * (mine / 2).log_softmax(dim=1)).sum()

    expected = 4 * torch.autograd.grad(cross_entropy, mine)[0]
    found = torch.autograd.grad(logit_distance(mine, other, 2.0).sum(), mine)[0]

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_cutting_the_rows_in_pieces_changes_no_gradient(context: ForgettingContext, target: str) -> None:
    objective = wrapped(context, distillation_target=target)
    shake(context.model)
    found = []
    for pieces in ([np.arange(6)], [np.array([0]), np.array([1, 2]), np.array([3, 4, 5])]):
        context.model.zero_grad(set_to_none=True)
        for rows in pieces:
            loss_of(objective, context, context.examples.collate(rows))[0].backward()
        found.append([parameter.grad.clone() for parameter in context.model.parameters() if parameter.grad is not None])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_original_stays_as_it_was(context: ForgettingContext) -> None:
    objective = wrapped(context)
    before = tiny_engine.weights_of(objective.teacher)

    run = tiny_forgetting.Run(context)
    run.objective = objective
    run.steps(3)

    assert tiny_engine.same_weights(tiny_engine.weights_of(objective.teacher), before)
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())
    assert not objective.teacher.training
    assert context.model.training


def test_the_original_draws_nothing_at_random(tmp_path: Path) -> None:
    """Dropout of the model draws what it would draw without the original."""
    context = tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", "headless", dropout=0.3))
    batch, states = batch_of(context), []
    context.model.train()
    for objective in (TaskObjective(tiny_engine.make_task()), wrapped(context)):
        torch.manual_seed(0)
        loss_of(objective, context, batch)
        states.append(torch.get_rng_state())

    assert torch.equal(*states)


@pytest.mark.parametrize(("target", "kind"), [("pooled", "headless"), ("tokens", "causal"), ("logits", "masked")])
def test_it_keeps_the_model_near_the_original(tmp_path: Path, target: str, kind: str) -> None:
    folder = tiny_forgetting.save(tmp_path / "model", kind)
    drifts = {}
    for weight in (0.0, 20.0):
        context = tiny_forgetting.make_context(folder, fresh_head=False)
        before = tiny_forgetting.representations(context)
        batch = batch_of(context, 24)
        logits = context.model(**batch.inputs).logits.detach()
        run = tiny_forgetting.Run(context)
        if weight:
            run.objective = wrapped(context, distillation=weight, distillation_target=target)
        run.steps(30)
        drifts[weight] = tiny_forgetting.drift(context, before)
        if target == "logits":
            drifts[weight] = float(logit_distance(context.model(**batch.inputs).logits, logits, 1.0).mean().detach())

    assert drifts[20.0] < 0.3 * drifts[0.0]


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
@pytest.mark.parametrize("target", ["pooled", "tokens"])
def test_every_architecture_is_drawn_towards_its_original(architecture: str, target: str) -> None:
    model = tiny_architectures.make(architecture)
    teacher = copy.deepcopy(model)
    shake(model, 0.1)
    inputs = tiny_architectures.inputs(architecture)
    objective = DistillationObjective(
        TaskObjective(tiny_engine.make_task()), model, teacher, weight=1e6, target=target, distance="mse",
        temperature=2.0, device=tiny_forgetting.CPU, precision="fp32",
    )  # fmt: skip

    total, _ = objective.loss(lambda given: model(**given), Batch(inputs, torch.tensor([0, 1]), 2, 2), 1)
    total.backward()

    assert total > 100
    below = [parameter for parameter in backbone_of(model).parameters() if parameter.grad is not None]
    assert sum(float(parameter.grad.abs().sum()) for parameter in below) > 0


class TwoPasses:
    """An objective that passes the batch through the model twice, as R-Drop does."""

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        first, second = forward(batch.inputs).logits, forward(batch.inputs).logits
        return (first.square() + second.square()).sum() * 0, len(batch.labels)


def test_each_pass_of_the_inner_objective_is_compared_once(context: ForgettingContext) -> None:
    once, twice = wrapped(context), wrapped(context)
    twice.inner = TwoPasses()
    passes = []
    twice.teacher.register_forward_hook(lambda *_: passes.append(1))
    shake(context.model)
    batch = batch_of(context)

    plain, _ = loss_of(TaskObjective(tiny_engine.make_task()), context, batch)
    expected = loss_of(once, context, batch)[0] - plain

    torch.testing.assert_close(loss_of(twice, context, batch)[0], expected, rtol=1e-4, atol=1e-4)
    assert len(passes) == 1, "the original sees the same rows once"


def test_no_hook_is_left_behind(context: ForgettingContext) -> None:
    objective = wrapped(context)
    loss_of(objective, context, batch_of(context))

    assert not context.model.base_model._forward_hooks
    assert not objective.teacher.base_model._forward_hooks


def test_states_are_caught_through_a_wrapper(context: ForgettingContext) -> None:
    """As `DistributedDataParallel` does, the wrapper calls the bare model and returns what it likes."""

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            return self.module(**inputs).logits

    batch = batch_of(context)
    with catching(context.model) as caught:
        Wrapper(context.model)(**batch.inputs)

    torch.testing.assert_close(caught.hidden, hidden_of(context.model, batch))


def test_padding_does_not_count() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])

    assert torch.equal(pooled(hidden, mask), torch.tensor([[1.0, 2.0], [6.0, 7.0]]))
    left = torch.tensor([[0, 1, 1], [0, 0, 1]])
    assert torch.equal(pooled(hidden, left), torch.tensor([[3.0, 4.0], [10.0, 11.0]]))


def test_a_feature_map_is_averaged_over_its_places() -> None:
    hidden = torch.arange(16.0).reshape(1, 4, 2, 2)

    assert torch.equal(pooled(hidden, None), torch.tensor([[1.5, 5.5, 9.5, 13.5]]))
    states, weights = positions(hidden, None)
    assert states.shape == (1, 4, 4)
    assert torch.equal(weights, torch.full((1, 4), 0.25))


def test_prompts_before_the_tokens_are_left_out() -> None:
    hidden, mask = torch.randn(2, 5, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])

    torch.testing.assert_close(pooled(hidden, mask), pooled(hidden[:, 2:], mask))


def test_a_row_of_padding_alone_gives_zero_and_no_nan() -> None:
    distance = representation_distance(
        torch.randn(1, 3, 4), torch.randn(1, 3, 4), torch.zeros(1, 3), target="tokens", distance="mse"
    )

    assert distance.tolist() == [0.0]


def test_logits_of_a_new_head_are_refused(context: ForgettingContext) -> None:
    with pytest.raises(RecipeError, match="classifier"):
        wrapped(replace(context, fresh_head=True), distillation_target="logits")


def test_a_head_alone_has_nothing_to_keep(context: ForgettingContext) -> None:
    with pytest.raises(RecipeError, match=r"forgetting\.distillation has nothing to keep"):
        wrapped(replace(context, trained=frozenset(context.blocks.head.parameters)))


def test_off_leaves_the_objective_as_it_is(context: ForgettingContext) -> None:
    objective = TaskObjective(tiny_engine.make_task())

    assert wrap_objective(ForgettingSection(), objective, context) is objective


def test_precision_of_the_run_is_used_for_the_original(context: ForgettingContext) -> None:
    """In bf16 the original is computed in bf16 too: the distance of equal weights stays zero."""
    context = replace(context, precision="bf16")
    objective = wrapped(context)
    batch = batch_of(context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, _ = loss_of(TaskObjective(tiny_engine.make_task()), context, batch)

    def forward(inputs: dict[str, torch.Tensor]) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return context.model(**inputs)

    assert objective.loss(forward, batch, 1)[0].item() == pytest.approx(plain.item(), abs=1e-6)
