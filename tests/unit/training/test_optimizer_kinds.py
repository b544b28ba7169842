"""Every optimizer: it learns, its first steps are those of its paper, and its state comes back bit for bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny_engine
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.config.optimization import OPTIMIZER_OPTIONS
from trimtab.config.recipe import OptimizerSection
from trimtab.core.errors import MissingDependencyError, RecipeError
from trimtab.strategies.base import ParameterGroup, TrainingPlan
from trimtab.training.optimizers import (
    auto_rate_factor,
    build_optimizer,
    check_optimizer,
    load_optimizer_scalars,
    load_optimizer_tensors,
    optimizer_scalars,
    optimizer_tensors,
    parameters_without_state,
    set_rates,
    use_evaluation_weights,
    use_training_weights,
)

NAMES = get_args(OptimizerSection.model_fields["name"].annotation)
LIBRARIES = {"lion": "pytorch_optimizer", "8bit": "bitsandbytes", "schedule_free": "schedulefree"}
# With a first moment, Adafactor keeps one more; without momentum, SGD keeps nothing.
VARIANTS = [*((name, {}) for name in NAMES), ("adafactor", {"beta1": 0.9}), ("sgd", {"momentum": 0.0})]
SCHEDULE_FREE = ["schedule_free_adamw", "schedule_free_sgd"]


@pytest.fixture(autouse=True)
def _needs_its_library(request: pytest.FixtureRequest) -> None:
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name", "")
    for part, library in LIBRARIES.items():
        if name and part in name and not (part == "lion" and "8bit" in name):
            pytest.importorskip(library)


def section(name: str, **options: Any) -> OptimizerSection:
    return OptimizerSection(name=name, learning_rate=1e-3, **options)


class Net(nn.Module):
    """A matrix large enough for states of 8 bits, a small one, vectors, and a kernel of four dimensions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(64, 80)
        self.kernel = nn.Parameter(torch.randn(3, 2, 2, 2))
        self.head = nn.Linear(80, 3)


def plan_of(model: nn.Module) -> TrainingPlan:
    names = [name for name, _ in model.named_parameters()]
    head = tuple(name for name in names if name.startswith("head"))
    body = tuple(name for name in names if name not in head)
    return TrainingPlan((ParameterGroup("head", head, 1e-2), ParameterGroup("body", body, 1e-3)))


def take_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, first: int, count: int, frozen: tuple[str, ...] = ()
) -> None:
    """Steps with gradients drawn from the step's number, at rates that change; `frozen` are prefixes without any."""
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(step)
        for name, parameter in model.named_parameters():
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = None if name.startswith(frozen) else gradient
        set_rates(optimizer, 1.0 / step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def through_disk(optimizer: torch.optim.Optimizer, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    save_file(optimizer_tensors(optimizer), folder / "state.safetensors")
    return load_file(folder / "state.safetensors"), json.loads(json.dumps(optimizer_scalars(optimizer)))


def restored(
    model: nn.Module, name: str, options: dict[str, Any], tensors: dict[str, torch.Tensor], scalars: dict[str, Any]
) -> tuple[nn.Module, torch.optim.Optimizer, list[str]]:
    """A copy of the model with a new optimizer that took the state back."""
    other = Net()
    other.load_state_dict(model.state_dict())
    optimizer = build_optimizer(other, plan_of(other), section(name, **options))
    missing = load_optimizer_tensors(optimizer, tensors)
    load_optimizer_scalars(optimizer, scalars)
    return other, optimizer, missing


def same(one: nn.Module, other: nn.Module) -> bool:
    return tiny_engine.same_weights(tiny_engine.weights_of(one), tiny_engine.weights_of(other))


def test_every_name_of_the_recipe_has_options_and_a_rate() -> None:
    assert set(OPTIMIZER_OPTIONS) == set(NAMES)
    for name in NAMES:
        factor, reason = auto_rate_factor(name)
        assert factor > 0 and bool(reason) == (factor != 1)


@pytest.mark.parametrize("name", NAMES)
def test_it_lowers_the_loss(name: str) -> None:
    model = tiny_engine.make_model(hidden_size=64, intermediate_size=64)
    rate = {"sgd": 0.1, "schedule_free_sgd": 3.0, "lion": 1e-3, "lion_8bit": 1e-3}.get(name, 2e-3)
    recipe = tiny_engine.make_recipe(
        training={"num_epochs": 15, "batch_size": 12},
        optimizer={"name": name, "learning_rate": rate},
        schedule={"name": "constant"},
    )
    losses = [
        record.loss or float("nan")
        for record in tiny_engine.make_engine(model, tiny_engine.make_examples(24), recipe).steps()
    ]

    assert len(losses) == 30
    assert sum(losses[-4:]) < 0.85 * sum(losses[:4])


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_state_comes_back_bit_for_bit(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name, **options))
    # The body is frozen for the first steps, as in a strategy with stages.
    take_steps(model, optimizer, 1, 2, frozen=("body",))
    take_steps(model, optimizer, 3, 2)
    other, again, missing = restored(model, name, options, *through_disk(optimizer, tmp_path))

    assert missing == []
    assert optimizer_scalars(again) == optimizer_scalars(optimizer)
    for each, its_optimizer in ((model, optimizer), (other, again)):
        take_steps(each, its_optimizer, 5, 3)
    assert same(model, other)
    one, two = optimizer_tensors(optimizer), optimizer_tensors(again)
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_state_without_a_frozen_part_comes_back_too(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name, **options))
    take_steps(model, optimizer, 1, 2, frozen=("body",))
    without = parameters_without_state(optimizer)
    other, again, missing = restored(model, name, options, *through_disk(optimizer, tmp_path))

    if options.get("momentum") == 0:
        assert set(without) == {name for name, _ in model.named_parameters()} and missing == []
    else:
        assert sorted(without) == sorted(missing) == ["body.bias", "body.weight"]
    for each, its_optimizer in ((model, optimizer), (other, again)):
        take_steps(each, its_optimizer, 3, 3)
    assert same(model, other)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_state_is_reported(name: str, tmp_path: Path) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name))
    take_steps(model, optimizer, 1, 2)
    tensors, scalars = through_disk(optimizer, tmp_path)
    key = next(key for key, tensor in tensors.items() if key.startswith("body.weight/") and tensor.ndim)

    for damaged in (
        {other: tensor for other, tensor in tensors.items() if other != key},
        {**tensors, key: tensors[key][:-1]},
        {**tensors, key: tensors[key].to(torch.float64)},
        {**tensors, "body.weight/stranger": tensors[key].clone()},
    ):
        assert restored(model, name, {}, damaged, scalars)[2] == ["body.weight"]
    assert restored(model, name, {}, {}, scalars)[2] == [
        name for group in optimizer.param_groups for name in group["parameter_names"]
    ]


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_evaluation_weights_and_back_bit_for_bit(name: str) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name))
    take_steps(model, optimizer, 1, 3, frozen=("body",))
    training = tiny_engine.weights_of(model)
    state = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer).items()}

    use_training_weights(optimizer)  # they are there already
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), training)
    use_evaluation_weights(optimizer)
    averaged = tiny_engine.weights_of(model)
    use_evaluation_weights(optimizer)
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), averaged)
    moved = {key for key in training if not torch.equal(training[key], averaged[key])}
    assert moved == {"kernel", "head.weight", "head.bias"}

    use_training_weights(optimizer)
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), training)
    after = optimizer_tensors(optimizer)
    assert after.keys() == state.keys() and all(torch.equal(after[key], state[key]) for key in state)


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_a_checkpoint_with_the_averaged_weights_in_the_model(name: str, tmp_path: Path) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name))
    take_steps(model, optimizer, 1, 3)
    use_evaluation_weights(optimizer)
    tensors, scalars = through_disk(optimizer, tmp_path)
    other, again, missing = restored(model, name, {}, tensors, scalars)

    assert missing == []
    for each, its_optimizer in ((model, optimizer), (other, again)):
        use_training_weights(its_optimizer)
        take_steps(each, its_optimizer, 4, 2)
    assert same(model, other)
    del tensors["body.weight/y"]
    assert restored(model, name, {}, tensors, scalars)[2] == ["body.weight"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCHEDULE_FREE])
def test_other_optimizers_have_one_set_of_weights(name: str) -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section(name))
    take_steps(model, optimizer, 1, 2)
    before = tiny_engine.weights_of(model)
    use_evaluation_weights(optimizer)
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), before)
    use_training_weights(optimizer)
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), before)
    assert optimizer_scalars(optimizer) == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_group_that_is_unfrozen_late_starts_like_a_new_one(name: str) -> None:
    late, fresh = Net(), Net()
    optimizer = build_optimizer(late, plan_of(late), section(name))
    take_steps(late, optimizer, 1, 50, frozen=("body", "kernel"))
    late.load_state_dict(fresh.state_dict())
    take_steps(late, optimizer, 60, 1)
    take_steps(fresh, build_optimizer(fresh, plan_of(fresh), section(name)), 60, 1)

    assert torch.equal(late.body.weight, fresh.body.weight)
    assert not torch.equal(late.body.weight, Net().body.weight)


def one_weight(name: str, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    """One matrix of one weight, 1.0 in float64, with a rate of 0.1."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    plan = TrainingPlan((ParameterGroup("all", ("weight",), 0.1),))
    return model, build_optimizer(model, plan, section(name, **options))


def follow(model: Any, optimizer: torch.optim.Optimizer, gradients: list[float]) -> list[float]:
    found = []
    for gradient in gradients:
        model.weight.grad = torch.full_like(model.weight, gradient)
        optimizer.step()
        found.append(float(model.weight.detach()))
    return found


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(nesterov: bool) -> None:
    """b ← 0.9 b + g; the weight moves by rate × b, with Nesterov by rate × (g + 0.9 b)."""
    found = follow(*one_weight("sgd", nesterov=nesterov), [1.0, 2.0])
    second = 0.9 * 1.0 + 2.0
    moves = [0.1 * (1.0 + 0.9 * 1.0), 0.1 * (2.0 + 0.9 * second)] if nesterov else [0.1, 0.1 * second]
    assert found == pytest.approx([1 - moves[0], 1 - moves[0] - moves[1]], abs=1e-12)


def test_adam_has_no_decay() -> None:
    assert follow(*one_weight("adam"), [3.0]) == pytest.approx([0.9], abs=1e-8)
    assert follow(*one_weight("adamw", weight_decay=0.5), [3.0]) == pytest.approx([0.9 - 0.05], abs=1e-8)


@pytest.mark.parametrize("name", ["lion"])
def test_lion_by_hand(name: str) -> None:
    """c = 0.9 m + 0.1 g; w ← w - rate (sign c + decay w); m ← 0.99 m + 0.01 g (algorithm 2 of the paper)."""
    model, optimizer = one_weight(name, weight_decay=0.5)
    found = follow(model, optimizer, [2.0, -0.1, -3.0])
    # m = 0.02, then c = 0.018 - 0.01 is still positive, m = 0.0188, then c is negative.
    first = 1 - 0.1 * (1 + 0.5)
    second = first - 0.1 * (1 + 0.5 * first)
    third = second - 0.1 * (-1 + 0.5 * second)
    assert found == pytest.approx([first, second, third], abs=1e-12)
    momentum = 0.99 * (0.99 * 0.02 - 0.001) - 0.03
    assert float(optimizer_tensors(optimizer)["weight/exp_avg"]) == pytest.approx(momentum, abs=1e-12)


def test_adafactor_takes_the_rate_of_the_schedule() -> None:
    """The first step divides a gradient by its own size, so that the weight moves by the rate, whatever its size."""
    model, optimizer = one_weight("adafactor", weight_decay=0.0)
    set_rates(optimizer, 0.5)
    assert follow(model, optimizer, [7.0]) == pytest.approx([1 - 0.05], abs=1e-9)
    # Second step: v = b·49 + (1 - b)·9 with b = 1 - 2^-0.8.
    share = 1 - 2**-0.8
    variance = share * 49 + (1 - share) * 9
    assert follow(model, optimizer, [3.0]) == pytest.approx([0.95 - 0.05 * 3 / variance**0.5], abs=1e-9)


@pytest.mark.parametrize("name", ["schedule_free_sgd"])
def test_schedule_free_by_hand(name: str) -> None:
    """z ← z - γ g(y); x ← (1 - c) x + c z with c = γ² / Σ γ²; y = 0.1 z + 0.9 x (Defazio et al. 2024)."""
    model, optimizer = one_weight(name)
    z = x = 1.0
    total = 0.0
    for factor, gradient in ((0.5, 1.0), (1.0, -2.0), (1.0, 3.0)):
        rate = 0.1 * factor
        set_rates(optimizer, factor)
        (found,) = follow(model, optimizer, [gradient])
        z -= rate * gradient
        total += rate**2
        x += rate**2 / total * (z - x)
        assert found == pytest.approx(0.1 * z + 0.9 * x, abs=1e-12)
    use_evaluation_weights(optimizer)
    assert model.weight.item() == pytest.approx(x, abs=1e-12)


@pytest.mark.parametrize("name", ["adamw_8bit", "lion_8bit"])
def test_states_of_8_bits_are_small_and_near_those_of_32(name: str) -> None:
    model, twin = Net(), Net()
    optimizer = build_optimizer(model, plan_of(model), section(name))
    wide = build_optimizer(twin, plan_of(twin), section(name.removesuffix("_8bit")))
    for step in range(1, 6):
        take_steps(model, optimizer, step, 1)
        take_steps(twin, wide, step, 1)

    kept = optimizer_tensors(optimizer)
    assert kept["body.weight/state1"].dtype == torch.uint8
    assert kept["head.weight/state1"].dtype == torch.float32
    assert not any("qmap" in key for key in kept)
    moved = twin.body.weight - Net().body.weight
    difference = (model.body.weight - twin.body.weight).norm() / moved.norm()
    assert 0 < difference < 0.2


def test_rates_of_a_stage_take_the_place_of_the_groups_own() -> None:
    model = Net()
    optimizer = build_optimizer(model, plan_of(model), section("sgd"))

    assert set_rates(optimizer, 0.5, {"body": 4.0}) == {"head": 5e-3, "body": 2.0}
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "head": 5e-3,
        "head (no decay)": 5e-3,
        "body": 2.0,
        "body (no decay)": 2.0,
    }
    assert set_rates(optimizer, 0.5) == {"head": 5e-3, "body": 5e-4}
    with pytest.raises(ValueError, match="does not have: tail"):
        set_rates(optimizer, 1.0, {"tail": 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sgd", "beta1": 0.8}, "beta1: not an option of the optimizer 'sgd'; its options: momentum, nesterov"),
        ({"name": "adamw", "momentum": 0.9}, "its options: beta1, beta2, epsilon, weight_decay"),
        ({"name": "adam", "weight_decay": 0.1}, "take adamw, or regularization.l2"),
        ({"name": "lion", "epsilon": 1e-8}, "epsilon: not an option of the optimizer 'lion'"),
        ({"name": "adamw", "nesterov": False, "momentum": 0.5}, "momentum and nesterov: not an option"),
        ({"name": "sgd", "momentum": 0.0, "nesterov": True}, "nesterov needs a momentum above 0"),
        ({"name": "schedule_free_adamw", "beta1": 0.0}, "beta1 of schedule_free_adamw must be above 0"),
        ({"name": "schedule_free_sgd", "momentum": 0.0}, "momentum of schedule_free_sgd must be above 0"),
    ],
)
def test_options_of_another_optimizer_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerSection(**options)


def test_what_is_not_given_is_the_optimizers_own_default() -> None:
    assert section("lion").setting("beta2") == 0.99
    assert section("adamw").setting("beta2") == 0.999
    assert section("adamw", weight_decay=0.0).setting("weight_decay") == 0.0
    assert section("sgd").setting("weight_decay") == 0.0
    with pytest.raises(KeyError):
        section("sgd").setting("beta1")


@pytest.mark.parametrize("name", ["adamw_8bit", "lion_8bit"])
def test_8_bits_are_refused_where_there_are_no_kernels(name: str) -> None:
    check_optimizer(section(name), torch.device("cpu"))
    with pytest.raises(RecipeError, match=f"{name} does not run on 'mps', only on cpu and cuda"):
        check_optimizer(section(name), torch.device("mps"))


@pytest.mark.parametrize(
    ("wanted", "extra"),
    [("lion", "optimizers"), ("schedule_free_sgd", "optimizers"), ("adamw_8bit", "optimizers-8bit")],
)
def test_a_missing_library_is_named_with_its_extra(wanted: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'trimtab\[{extra}\]'"):
        check_optimizer(section(wanted), torch.device("cpu"))
    check_optimizer(section("adafactor"), torch.device("cpu"))


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_averaging_is_refused_over_a_batch_norm_that_trains(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    everything = tuple(parameter for parameter, _ in model.named_parameters())
    with pytest.raises(RecipeError, match="running statistics of the batch norm '1'"):
        build_optimizer(model, TrainingPlan((ParameterGroup("all", everything, 0.1),)), section(name))
    assert build_optimizer(model, TrainingPlan((ParameterGroup("some", ("0.weight",), 0.1),)), section(name))
