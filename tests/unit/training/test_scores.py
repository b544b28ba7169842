"""Scores of parameters: what they are of, on which rows, and that measuring them leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.core.errors import NonFiniteError, OutOfMemoryError, RecipeError
from trimtab.data.batching import Batch
from trimtab.strategies.base import ScoreRequest
from trimtab.tasks.base import Examples
from trimtab.training.objective import TaskObjective
from trimtab.training.scores import measure_scores, sample_rows

CPU = torch.device("cpu")
ROWS = 12
MEASURES = ("fisher", "gradient_weight", "movement")


@pytest.fixture
def examples() -> Examples:
    return tiny_engine.make_examples(ROWS)


def measure(
    model: nn.Module, examples: Examples, kind: Any, rows: int = ROWS, **fields: Any
) -> dict[str, torch.Tensor]:
    settings = {"device": CPU, "seed": 0, "token_budget": 8192, **fields}
    return measure_scores(model, tiny_engine.make_task(), examples, ScoreRequest(kind, rows, True), **settings)


def row_gradients(model: nn.Module, examples: Examples) -> list[dict[str, torch.Tensor]]:
    """Gradients of each row's loss, with plain torch."""
    found = []
    for row in range(len(examples)):
        batch = examples.collate(np.array([row]))
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels).backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    model.zero_grad(set_to_none=True)
    return found


def test_scores_are_those_of_single_rows(examples: Examples) -> None:
    model = tiny_engine.make_model()
    rows = row_gradients(model, examples)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    mean = {name: sum(row[name] for row in rows) / ROWS for name in weights}

    fisher, product, movement = (measure(model, examples, kind) for kind in MEASURES)

    assert fisher.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(fisher[name], sum(row[name].square() for row in rows) / ROWS)
        torch.testing.assert_close(movement[name], -mean[name] * weight)
        torch.testing.assert_close(product[name], (mean[name] * weight).abs())


@pytest.mark.parametrize("kind", MEASURES)
def test_the_token_budget_changes_no_score(examples: Examples, kind: str) -> None:
    model = tiny_engine.make_model()
    whole, pieces = measure(model, examples, kind), measure(model, examples, kind, token_budget=20)

    assert all(torch.allclose(whole[name], pieces[name], rtol=1e-4, atol=1e-8) for name in whole)


def test_dropout_is_off_and_precision_is_float32(examples: Examples) -> None:
    model = tiny_engine.make_model(dropout=0.5)
    plain = measure(model, examples, "fisher")
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = measure(model, examples, "fisher")

    assert all(torch.equal(plain[name], again[name]) and again[name].dtype == torch.float32 for name in plain)


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
@pytest.mark.parametrize("kind", MEASURES)
def test_measuring_leaves_no_trace(architecture: str, kind: str) -> None:
    model = tiny_architectures.make(architecture)
    model.train()
    next(iter(model.children())).eval()
    names = [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names[::2])
    parameters = dict(model.named_parameters())
    parameters[names[0]].grad = torch.full_like(parameters[names[0]], 3.0)
    weights = tiny_engine.weights_of(model)
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    random = torch.get_rng_state()

    scores = measure(model, _Fixed(architecture), kind, rows=2)

    assert scores.keys() == set(names), "frozen parameters have scores too"
    assert sum(float(score.abs().sum()) for score in scores.values()) > 0
    assert tiny_engine.same_weights(tiny_engine.weights_of(model), weights)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in parameters.values()] == [name in names[::2] for name in names]
    assert torch.equal(parameters[names[0]].grad, torch.full_like(parameters[names[0]], 3.0))
    assert all(parameters[name].grad is None for name in names[1:])
    assert torch.equal(torch.get_rng_state(), random)


class _Fixed(Examples):
    """The two inputs of an architecture."""

    def __init__(self, architecture: str) -> None:
        self.inputs = tiny_architectures.inputs(architecture)
        self.labels = np.array([0, 2])
        self.lengths = np.array([4, 4])

    def collate(self, rows: np.ndarray) -> Batch:
        index = torch.from_numpy(rows)
        inputs = {name: value[index] for name, value in self.inputs.items()}
        return Batch(inputs, torch.from_numpy(self.labels[rows]), 4 * len(rows), 4 * len(rows))


def test_what_was_changed_comes_back_after_an_error(examples: Examples) -> None:
    model = tiny_engine.make_model().train()
    model.classifier.weight.requires_grad_(False)

    class Fails:
        def loss(self, forward: Any, batch: Batch, step: int) -> Any:
            raise KeyError("no loss")

    with pytest.raises(KeyError):
        measure_scores(model, Fails(), examples, ScoreRequest("fisher", 2, True), device=CPU, seed=0, token_budget=9)

    assert model.training
    assert not model.classifier.weight.requires_grad


def test_a_task_and_its_objective_give_the_same(examples: Examples) -> None:
    model = tiny_engine.make_model()
    request = ScoreRequest("movement", ROWS, True)
    found = measure_scores(
        model, TaskObjective(tiny_engine.make_task()), examples, request, device=CPU, seed=0, token_budget=8192
    )

    expected = measure(model, examples, "movement")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("rows", [0, -1])
def test_an_empty_sample_is_refused(examples: Examples, rows: int) -> None:
    with pytest.raises(RecipeError, match="empty sample"):
        measure(tiny_engine.make_model(), examples, "fisher", rows=rows)


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(RecipeError, match="0 there"):
        measure(tiny_engine.make_model(), _Labelled(np.array([], dtype=np.int64)), "fisher")


def test_weights_that_are_not_finite_are_refused(examples: Examples) -> None:
    model = tiny_engine.make_model()
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("nan")

    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        measure(model, examples, "movement")


def test_a_lack_of_memory_halves_the_piece(examples: Examples) -> None:
    """Scores come out the same where no more than three rows fit, and a single row that does not fit is an error."""
    model = tiny_engine.make_model()

    class Small(TaskObjective):
        most = 3

        def loss(self, forward: Any, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
            if len(batch.labels) > self.most:
                raise RuntimeError("CUDA out of memory")
            return super().loss(forward, batch, step)

    loss = Small(tiny_engine.make_task())
    request = ScoreRequest("movement", ROWS, True)
    found = measure_scores(model, loss, examples, request, device=CPU, seed=0, token_budget=8192)
    expected = measure(model, examples, "movement")
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-8) for name in expected)

    loss.most = 0
    with pytest.raises(OutOfMemoryError, match="single row"):
        measure_scores(model, loss, examples, request, device=CPU, seed=0, token_budget=8192)


class _Labelled(Examples):
    """Rows of which only the labels matter."""

    def __init__(self, labels: np.ndarray | None, count: int = 0) -> None:
        self.labels = labels
        self.lengths = np.ones(count if labels is None else len(labels), dtype=np.int64)

    def collate(self, rows: np.ndarray) -> Batch:
        raise AssertionError("no row was asked for")


def test_the_sample_holds_each_class_in_proportion() -> None:
    labels = np.array([0] * 600 + [1] * 300 + [2] * 98 + [3] * 2)
    np.random.default_rng(0).shuffle(labels)

    rows = sample_rows(_Labelled(labels), 100, seed=1)

    assert len(set(rows.tolist())) == 100
    counts = np.bincount(labels[rows], minlength=4)
    assert np.abs(counts - np.array([60, 30, 10, 1])).max() <= 1
    assert counts[3] >= 1


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_there_while_there_is_room(seed: int) -> None:
    labels = np.array([0] * 1000 + [1, 2, 3])

    assert set(labels[sample_rows(_Labelled(labels), 4, seed=seed)]) == {0, 1, 2, 3}


def test_the_sample_is_the_same_for_a_seed_and_another_for_another() -> None:
    examples = _Labelled(np.arange(300) % 3)
    first = sample_rows(examples, 30, seed=0)

    assert np.array_equal(first, sample_rows(examples, 30, seed=0))
    assert not np.array_equal(first, sample_rows(examples, 30, seed=1))


@pytest.mark.parametrize("labels", [None, np.linspace(0, 1, 50)])
def test_rows_without_classes_are_drawn_from_all_alike(labels: np.ndarray | None) -> None:
    rows = sample_rows(_Labelled(labels, 50), 20, seed=0)

    assert len(set(rows.tolist())) == 20
    assert rows.max() > 25


def test_more_rows_than_there_are_give_all() -> None:
    assert np.array_equal(sample_rows(_Labelled(np.arange(7) % 2), 100, seed=0), np.arange(7))


def test_scores_tell_the_words_that_give_the_class_away() -> None:
    """Only words that occur have a Fisher information in the embedding table."""
    model = tiny_engine.make_model()
    scores = measure(
        model, tiny_engine.make_examples([("router broken", "network"), ("refund", "billing")]), "fisher", 2
    )

    table = scores["bert.embeddings.word_embeddings.weight"].sum(dim=1)
    seen = {tiny.WORDS.index(word) for word in ("router", "broken", "refund")}
    assert {int(row) for row in table.nonzero().flatten()} == seen
