"""Predictions in bfloat16: taken only where a sample gets the labels of float32, and with its labels for every row."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.metrics.classification import log_loss
from trimtab.tasks.base import Examples
from trimtab.training import faithful, inference
from trimtab.training.faithful import choose_precision
from trimtab.training.inference import Predictor


class Rounded(nn.Module):
    """A model whose logits are known for each row, and `error` off under autocast.

    The first token of a row is its number.
    """

    def __init__(self, logits: np.ndarray, error: np.ndarray) -> None:
        super().__init__()
        self.logits = torch.from_numpy(logits).float()
        self.error = torch.from_numpy(error).float()
        self.exact_rows: list[int] = []

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> Any:
        rows = input_ids[:, 0]
        if torch.is_autocast_enabled("cpu"):
            return SimpleNamespace(logits=self.logits[rows] + self.error[rows])
        self.exact_rows += rows.tolist()
        return SimpleNamespace(logits=self.logits[rows])


class Numbered(Examples):
    """Rows of one to nine tokens, the first of which is the row's number."""

    def __init__(self, rows: int) -> None:
        self.lengths = 1 + np.arange(rows) % 9
        self.labels = np.arange(rows) % 3

    def collate(self, rows: np.ndarray) -> Any:
        from trimtab.data.batching import Batch

        ids = torch.zeros((len(rows), int(self.lengths[rows].max())), dtype=torch.int64)
        ids[:, 0] = torch.from_numpy(rows)
        return Batch({"input_ids": ids}, torch.from_numpy(self.labels[rows]), int(ids.numel()), int(ids.numel()))


ROWS = 600


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithful, "computes_bf16", lambda device: True)


def make(error: float, *, spread: float = 4.0, seed: int = 0) -> tuple[Predictor, Rounded, Numbered]:
    rng = np.random.default_rng(seed)
    model = Rounded(rng.normal(size=(ROWS, 3)) * spread, rng.uniform(-error, error, size=(ROWS, 3)))
    return predictor_of(model), model, Numbered(ROWS)


def predictor_of(model: nn.Module) -> Predictor:
    return Predictor(model, tiny_engine.make_task(), torch.device("cpu"), "fp32", 64)


def test_labels_are_those_of_float32_and_few_rows_are_computed_twice() -> None:
    predictor, model, examples = make(0.03)
    # Ties that the rough arithmetic turns round, none of them in the sample.
    by_length = np.argsort(examples.lengths, kind="stable")
    sample = by_length[np.unique(np.linspace(0, ROWS - 1, 64).round().astype(int))]
    turned = np.setdiff1d(np.arange(ROWS), sample)[::20]
    model.logits[turned] = torch.tensor([2.0, 2.001, 0.0])
    model.error[turned] = torch.tensor([0.01, -0.01, 0.0])
    exact = predictor.predict(examples).scores
    choice = choose_precision(predictor, examples, "auto")
    assert choice.precision == "bf16" and choice.margin >= 0.02
    model.exact_rows.clear()

    rough = replace(choice.apply(predictor), margin=0.0).predict(examples).scores
    found = choice.apply(predictor).predict(examples).scores

    assert (rough.predicted[turned] != exact.predicted[turned]).all()
    np.testing.assert_array_equal(found.predicted, exact.predicted)
    assert set(turned) <= set(model.exact_rows)
    assert len(model.exact_rows) == len(set(model.exact_rows)) < ROWS / 3
    assert 0 < np.abs(found.probabilities - exact.probabilities).max() < 0.02
    assert "64 rows had the labels of float32" in choice.note


def test_the_margin_grows_where_rows_differ_more_than_the_sample() -> None:
    predictor, model, examples = make(0.0)
    near, next_to, clear = 1, 2, 3
    model.logits[[near, next_to, clear]] = torch.tensor([[1.0, 1.02, -9.0], [1.0, 1.12, -9.0], [5.0, 1.0, -9.0]])
    model.error[near] = torch.tensor([0.0, 0.06, 0.0])
    model.exact_rows.clear()

    replace(predictor, precision="bf16", margin=0.045).predict(examples)

    # The first row's probabilities were 0.015 off, so that rows up to 0.06 apart were computed again, too.
    assert {near, next_to} <= set(model.exact_rows)
    assert clear not in model.exact_rows


def test_what_does_not_repay_or_changes_labels_stays_in_float32() -> None:
    predictor, _, examples = make(0.01)
    assert choose_precision(predictor, Numbered(255), "auto").precision == "fp32"
    assert choose_precision(predictor, examples, "fp32").precision == "fp32"
    assert choose_precision(predictor, examples, "bf16") == faithful.Choice("bf16", 0.0, "as asked")
    off = choose_precision(make(0.5)[0], examples, "auto")
    assert off.precision == "fp32" and "bfloat16 changes" in off.reason and off.note == ""
    ties = choose_precision(make(0.0, spread=0.01)[0], examples, "auto")
    assert ties.precision == "fp32" and "too near to a tie" in ties.reason


def test_no_bf16_where_it_is_not_native_nor_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, _, examples = make(0.0)
    monkeypatch.setattr(type(predictor.task), "modality", "image")
    assert "texts only" in choose_precision(predictor, examples, "auto").reason
    monkeypatch.setattr(faithful, "computes_bf16", lambda device: False)
    assert "natively" in choose_precision(predictor, examples, "auto").reason


def test_a_real_model_keeps_its_labels() -> None:
    model, examples = tiny_engine.make_model(), tiny_engine.make_examples(300)
    with torch.no_grad():
        model.classifier.weight *= 40
    predictor = predictor_of(model)
    choice = choose_precision(predictor, examples, "auto")
    exact, found = predictor.predict(examples), choice.apply(predictor).predict(examples)
    np.testing.assert_array_equal(found.scores.predicted, exact.scores.predicted)


def test_predictions_are_reduced_as_they_come() -> None:
    predictor, _, examples = make(0.0, spread=1.0)
    whole = predictor.predict(examples)
    reduced = replace(predictor, keep_bytes=0).predict(examples)
    assert reduced.scores.probabilities is None
    np.testing.assert_array_equal(reduced.scores.true_probability, whole.scores.true_probability)
    assert whole.loss == pytest.approx(log_loss(examples.labels, whole.values), abs=1e-6) == reduced.loss
    with pytest.raises(inference.OutOfMemoryError, match="3 classes for 600 rows are not kept"):
        _ = reduced.values


def test_pieces_on_a_processor_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, _, examples = make(0.0)
    sizes: list[int] = []
    collate = examples.collate

    def noted(rows: np.ndarray) -> Any:
        batch = collate(rows)
        sizes.append(batch.padded_tokens)
        return batch

    monkeypatch.setattr(examples, "collate", noted)
    monkeypatch.setattr(inference, "TOKENS_PER_THREAD", 100)
    replace(predictor, token_budget=100_000).predict(examples)
    assert max(sizes) <= 100 * torch.get_num_threads()
