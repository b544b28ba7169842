"""Merged adapters against the adapters themselves, and against each method's formula computed by hand in float64.

The formulas: LoRA (arXiv 2106.09685) W + (alpha / r) B A; rsLoRA (2312.03732) W + (alpha / √r) B A; DoRA (2402.09353)
m · (W + (alpha / r) B A) / its length per output; PiSSA (2404.02948) residual + (alpha / r) B A; AdaLoRA (2303.10512)
W + (alpha / r) P Λ Q; IA³ (2205.05638) rows, or columns in the feed-forward part, times l; OFT (2306.07280) W R with
R = (I − Q)(I + Q)⁻¹; VeRA (2310.11454) W + diag(b) B diag(d) A.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_adapters
import torch
from torch import nn
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

NAME = "default"


@pytest.mark.parametrize(("method", "architecture"), tiny_adapters.PAIRS)
def test_the_merged_model_gives_the_outputs_of_the_adapters(method: str, architecture: str) -> None:
    strategy, model, blocks = tiny_adapters.adapt(method, architecture)
    before = tiny_adapters.logits(model, architecture)
    # Through the 50 layers of MobileNetV2, larger changes would grow beyond measure, and rounding errors with them.
    amount = 0.02 if architecture == "mobilenet_v2" else 0.1
    tiny_adapters.shake(model, strategy.plan(blocks, 1e-3), groups=("adapters",), amount=amount)
    with_adapters = tiny_adapters.logits(model, architecture)
    assert (with_adapters - before).abs().max() > 1e-2, "the adapters must matter, or the test shows nothing"

    merged = strategy.merged(model)

    assert merged is not None
    torch.testing.assert_close(tiny_adapters.logits(merged, architecture), with_adapters, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "architecture"), [pair for pair in tiny_adapters.PAIRS if pair[1] != "mobilenet_v2" or pair[0] == "lora"]
)
def test_the_merged_weights_are_those_of_the_formula(method: str, architecture: str) -> None:
    strategy, model, blocks = tiny_adapters.adapt(method, architecture)
    tiny_adapters.shake(model, strategy.plan(blocks, 1e-3))
    original = dict(tiny_adapters.make_model(architecture).named_parameters())

    merged = strategy.merged(model)

    assert merged is not None
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "base_layer")}
    assert layers
    for name, layer in layers.items():
        start = original[f"{name}.weight"]
        expected = FORMULAS[method](as_matrix(start), layer)
        torch.testing.assert_close(
            as_matrix(merged.get_submodule(name).weight),
            expected,
            rtol=1e-4,
            atol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )
        assert not torch.allclose(as_matrix(start), expected, atol=1e-3), name


def as_matrix(weight: torch.Tensor) -> torch.Tensor:
    """A weight as float64, `[outputs, everything else]`; a Conv1D's as it is stored, see `oriented`."""
    return weight.detach().double().flatten(1)


def oriented(update: torch.Tensor, layer: Any) -> torch.Tensor:
    """An update `[outputs, inputs]` in the orientation of the layer's weight."""
    return update.T if getattr(layer, "fan_in_fan_out", False) else update


def low_rank(layer: Any, scale: float) -> torch.Tensor:
    down = layer.lora_A[NAME].weight.detach().double().flatten(1)
    up = layer.lora_B[NAME].weight.detach().double().flatten(1)
    return scale * up @ down


def lora(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    return weight + oriented(low_rank(layer, 16 / 4), layer)


def rslora(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    return weight + oriented(low_rank(layer, 16 / math.sqrt(4)), layer)


def dora(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    direction = oriented(weight, layer) + low_rank(layer, 16 / 4)
    length = layer.lora_magnitude_vector[NAME].weight.detach().double().reshape(-1, 1)
    return oriented(length * direction / direction.norm(dim=1, keepdim=True), layer)


def pissa(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    residual = weight - left[:, :4] @ torch.diag(values[:4]) @ right[:4]
    return residual + oriented(low_rank(layer, 16 / 4), layer)


def adalora(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    left, values, right = (getattr(layer, part)[NAME].detach().double() for part in ("lora_B", "lora_E", "lora_A"))
    return weight + oriented(16 / 4 * left @ torch.diag(values.flatten()) @ right, layer)


def ia3(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    scale = layer.ia3_l[NAME].detach().double().flatten()
    matrix = oriented(weight, layer)
    return oriented(matrix * scale if layer.is_feedforward else scale[:, None] * matrix, layer)


def oft(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    rotation = layer.oft_R[NAME]
    size = rotation.block_size
    parts = []
    for entries in rotation.weight.detach().double():
        skew = torch.zeros(size, size, dtype=torch.float64)
        skew[tuple(torch.triu_indices(size, size, 1))] = entries
        skew = skew - skew.T
        identity = torch.eye(size, dtype=torch.float64)
        part = (identity - skew) @ torch.linalg.inv(identity + skew)
        torch.testing.assert_close(part @ part.T, identity)
        parts.append(part)
    # The inputs x are rotated as row vectors, x R, so that the weights become W Rᵀ.
    return weight @ torch.block_diag(*parts).T


def vera(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    down = layer.vera_A[NAME][:, : layer.in_features].double()
    up = layer.vera_B[NAME][: layer.out_features].double()
    inner, outer = (getattr(layer, f"vera_lambda_{side}")[NAME].detach().double() for side in "db")
    return weight + oriented(torch.diag(outer) @ up @ torch.diag(inner) @ down, layer)


FORMULAS = {function.__name__: function for function in (lora, rslora, dora, pissa, adalora, ia3, oft, vera)}


@pytest.mark.parametrize(("method", "architecture"), [("lora", a) for a in ("bert", "gpt2", "t5", "vit", "resnet")])
def test_the_merged_model_is_a_plain_one(method: str, architecture: str, tmp_path: Path) -> None:
    strategy, model, blocks = tiny_adapters.adapt(method, architecture)
    tiny_adapters.shake(model, strategy.plan(blocks, 1e-3))
    plain = tiny_adapters.make_model(architecture)
    names = list(model.state_dict())

    merged = strategy.merged(model)

    assert merged is not None
    assert type(merged) is type(plain)
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert not hasattr(merged, "peft_config")
    assert list(model.state_dict()) == names, "the model that was trained keeps its adapters"
    merged.save_pretrained(tmp_path)
    assert "adapter_config.json" not in {path.name for path in tmp_path.iterdir()}
    assert "peft" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    loaded = auto_class(architecture).from_pretrained(tmp_path).eval()
    assert torch.equal(tiny_adapters.logits(loaded, architecture), tiny_adapters.logits(merged, architecture))


def auto_class(architecture: str) -> Any:
    images = ("vit", "resnet", "mobilenet_v2")
    return AutoModelForImageClassification if architecture in images else AutoModelForSequenceClassification


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "vit"])
def test_pissa_begins_with_the_weights_as_they_were(architecture: str) -> None:
    strategy, model, _ = tiny_adapters.adapt("pissa", architecture)
    plain = tiny_adapters.make_model(architecture)
    merged = strategy.merged(model)

    assert merged is not None
    expected = plain.state_dict()
    changed = 0
    for name, tensor in merged.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5)
    for name, module in model.named_modules():
        if hasattr(module, "base_layer"):
            changed += not torch.allclose(module.base_layer.weight, expected[f"{name}.weight"], atol=1e-3)
    assert changed, "the frozen weights are the residuals"


def test_biases_that_train_beside_the_adapters_are_merged_too() -> None:
    strategy, model, blocks = tiny_adapters.adapt("lora", "bert", bias="all")
    plan = strategy.plan(blocks, 1e-3)
    tiny_adapters.shake(model, plan, groups=("adapters", "biases", "head"))

    merged = strategy.merged(model)

    assert isinstance(merged, nn.Module)
    torch.testing.assert_close(
        tiny_adapters.logits(merged, "bert"), tiny_adapters.logits(model, "bert"), rtol=0, atol=1e-4
    )
    original = dict(tiny_adapters.make_model("bert").named_parameters())
    moved = {n for n, p in merged.named_parameters() if n.endswith("bias") and not torch.equal(p, original[n])}
    assert moved == {name for name in original if name.endswith(".bias")}
