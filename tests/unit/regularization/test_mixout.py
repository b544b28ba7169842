"""Mixout: its mean and mask, training mode only, and a model that stays what it was to everybody else."""

from __future__ import annotations

import copy

import pytest
import tiny_architectures
import tiny_engine
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from trimtab.regularization.mixout import add_mixout, linear_weights, mixed_weight, remove_mixout


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed_model(probability: float = 0.7, architecture: str = "bert") -> nn.Module:
    """A model whose every linear layer mixes, moved away from its start."""
    model = tiny_engine.make_model() if architecture == "bert" else tiny_architectures.make(architecture)
    add_mixout(model, list(linear_weights(model)), probability)
    draw = generator()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    return model


def test_mixture_is_the_formula_of_the_paper_with_one_draw_an_input() -> None:
    torch.manual_seed(0)
    weight, reference = torch.randn(6, 50), torch.randn(6, 50)
    p = 0.6

    found = mixed_weight(weight, reference, p, inputs=1)

    kept = ((weight - p * reference) / (1 - p) - found).abs().amax(dim=0) < 1e-5
    replaced = ((reference - p * reference) / (1 - p) - found).abs().amax(dim=0) < 1e-5
    assert bool((kept ^ replaced).all())
    assert 5 < int(kept.sum()) < 35


def test_conv1d_draws_along_its_own_input_axis() -> None:
    torch.manual_seed(0)
    weight, reference = torch.randn(50, 6), torch.randn(50, 6)

    found = mixed_weight(weight, reference, 0.6, inputs=0)

    same = (found - reference).abs() < 1e-6
    assert bool((same.all(dim=1) ^ ~same.any(dim=1)).all())
    assert 15 < int(same.all(dim=1).sum()) < 45


def test_mean_of_the_mixture_is_the_weight() -> None:
    torch.manual_seed(0)
    weight, reference = torch.randn(1, 1), torch.randn(1, 1)
    p, draws = 0.7, 20_000

    found = torch.stack([mixed_weight(weight, reference, p, 1) for _ in range(draws)]).flatten()

    # The variance of m/(1 − p) is p/(1 − p).
    deviation = float((weight - reference).abs()) * (p / (1 - p)) ** 0.5
    assert float(found.mean()) == pytest.approx(float(weight), abs=4 * deviation / draws**0.5)
    assert float(found.std()) == pytest.approx(deviation, rel=0.05)


def test_gradient_is_the_true_derivative() -> None:
    weight = torch.randn(3, 8, dtype=torch.float64, generator=generator()).requires_grad_()
    reference = torch.randn(3, 8, dtype=torch.float64, generator=generator(1))

    def mixed(value: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return mixed_weight(value, reference, 0.6, 1)

    assert torch.autograd.gradcheck(mixed, (weight,))


def test_with_the_reference_zero_it_is_dropout_of_the_inputs() -> None:
    layer = nn.Linear(50, 4)
    with torch.no_grad():
        layer.weight.zero_()
    model = nn.Sequential(layer)
    add_mixout(model, ["0"], 0.5)
    nn.init.normal_(layer.weight, generator=generator())
    inputs = torch.randn(3, 50, generator=generator(1))

    torch.manual_seed(9)
    found = model.train()(inputs)
    torch.manual_seed(9)
    kept = nn.functional.dropout(torch.ones(1, 50), 0.5)
    expected = nn.functional.linear(inputs * kept, layer.weight, layer.bias)

    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "vit"])
def test_evaluation_and_names_stay_as_they_were(architecture: str) -> None:
    plain = tiny_engine.make_model() if architecture == "bert" else tiny_architectures.make(architecture)
    mixed = copy.deepcopy(plain)
    inputs = tiny_architectures.inputs(architecture)

    add_mixout(mixed, list(linear_weights(mixed)), 0.7)

    assert len(linear_weights(mixed)) >= 4
    assert list(mixed.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in mixed.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert [name for name, _ in mixed.named_buffers()] == [name for name, _ in plain.named_buffers()]
    assert torch.equal(mixed.eval()(**inputs).logits, plain.eval()(**inputs).logits)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_training_mode_mixes_evaluation_mode_does_not(architecture: str) -> None:
    model = mixed_model(architecture=architecture)
    inputs = tiny_architectures.inputs(architecture)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0

    model.eval()
    quiet = model(**inputs).logits
    assert torch.equal(model(**inputs).logits, quiet)
    model.train()
    assert not torch.equal(model(**inputs).logits, quiet)


def test_gpt2_layers_are_found_and_shapes_stay() -> None:
    model = mixed_model(architecture="gpt2")
    names = [name for name, _ in linear_weights(model).items()]

    assert any(isinstance(model.get_submodule(name), Conv1D) for name in names)
    assert model.train()(**tiny_architectures.inputs("gpt2")).logits.shape == (2, 3)


def test_the_first_step_starts_at_the_pretrained_weights_exactly() -> None:
    model = tiny_engine.make_model()
    inputs = tiny_architectures.inputs("bert")
    expected = model.train()(**inputs).logits

    add_mixout(model, list(linear_weights(model)), 0.9)

    assert torch.equal(model(**inputs).logits, expected)


def test_draws_come_from_the_global_stream_so_that_a_resume_repeats_them() -> None:
    model = mixed_model().train()
    inputs = tiny_architectures.inputs("bert")
    state = torch.get_rng_state()

    first = model(**inputs).logits
    other = model(**inputs).logits
    torch.set_rng_state(state)

    assert torch.equal(model(**inputs).logits, first)
    assert not torch.equal(other, first)


def test_gradient_checkpointing_recomputes_with_the_same_mixture() -> None:
    inputs = tiny_architectures.inputs("bert")
    gradients = []
    for checkpointing in (False, True):
        model = mixed_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        torch.manual_seed(3)
        model(**inputs).logits.square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])

    assert len(gradients[0]) == len(gradients[1]) > 10
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))


def test_a_copy_mixes_with_its_own_reference() -> None:
    model = mixed_model()
    other = copy.deepcopy(model)
    inputs = tiny_architectures.inputs("bert")

    torch.manual_seed(1)
    first = model.train()(**inputs).logits
    torch.manual_seed(1)

    assert torch.equal(other.train()(**inputs).logits, first)


def test_removed_mixout_leaves_plain_layers() -> None:
    model = mixed_model()
    plain = {name: type(module) for name, module in tiny_engine.make_model().named_modules()}

    remove_mixout(model)

    assert {name: type(module) for name, module in model.named_modules()} == plain
    inputs = tiny_architectures.inputs("bert")
    assert torch.equal(model.train()(**inputs).logits, model.eval()(**inputs).logits)
    assert not any("_mixout" in key for module in model.modules() for key in vars(module))
