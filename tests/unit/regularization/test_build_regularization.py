"""From the recipe's section to hooks, objective and an edited model; combinations that cannot work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.config.regularization import RegularizationSection
from trimtab.core.errors import RecipeError
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.regularization.build import build_hooks, build_objective, check, edit_model
from trimtab.regularization.criteria import CriterionObjective
from trimtab.regularization.mixout import linear_weights
from trimtab.regularization.mixup import MixupObjective
from trimtab.regularization.rdrop import RDropObjective
from trimtab.strategies.base import ParameterGroup, TrainingPlan, apply_plan
from trimtab.strategies.full import Full, FullOptions
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.tasks.base import Task
from trimtab.training.objective import TaskObjective

TRAIN_LABELS = np.array([0, 0, 0, 1, 2, 2])


def section(**values: Any) -> RegularizationSection:
    return RegularizationSection.model_validate(values)


def recipe(**sections: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(sections)


class Model:
    """A tiny BERT with a plan."""

    def __init__(self, *, dropout: float = 0.1, last_blocks: int | None = None) -> None:
        self.model: nn.Module = tiny_engine.make_model(dropout=dropout)
        self.blocks: Blocks = map_blocks(self.model)
        strategy = (
            Full(FullOptions())
            if last_blocks is None
            else Partial(PartialOptions.model_validate({"last_blocks": last_blocks}))
        )
        self.plan: TrainingPlan = strategy.plan(self.blocks, 1e-3)
        self.head = self.blocks.head.parameters
        apply_plan(self.model, self.plan)

    def hooks(self, **values: Any) -> tuple[Any, ...]:
        return build_hooks(section(**values), self.model, self.plan, 0, self.head)

    def edit(self, **values: Any) -> tuple[str, ...]:
        return edit_model(section(**values), self.model, self.blocks, self.plan, self.head)

    def moved_by(self, **values: Any) -> set[str]:
        """Names of the parameters to whose gradient the hooks add something."""
        hooks = self.hooks(**values)
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        for _, parameter in trained:
            with torch.no_grad():
                parameter += 0.5
            parameter.grad = torch.zeros_like(parameter)
        for hook in hooks:
            hook.after_backward(1)
            hook.before_update(1)
        return {name for name, p in trained if p.grad is not None and bool((p.grad != 0).any())}


def test_nothing_asked_for_is_nothing_built() -> None:
    made = Model()
    plain = {name: type(module) for name, module in made.model.named_modules()}

    assert made.hooks() == ()
    assert made.edit() == ()
    assert {name: type(module) for name, module in made.model.named_modules()} == plain
    assert isinstance(build_objective(section(), tiny_engine.make_task(), TRAIN_LABELS, 0), TaskObjective)
    assert check(recipe(), tiny_engine.make_task()) == ()


@pytest.mark.parametrize("key", ["l1", "l2"])
def test_l1_and_l2_act_on_the_matrices_that_train(key: str) -> None:
    made = Model(last_blocks=1)

    moved = made.moved_by(**{key: 0.1})

    shapes = {name: p.ndim for name, p in made.model.named_parameters()}
    assert moved == {name for name in made.plan.trained if shapes[name] >= 2}


def test_l2_sp_acts_on_all_that_is_pretrained_and_on_the_matrices_of_the_head() -> None:
    made = Model(last_blocks=1)
    matrices = {name for name in made.head if dict(made.model.named_parameters())[name].ndim >= 2}

    assert made.moved_by(l2_sp=0.1) == made.plan.trained.difference(made.head)
    assert made.moved_by(l2_sp=0.1, l2_sp_head=0.01) == made.plan.trained.difference(made.head) | matrices


def test_noise_falls_on_all_that_trains_but_frozen_elements() -> None:
    made = Model(last_blocks=1)
    frozen = next(iter(made.head))
    shape = made.model.get_parameter(frozen).shape
    made.plan = TrainingPlan(made.plan.groups, masks={frozen: torch.zeros(shape, dtype=torch.bool)})

    assert made.moved_by(gradient_noise=0.1) == made.plan.trained - {frozen}


def test_hooks_have_names_of_their_own_in_order() -> None:
    names = [hook.name for hook in Model().hooks(l1=0.1, l2_sp=0.1, gradient_noise=0.1)]

    assert names == ["l1", "l2_sp", "gradient_noise"]


def test_mixout_takes_the_pretrained_linear_layers_that_train() -> None:
    made = Model(last_blocks=1)
    before = {name: type(module) for name, module in made.model.named_modules()}

    notes = made.edit(mixout=0.7)

    changed = {name for name, module in made.model.named_modules() if type(module) is not before[name]}
    assert changed == {name for name in linear_weights(made.model) if name.startswith("bert.encoder.layer.1")}
    assert notes == (f"Mixout mixes the weights of {len(changed)} linear layers.",)


def test_dropout_by_depth_is_set_and_told() -> None:
    made = Model()

    (note,) = made.edit(dropout_by_depth=[0.0, 0.3])

    assert note == "Dropout by depth: embeddings 0, block 0 0.1, block 1 0.2, head 0.3."
    assert made.model.dropout.p == 0.3


def test_objectives() -> None:
    task = tiny_engine.make_task()

    weighted = build_objective(section(class_weights="balanced"), task, TRAIN_LABELS, 0)
    r_drop = build_objective(section(r_drop=2.0, label_smoothing=0.1), task, TRAIN_LABELS, 0)
    mixup = build_objective(section(mixup=0.4, focal_gamma=2.0), task, TRAIN_LABELS, 5)

    assert isinstance(weighted, CriterionObjective) and weighted.criterion.weights is not None
    assert weighted.criterion.weights.tolist() == pytest.approx([2 / 3, 2.0, 1.0])
    assert isinstance(r_drop, RDropObjective)
    assert (r_drop.alpha, r_drop.criterion.label_smoothing) == (2.0, 0.1)
    assert isinstance(mixup, MixupObjective)
    assert (mixup.alpha, mixup.criterion.focal_gamma, mixup.seed) == (0.4, 2.0, 5)


def test_gradient_of_weighted_rows_is_the_same_in_pieces() -> None:
    """Divided by the rows, not by the weights of a piece."""
    model = tiny_engine.make_model()
    examples = tiny_engine.make_examples(9)
    objective = build_objective(
        section(class_weights={"billing": 5.0}, label_smoothing=0.1), tiny_engine.make_task(), examples.labels, 0
    )

    def gradient(pieces: list[np.ndarray]) -> torch.Tensor:
        model.zero_grad()
        count = 0
        for piece in pieces:
            loss, rows = objective.loss(lambda inputs: model(**inputs), examples.collate(piece), 1)
            loss.backward()
            count += rows
        return model.classifier.weight.grad / count

    whole, cut = gradient([np.arange(9)]), gradient([np.arange(4), np.arange(4, 9)])
    assert float(whole.abs().max()) > 1e-3
    assert torch.allclose(whole, cut, atol=1e-6)


def test_what_does_not_act_on_the_strategy_is_refused() -> None:
    head_only = Model(last_blocks=0)

    with pytest.raises(RecipeError, match=r"l2_sp: .* the strategy trains none"):
        head_only.hooks(l2_sp=0.1)
    with pytest.raises(RecipeError, match=r"mixout: .* the strategy trains none"):
        head_only.edit(mixout=0.5)
    biases = Model()
    biases.plan = TrainingPlan((ParameterGroup("biases", ("classifier.bias",), 1e-3),))
    for key in ("l1", "l2"):
        with pytest.raises(RecipeError, match=rf"{key}: it acts on weight matrices"):
            biases.hooks(**{key: 0.1})


def test_mixout_on_a_convolutional_net_is_refused() -> None:
    model = tiny_architectures.make("resnet")
    blocks = map_blocks(model)
    plan = Full(FullOptions()).plan(blocks, 1e-3)

    with pytest.raises(RecipeError, match="mixout"):
        edit_model(section(mixout=0.5), model, blocks, plan, blocks.head.parameters)


def test_head_penalty_without_a_new_head_is_refused() -> None:
    made = Model()
    made.head = ()

    with pytest.raises(RecipeError, match="l2_sp_head"):
        made.hooks(l2_sp=0.1, l2_sp_head=0.1)
    assert len(made.hooks(l2_sp=0.1)) == 1


def test_r_drop_needs_dropout_that_is_active() -> None:
    with pytest.raises(RecipeError, match=r"r_drop: .* no dropout is active"):
        Model(dropout=0.0).edit(r_drop=1.0)
    with pytest.raises(RecipeError, match="r_drop"):
        Model().edit(r_drop=1.0, dropout_by_depth=[0.0, 0.0])
    Model().edit(r_drop=1.0)
    Model(dropout=0.0).edit(r_drop=1.0, dropout_by_depth=[0.0, 0.1])


def test_check_tells_every_problem_at_once() -> None:
    bad = recipe(
        regularization={"class_weights": {"refnd": 2.0}, "mixup": 0.4, "dropout_by_depth": [0.1, 0.2]},
        training={"batch_size": 1},
        model={"dropout": 0.1},
    )

    with pytest.raises(RecipeError) as caught:
        check(bad, tiny_engine.make_task())
    assert len(caught.value.problems) == 3
    assert "no label 'refnd'" in caught.value.problems[0]
    assert "Labels: network, billing, other" in caught.value.problems[0]


@pytest.mark.parametrize(
    "values", [{"label_smoothing": 0.1}, {"class_weights": "sqrt"}, {"focal_gamma": 2}, {"r_drop": 1}, {"mixup": 1}]
)
def test_losses_of_classes_need_a_task_with_classes(values: dict[str, Any]) -> None:
    task = cast(Task, SimpleNamespace(name="ranking"))

    with pytest.raises(RecipeError) as caught:
        check(recipe(regularization=values), task)
    assert "needs a task with classes, and ranking has none" in str(caught.value)
    with pytest.raises(RecipeError, match="needs a task with classes"):
        build_objective(section(**values), task, None, 0)


@pytest.mark.parametrize("key", ["l2", "l2_sp"])
def test_notes_on_decay_beside_a_penalty(key: str) -> None:
    task = tiny_engine.make_task()

    (note,) = check(recipe(regularization={key: 0.1}, optimizer={"weight_decay": 0.01}), task)

    assert "weight_decay=0.01" in note
    assert check(recipe(regularization={key: 0.1}, optimizer={"weight_decay": 0.0}), task) == ()
