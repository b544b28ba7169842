"""Dropout with cheap random numbers: the right share, the right mean, one mask for both directions."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import tiny
import tiny_engine
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trimtab.models.blocks import map_blocks
from trimtab.models.lean_dropout import LeanDropout, lean_dropout
from trimtab.regularization.dropout import draws_dropout, set_dropout_by_depth

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def make(probability: float = 0.1) -> LeanDropout:
    layer = nn.Sequential(nn.Dropout(probability)).train()
    assert lean_dropout(layer) == 1
    assert isinstance(layer[0], LeanDropout)
    return layer[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probability", [0.1, 0.37, 0.9])
def test_share_and_mean_are_right(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 400_000
    found = make(probability)(torch.full((count,), 3.0, dtype=dtype)).double()

    kept = found[found != 0]
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(len(kept) / count - (1 - probability)) < 5 * deviation
    # Every kept value is 3 / (1 - p), rounded once to the type.
    expected = 3.0 * 65536 / (65536 - round(probability * 65536))
    assert kept.unique().tolist() == [torch.tensor(expected).to(dtype).item()]
    rounding = torch.finfo(dtype).eps / 2
    assert abs(found.mean().item() / 3.0 - 1) < rounding + 5 * (probability / (1 - probability) / count) ** 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_go_where_values_went(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(7, 5, 9, dtype=dtype).transpose(0, 1).requires_grad_()
    found = make(0.5)(inputs)
    found.sum().backward()

    assert found.shape == inputs.shape and found.dtype == dtype
    assert inputs.grad is not None and inputs.grad.dtype == dtype
    assert torch.equal(inputs.grad, torch.where(found != 0, 2.0, 0.0).to(dtype))
    assert torch.equal(found, (inputs * inputs.grad).detach())


def test_the_gradient_has_no_gradient_of_its_own() -> None:
    inputs = torch.ones(8, requires_grad=True)
    (first,) = torch.autograd.grad(make(0.5)(inputs).pow(2).sum(), inputs, create_graph=True)

    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_seed_gives_the_mask_and_calls_differ() -> None:
    layer, inputs = make(0.5), torch.ones(1000)
    torch.manual_seed(1)
    first, second = layer(inputs), layer(inputs)
    torch.manual_seed(1)
    again = layer(inputs)
    state = torch.get_rng_state()
    third = layer(inputs)
    torch.set_rng_state(state)

    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(layer(inputs), third)


def test_all_16_bits_are_random() -> None:
    """Neighbours come from one draw of 64 bits; none may depend on another."""
    torch.manual_seed(0)
    dropped = (make(0.5)(torch.ones(40_000, 4)) == 0).double()

    correlation = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlation.abs().max() < 0.03
    assert torch.allclose(dropped.mean(dim=0), torch.tensor(0.5).double(), atol=0.02)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 1023])
def test_any_number_of_elements(count: int) -> None:
    inputs = torch.ones(count, requires_grad=True)
    found = make(0.25)(inputs)
    found.sum().backward()

    assert found.shape == (count,)
    assert all(value in (0.0, pytest.approx(4 / 3)) for value in found.tolist())


def test_the_ends_and_evaluation_mode_are_those_of_torch() -> None:
    inputs = torch.randn(50)
    assert torch.equal(make(0.0)(inputs), inputs)
    assert torch.equal(make(1.0)(inputs), torch.zeros(50))
    layer = make(0.5)
    state = torch.get_rng_state()
    assert layer.eval()(inputs) is inputs
    assert torch.equal(torch.get_rng_state(), state)


def test_a_probability_set_later_counts() -> None:
    layer = make(0.1)
    layer.p = 0.8
    torch.manual_seed(0)

    assert abs((layer(torch.ones(50_000)) == 0).double().mean().item() - 0.8) < 0.01


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_draws_the_same_mask_again(reentrant: bool) -> None:
    layer = nn.Sequential(nn.Linear(6, 6), make(0.5), nn.Linear(6, 6))
    inputs = torch.randn(20, 6, requires_grad=True)
    torch.manual_seed(3)
    plain = torch.autograd.grad(layer(inputs).pow(2).sum(), [inputs, *layer.parameters()])
    torch.manual_seed(3)
    checkpoint(layer, inputs, use_reentrant=reentrant).pow(2).sum().backward()

    for gradient, tensor in zip(plain, [inputs, *layer.parameters()], strict=True):
        assert torch.equal(gradient, tensor.grad)


def test_compiled_it_is_torchs_own() -> None:
    layer = make(0.5)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.manual_seed(0)
    found = compiled(torch.ones(100))
    torch.manual_seed(0)

    assert torch.equal(found, nn.functional.dropout(torch.ones(100), 0.5))


class Own(nn.Dropout):
    """A dropout of somebody else's."""


def test_only_plain_dropout_changes_and_only_once(tmp_path: Path) -> None:
    model = nn.ModuleDict({"plain": nn.Dropout(0.3), "own": Own(0.3), "images": nn.Dropout2d(0.3)}).eval()

    assert lean_dropout(model) == 1
    assert lean_dropout(model) == 0
    assert type(model["plain"]) is LeanDropout and type(model["own"]) is Own and type(model["images"]) is nn.Dropout2d
    assert model["plain"].p == 0.3 and not model["plain"].training
    torch.save(model["plain"], tmp_path / "layer.pt")
    for again in (copy.deepcopy(model)["plain"], torch.load(tmp_path / "layer.pt", weights_only=False)):
        assert type(again) is LeanDropout and again.p == 0.3


def test_dropout_by_depth_sets_it_and_finds_it() -> None:
    model = tiny_engine.make_model(dropout=0.1)
    count = sum(type(module) is nn.Dropout for module in model.modules())
    names = frozenset(name for name, _ in model.named_parameters())

    assert lean_dropout(model) == count > 3
    set_dropout_by_depth(model, map_blocks(model), names, [0.4, 0.4])
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.4}
    assert draws_dropout(model, ())


def test_a_model_computes_the_same_in_evaluation_mode_and_saves_the_same(tmp_path: Path) -> None:
    model = tiny_engine.make_model(dropout=0.1)
    batch = tiny_engine.make_examples(6).collate(torch.arange(6).numpy())
    before = model(**batch.inputs).logits
    tiny.save_tiny(tmp_path / "before", model)
    lean_dropout(model)
    tiny.save_tiny(tmp_path / "after", model)

    assert torch.equal(model(**batch.inputs).logits, before)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()
