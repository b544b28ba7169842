"""A NaN or an infinite value never reaches the weights, nor the record as 0.0."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import tiny
import tiny_engine
import torch

from trimtab.core.errors import NonFiniteError
from trimtab.training.engine import Engine
from trimtab.training.optimizers import optimizer_tensors
from trimtab.training.records import StepRecord

ROWS = 24
BATCH = 4


class Poison:
    """Makes the loss, or only its gradient, non-finite while it is active."""

    def __init__(self, engine: Engine, value: float, *, gradient_only: bool = False) -> None:
        self.value = value
        self.gradient_only = gradient_only
        self.active = True
        self._real = engine.objective.task.loss
        engine.objective.task.loss = self

    def __call__(self, outputs: object, batch: object) -> tuple[torch.Tensor, int]:
        loss, weight = self._real(outputs, batch)
        if not self.active:
            return loss, weight
        if not self.gradient_only:
            return loss + self.value, weight
        loss.register_hook(lambda gradient: gradient * self.value)
        return loss, weight


def make_engine(**training: object) -> Engine:
    recipe = tiny_engine.make_recipe(training={"num_epochs": 2, "batch_size": BATCH, **training})
    return tiny_engine.make_engine(tiny_engine.make_model(dropout=0.1), tiny_engine.make_examples(ROWS), recipe)


def take(records: Iterator[StepRecord], count: int) -> list[StepRecord]:
    return [next(records) for _ in range(count)]


@pytest.mark.parametrize(
    ("value", "gradient_only", "reason"),
    [
        (math.nan, False, "the loss is NaN"),
        (math.inf, False, "the loss is infinite"),
        (-math.inf, False, "the loss is infinite"),
        (math.nan, True, "the gradient is NaN"),
        # Infinities of both signs meet on the way back.
        (math.inf, True, "the gradient is"),
    ],
)
def test_a_poisoned_step_is_skipped_and_the_run_recovers(value: float, gradient_only: bool, reason: str) -> None:
    engine = make_engine()
    poison = Poison(engine, value, gradient_only=gradient_only)
    poison.active = False
    records = engine.steps()
    take(records, 2)
    weights, state = tiny_engine.weights_of(engine.model), copies(optimizer_tensors(engine.optimizer))

    poison.active = True
    (skipped,) = take(records, 1)

    assert tiny_engine.same_weights(tiny_engine.weights_of(engine.model), weights)
    assert tiny_engine.same_weights(optimizer_tensors(engine.optimizer), state)
    assert all(parameter.grad is None for parameter in engine.model.parameters())
    assert skipped.step == 3
    assert skipped.skipped is not None and skipped.skipped.startswith(reason)
    assert (skipped.loss is None) == (not gradient_only)
    assert skipped.grad_norm is None
    assert sorted(skipped.rows) == sorted(int(row) for batch in engine._plan(0)[2] for row in batch)
    event = skipped.to_event()
    assert event["skipped"] == skipped.skipped
    assert event["loss"] is None or gradient_only
    assert event["grad_norm"] is None

    poison.active = False
    (good,) = take(records, 1)

    assert good.skipped is None and good.loss is not None and math.isfinite(good.loss)
    assert "skipped" not in good.to_event() and "rows" not in good.to_event()
    assert engine.progress.nonfinite_in_row == 0
    assert not tiny_engine.same_weights(tiny_engine.weights_of(engine.model), weights)


def copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def test_nan_in_an_embedding_spoils_only_the_steps_that_use_it() -> None:
    """The way it happens in life: one row of the embeddings is damaged, and few rows of the data hold its word."""
    rows = [("the router", "network"), ("the refund", "billing")] * 8 + [("thanks router", "other")]
    recipe = tiny_engine.make_recipe(training={"num_epochs": 1, "batch_size": 1, "max_nonfinite_steps": 3})
    engine = tiny_engine.make_engine(tiny_engine.make_model(), tiny_engine.make_examples(rows), recipe)
    with torch.no_grad():
        engine.model.bert.embeddings.word_embeddings.weight[tiny.WORDS.index("thanks")] = math.nan

    records = list(engine.steps())

    assert [record.rows for record in records if record.skipped] == [(16,)]
    assert len(records) == 17
    weights = tiny_engine.weights_of(engine.model)
    damaged = weights.pop("bert.embeddings.word_embeddings.weight")
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    assert damaged.isnan().any(dim=1).sum() == 1


def test_several_in_a_row_stop_the_run_with_step_and_rows() -> None:
    engine = make_engine(max_nonfinite_steps=3)
    poison = Poison(engine, math.nan)
    poison.active = False
    records = engine.steps()
    told: list[tuple[int, ...]] = []

    def describe(rows: tuple[int, ...]) -> str:
        told.append(rows)
        return "texts.csv row 7"

    for record in take(records, 2):
        engine.check_finite(record, describe)
    poison.active = True
    for record in take(records, 2):
        engine.check_finite(record, describe)
    (third,) = take(records, 1)

    with pytest.raises(NonFiniteError) as caught:
        engine.check_finite(third, describe)

    assert told == [third.rows]
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith("Step 5: the loss is NaN")
    assert "texts.csv row 7" in caught.value.message
    assert "--learning-rate 0.001" in caught.value.remedy
    assert "training.precision=fp32" in caught.value.remedy


def test_a_good_step_between_resets_the_count() -> None:
    engine = make_engine(max_nonfinite_steps=2)
    poison = Poison(engine, math.inf)
    for record in engine.steps():
        engine.check_finite(record, lambda rows: "")
        poison.active = not poison.active

    assert engine.progress.step == engine.total_steps
