"""An embedding that trains the rows in use alone computes, learns and is put together again like the whole table."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.models.token_rows import TokenRows, can_train_rows, train_rows, whole_tables

USED = torch.tensor([0, 3, 4, 9])


def make_pair(**options: Any) -> tuple[nn.Embedding, nn.Embedding]:
    """A plain embedding of 12 rows, and its copy that trains those of `USED`."""
    torch.manual_seed(0)
    plain = nn.Embedding(12, 5, **options)
    rows = copy.deepcopy(plain)
    train_rows(rows, USED)
    return plain, rows


def test_the_parameter_holds_the_rows_in_use() -> None:
    plain, rows = make_pair()

    assert type(rows) is TokenRows and isinstance(rows, nn.Embedding)
    assert torch.equal(rows.weight, plain.weight[USED])
    assert list(rows.state_dict()) == list(plain.state_dict()) == ["weight"]
    assert rows.num_embeddings == 12 and rows.embedding_dim == 5


@pytest.mark.parametrize("ids", [[[0, 3], [9, 9]], [[1, 3, 11]], [[2]], [[]], [5, 4]])
def test_any_token_has_the_embedding_of_the_whole_table(ids: list[Any]) -> None:
    plain, rows = make_pair()
    tokens = torch.tensor(ids, dtype=torch.long)

    assert torch.equal(rows(tokens), plain(tokens))
    with torch.no_grad():
        rows.weight += 1
    trained = torch.isin(tokens, USED).unsqueeze(-1)
    assert torch.equal(rows(tokens), torch.where(trained, plain(tokens) + 1, plain(tokens)))


@pytest.mark.parametrize("padding", [None, 0, 7])
@pytest.mark.parametrize("ids", [[[0, 3, 3], [9, 0, 4]], [[0, 1, 3], [7, 3, 11]]])
def test_gradients_of_the_rows_in_use_are_those_of_the_whole_table(ids: list[Any], padding: int | None) -> None:
    plain, rows = make_pair(padding_idx=padding)
    tokens = torch.tensor(ids)
    factors = torch.randn(*tokens.shape, 5)
    for module in (plain, rows):
        (module(tokens) * factors).sum().backward()

    assert plain.weight.grad is not None and rows.weight.grad is not None
    assert torch.equal(rows.weight.grad, plain.weight.grad[USED])
    assert padding != 0 or not rows.weight.grad[0].any()


def test_tokens_that_are_not_in_use_give_no_gradient() -> None:
    rows = make_pair()[1]
    rows(torch.tensor([1, 2, 11])).sum().backward()

    assert rows.weight.grad is not None and not rows.weight.grad.any()


def test_put_together_it_is_a_plain_embedding_with_the_trained_rows() -> None:
    plain, rows = make_pair(padding_idx=0)
    model = nn.ModuleDict({"words": rows, "positions": nn.Embedding(3, 5)})
    expected = plain.weight.detach().clone()
    expected[USED] += 2
    with torch.no_grad():
        rows.weight += 2

    assert whole_tables(model) == 1
    assert whole_tables(model) == 0
    assert model["words"] is rows and type(rows) is nn.Embedding and rows.padding_idx == 0
    assert torch.equal(rows.weight, expected) and isinstance(rows.weight, nn.Parameter) and rows.weight.requires_grad
    assert set(vars(rows)) == set(vars(plain))


def test_a_frozen_embedding_stays_frozen() -> None:
    module = nn.Embedding(12, 5).requires_grad_(False)
    train_rows(module, USED)
    assert not module.weight.requires_grad
    whole_tables(module)
    assert not module.weight.requires_grad


def test_conversion_and_copies_take_the_table_along() -> None:
    plain, rows = make_pair()
    tokens = torch.tensor([1, 3, 9])
    again = copy.deepcopy(rows)
    half = rows.to(torch.bfloat16)

    assert torch.equal(half(tokens), plain(tokens).to(torch.bfloat16))
    assert half._table.dtype == torch.bfloat16 and half._place.dtype == torch.long
    assert torch.equal(again(tokens), plain(tokens))
    whole_tables(half)
    assert half.weight.dtype == torch.bfloat16 and half.weight.shape == (12, 5)


def test_compiled_without_a_break() -> None:
    plain, rows = make_pair()
    tokens = torch.tensor([[1, 3], [9, 0]])

    assert torch.equal(torch.compile(rows, backend="eager", fullgraph=True)(tokens), plain(tokens))


def make_model() -> nn.Module:
    return tiny_engine.make_model()


def test_which_embeddings_can_do_it() -> None:
    model = make_model()
    assert can_train_rows(model, model.get_input_embeddings())
    tied = copy.deepcopy(model)
    tied.classifier = nn.Linear(16, 20, bias=False)
    tied.classifier.weight = tied.get_input_embeddings().weight
    assert not can_train_rows(tied, tied.get_input_embeddings())

    class Scaled(nn.Embedding):
        """Somebody's own."""

    for module in (Scaled(9, 2), nn.Embedding(9, 2, max_norm=1.0), nn.Embedding(9, 2, scale_grad_by_freq=True)):
        assert not can_train_rows(nn.ModuleList([module]), module)
    assert not can_train_rows(model, nn.Linear(2, 2))
    rows = make_pair()[1]
    assert not can_train_rows(rows, rows)
    t5 = tiny_architectures.make("t5")
    assert not can_train_rows(t5, t5.get_input_embeddings())


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "albert"])
def test_models_compute_the_same_and_learn_the_same(architecture: str) -> None:
    model = tiny_architectures.make(architecture).eval()
    inputs = tiny_architectures.inputs(architecture)
    other = copy.deepcopy(model)
    # Three of the tokens in the input are not in use.
    used = torch.tensor([0, 1, 5, 6, 8, 12])
    train_rows(other.get_input_embeddings(), used)
    found = [module(**inputs).logits for module in (model, other)]
    assert torch.equal(*found)
    for logits in found:
        logits.logsumexp(-1).sum().backward()

    gradients = [{name: p.grad for name, p in module.named_parameters()} for module in (model, other)]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None
            continue
        expected = gradient[used] if gradient.shape != gradients[1][name].shape else gradient
        assert torch.allclose(gradients[1][name], expected, atol=1e-7), name


def test_a_model_put_together_saves_as_before(tmp_path: Path) -> None:
    model = make_model()
    tiny.save_tiny(tmp_path / "before", model)
    train_rows(model.get_input_embeddings(), USED)
    whole_tables(model)
    tiny.save_tiny(tmp_path / "after", model)

    names = ("model.safetensors", "config.json")
    assert all((tmp_path / "before" / n).read_bytes() == (tmp_path / "after" / n).read_bytes() for n in names)
