"""Forecasts against byte counts made by hand, for a small stack of linear layers and for a tiny BERT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.config.recipe import OptimizerSection
from trimtab.data.batching import Batch
from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import ParameterGroup, Stage, TrainingPlan
from trimtab.strategies.full import Full, FullOptions
from trimtab.training.forecast import Forecast, forecast_memory, largest_pieces
from trimtab.training.objective import TaskObjective
from trimtab.training.optimizers import build_optimizer
from trimtab.training.pass_memory import PassSize, kept_bytes, measure_pass
from trimtab.training.state_bytes import optimizer_bytes, tensor_bytes, update_bytes

CPU = torch.device("cpu")


class Stack(nn.Module):
    """8 -> 16, tanh, 16 -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, values: torch.Tensor) -> Any:
        return type("Outputs", (), {"logits": self.head(torch.tanh(self.first(values)))})()


def batch_of(rows: int) -> Batch:
    return Batch({"values": torch.zeros(rows, 8)}, torch.zeros(rows, dtype=torch.long), rows, rows)


def objective() -> TaskObjective:
    return TaskObjective(tiny_engine.make_task())


def test_what_a_stack_keeps() -> None:
    kept, largest = measure_pass(Stack(), objective(), batch_of(10), "fp32")
    # tanh's output; log-softmax's output; the labels; the total weight of the cross-entropy, one number. The input and
    # the weights lie there anyway.
    assert kept == 10 * 16 * 4 + 10 * 3 * 4 + 10 * 8 + 4
    assert largest == 10 * (8 + 16) * 4


def test_what_is_frozen_keeps_nothing() -> None:
    model = Stack()
    model.first.requires_grad_(False)
    kept, _ = measure_pass(model, objective(), batch_of(10), "fp32")
    assert kept == 10 * 16 * 4 + 10 * 3 * 4 + 10 * 8 + 4  # the head's input is still needed
    model.requires_grad_(False)
    model.head.bias.requires_grad_(True)
    assert measure_pass(model, objective(), batch_of(10), "fp32")[0] == 10 * 3 * 4 + 10 * 8 + 4


def test_constant_linear_and_square_parts_are_told_apart() -> None:
    def kept(rows: int, length: int) -> int:
        return 5000 + 300 * rows * length + 7 * rows * length**2

    sizes = [PassSize(rows, length, kept(rows, length), 0) for rows, length in ((2, 40), (4, 40), (4, 20))]
    assert kept_bytes(sizes, 32, 128) == pytest.approx(kept(32, 128), rel=1e-5)
    same = [PassSize(rows, 40, kept(rows, 40), 0) for rows in (2, 4, 4)]
    assert kept_bytes(same, 32, 40) == pytest.approx(kept(32, 40), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "shape", "expected"),
    [
        ({"name": "adamw"}, (10, 20), 2 * 4 * 200),
        ({"name": "adam"}, (7,), 2 * 4 * 7),
        ({"name": "sgd", "momentum": 0.9}, (10, 20), 4 * 200),
        ({"name": "sgd", "momentum": 0.0}, (10, 20), 0),
        ({"name": "lion"}, (10, 20), 4 * 200),
        ({"name": "schedule_free_adamw"}, (10, 20), 2 * 4 * 200),
        ({"name": "schedule_free_sgd"}, (10, 20), 4 * 200),
        ({"name": "adafactor"}, (10, 20), 4 * (10 + 20)),
        ({"name": "adafactor"}, (6, 10, 20), 4 * (60 + 120)),
        ({"name": "adafactor"}, (7,), 4 * 7),
        ({"name": "adamw_8bit"}, (64, 64), 2 * (4096 + 4 * 16)),
        ({"name": "adamw_8bit"}, (7,), 2 * 4 * 7),
        ({"name": "lion_8bit"}, (64, 65), 4160 + 4 * 17),
    ],
)
def test_optimizer_state(options: dict[str, Any], shape: tuple[int, ...], expected: int) -> None:
    assert optimizer_bytes(OptimizerSection(**options), shape) == expected


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor"])
def test_optimizer_state_is_what_the_optimizer_then_has(name: str) -> None:
    model = tiny_engine.make_model()
    plan = Full(FullOptions()).plan(map_blocks(model), 1e-3)
    section = OptimizerSection(name=name)
    optimizer = build_optimizer(model, plan, section)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    )
    assert sum(optimizer_bytes(section, parameter.shape) for parameter in model.parameters()) == held


def test_the_update_of_a_fused_optimizer_takes_nothing() -> None:
    trained = [nn.Parameter(torch.zeros(10, 20)), nn.Parameter(torch.zeros(5))]
    assert update_bytes(OptimizerSection(name="adamw"), trained, CPU) == 0
    assert update_bytes(OptimizerSection(name="adafactor"), trained, CPU) == 2 * 800
    assert update_bytes(OptimizerSection(name="sgd"), trained, torch.device("cuda")) == 820


def test_tied_tensors_count_once() -> None:
    one = torch.zeros(4)
    assert tensor_bytes([one, one[:2], torch.zeros(2)]) == 16 + 8


def test_the_largest_piece_is_that_of_the_longest_rows() -> None:
    examples = tiny_engine.make_examples(40)
    longest = int(examples.lengths.max())
    recipe = tiny_engine.make_recipe(training={"batch_size": 40})
    pieces = largest_pieces(examples, recipe, examples)
    assert pieces.length == longest
    assert pieces.evaluation_tokens == int(examples.lengths.sum())
    recipe = tiny_engine.make_recipe(training={"batch_size": 8, "max_tokens_per_batch": 2 * longest})
    pieces = largest_pieces(examples, recipe, examples)
    assert pieces.several and pieces.rows * pieces.length <= 2 * longest
    assert pieces.evaluation_tokens == 2 * longest


def test_only_batches_of_the_run_count() -> None:
    rows = [("the " * 20 + "router", "network"), *[("router", "network")] * 63]
    examples = tiny_engine.make_examples(rows)
    lengths = {
        steps: largest_pieces(
            examples, tiny_engine.make_recipe(training={"batch_size": 1, "max_steps": steps}), None
        ).length
        for steps in (1, 64)
    }
    assert lengths == {1: 1, 64: 21}


def whole(model: nn.Module, plan: TrainingPlan, **training: Any) -> Forecast:
    examples = tiny_engine.make_examples(24)
    return forecast_memory(
        model,
        plan,
        objective(),
        examples,
        tiny_engine.make_recipe(training=training),
        set_modes=model.train,
        validation=examples,
        depth=2,
    )


def test_a_whole_forecast_and_no_trace_of_it() -> None:
    model = tiny_engine.make_model(dropout=0.1)
    before, state = tiny_engine.weights_of(model), torch.get_rng_state()
    plan = Full(FullOptions()).plan(map_blocks(model), 1e-3)
    found = whole(model, plan)
    elements = sum(parameter.numel() for parameter in model.parameters())
    assert found.gradients == 4 * elements
    assert found.optimizer == 8 * elements
    assert found.weights >= 4 * elements
    assert found.activations > 0 and found.temporary > 0 and found.evaluation > 0
    assert found.on_heap
    assert tiny_engine.same_weights(before, tiny_engine.weights_of(model))
    assert torch.equal(state, torch.get_rng_state())
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())


def test_the_forecast_of_activations_is_what_a_pass_keeps() -> None:
    model = tiny_engine.make_model()
    examples = tiny_engine.make_examples(24)
    plan = Full(FullOptions()).plan(map_blocks(model), 1e-3)
    found = whole(model, plan, batch_size=24, max_tokens_per_batch=8192)
    pieces = largest_pieces(examples, tiny_engine.make_recipe(training={"batch_size": 24}), None)
    nearest = np.argsort(-examples.lengths, kind="stable")[: pieces.rows]
    model.train()
    kept, _ = measure_pass(model, objective(), examples.collate(nearest), "fp32")
    assert found.activations == pytest.approx(kept, rel=0.1)  # padding adds a mask


def test_of_stages_the_one_that_trains_most_counts() -> None:
    model = tiny_engine.make_model()
    blocks = map_blocks(model)
    body = tuple(name for block in blocks.blocks[:-1] for name in block.parameters)
    groups = (ParameterGroup("head", blocks.head.parameters, 1e-3), ParameterGroup("body", body, 1e-3))
    plan = TrainingPlan(groups, stages=(Stage("head", ("head",), 1), Stage("all", ("head", "body"), None)))
    everything = whole(model, plan)
    head = whole(model, TrainingPlan(groups[:1]))
    assert everything.gradients == sum(4 * parameter.numel() for parameter in model.parameters())
    assert head.gradients < everything.gradients / 10
    assert head.activations < everything.activations / 10


def test_gradient_checkpointing_keeps_less() -> None:
    model = tiny_engine.make_model()
    plan = Full(FullOptions()).plan(map_blocks(model), 1e-3)
    plain = whole(model, plan)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    less = whole(model, plan, gradient_checkpointing=True)
    assert less.activations < plain.activations
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_the_peak_is_the_largest_moment() -> None:
    base = Forecast(
        baseline=1000,
        weights=100,
        optimizer=200,
        gradients=100,
        activations=400,
        temporary=40,
        update=0,
        evaluation=50,
        accumulates=False,
        on_heap=False,
    )
    assert base.peak == 1300 + 440
    assert replace(base, accumulates=True).peak == 1300 + 540
    assert replace(base, activations=0).peak == 1300 + 140
    assert replace(base, update=500).peak == 1300 + 600
    assert replace(base, evaluation=900).peak == 1300 + 900
    assert replace(base, on_heap=True).peak == 1300 + 550 + 100 + 50
    assert base.to_dict()["peak"] == base.peak
