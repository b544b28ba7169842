"""One optimizer step's gradient is that of one big batch, however the rows pass through the model.

The reference is written out here with plain torch: all rows padded into one batch, the mean cross-entropy, `backward`.
"""

from __future__ import annotations

import numpy as np
import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.training.engine import Engine

# No batch size below divides this number of rows: the last batch of the step is smaller, and a mean of means is wrong.
ROWS = 13
TOLERANCE = 1e-6


@pytest.fixture
def model() -> nn.Module:
    return tiny_engine.make_model().double()


def gradients_of_step(model: nn.Module, **training: object) -> tuple[dict[str, torch.Tensor], Engine]:
    """The gradients that the optimizer sees in the first step, by parameter name."""
    recipe = tiny_engine.make_recipe(training={"max_grad_norm": None, **training})
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe)
    seen: dict[str, torch.Tensor] = {}

    def note() -> None:
        seen.update({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    engine.optimizer.step = note
    record = next(engine.steps())
    assert record.weight == ROWS
    return seen, engine


def gradients_of_one_batch(model: nn.Module) -> tuple[dict[str, torch.Tensor], float]:
    """Gradient and value of the mean loss over all rows in one batch."""
    batch = tiny_engine.make_examples(ROWS).collate(np.arange(ROWS))
    model.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found, loss.item()


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(13, 1), (7, 2), (4, 4)])
@pytest.mark.parametrize("budget", [8192, 60, 23, 1])
def test_gradient_is_that_of_one_big_batch(model: nn.Module, batch_size: int, accumulation: int, budget: int) -> None:
    expected, _ = gradients_of_one_batch(model)

    found, engine = gradients_of_step(
        model, batch_size=batch_size, gradient_accumulation_steps=accumulation, max_tokens_per_batch=budget
    )

    assert engine.total_steps == 1
    assert largest_difference(found, expected) < TOLERANCE


def test_pieces_and_padding_are_really_uneven() -> None:
    """What the test above stands on: ragged rows, several pieces of different sizes, padding in the reference."""
    examples = tiny_engine.make_examples(ROWS)
    reference = examples.collate(np.arange(ROWS))
    engine = tiny_engine.make_engine(
        tiny_engine.make_model(),
        examples,
        tiny_engine.make_recipe(training={"batch_size": 4, "max_tokens_per_batch": 23}),
    )
    batches = [batch for step in engine._plan(0) for batch in step]

    assert reference.tokens < reference.padded_tokens
    assert sorted(len(batch) for batch in batches) == [1, 4, 4, 4]


def test_mean_of_means_is_another_gradient(model: nn.Module) -> None:
    """Averaging the means of the batches, the common mistake, is told apart by these rows and this tolerance."""
    expected, _ = gradients_of_one_batch(model)
    _, engine = gradients_of_step(model, batch_size=4, gradient_accumulation_steps=4)
    examples = tiny_engine.make_examples(ROWS)
    batches = engine._plan(0)[0]
    for rows in batches:
        batch = examples.collate(rows)
        loss = nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels)
        (loss / len(batches)).backward()
    wrong = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    assert largest_difference(wrong, expected) > 1000 * TOLERANCE


@pytest.mark.parametrize("budget", [8192, 23])
def test_loss_and_norm_of_the_record_are_those_of_one_big_batch(model: nn.Module, budget: int) -> None:
    gradients, loss = gradients_of_one_batch(model)
    norm = float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())
    recipe = tiny_engine.make_recipe(
        training={"batch_size": 4, "gradient_accumulation_steps": 4, "max_tokens_per_batch": budget}
    )

    record = next(tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe).steps())

    assert record.loss == pytest.approx(loss, abs=TOLERANCE)
    assert record.grad_norm == pytest.approx(norm, abs=TOLERANCE)
    assert (record.pieces > 4) == (budget == 23)


def test_clipping_scales_the_whole_gradient_once(model: nn.Module) -> None:
    expected, _ = gradients_of_one_batch(model)
    norm = float(torch.cat([gradient.flatten() for gradient in expected.values()]).norm())
    limit = norm / 4

    found, _ = gradients_of_step(
        model, batch_size=4, gradient_accumulation_steps=4, max_tokens_per_batch=23, max_grad_norm=limit
    )

    clipped = {name: gradient * (limit / norm) for name, gradient in expected.items()}
    assert largest_difference(found, clipped) < TOLERANCE
