"""Adapters in layers: which layers get them, what trains, and that a saved adapter comes back with its head."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import tiny_adapters
import tiny_architectures
import tiny_engine
import torch
import transformers as hf
from pydantic import ValidationError
from torch import nn

from trimtab.core.errors import MissingDependencyError, RecipeError
from trimtab.models.adapter_targets import find_layers
from trimtab.models.blocks import map_blocks
from trimtab.strategies._adapters import AdapterStrategy, load_adapter
from trimtab.strategies.base import apply_plan, frozen_modules, train_mode

RATE = 1e-3
SMALL = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}
# Architectures that `tiny_architectures` has not, for the layers that are found in them.
OTHERS: dict[str, Any] = {
    "roberta": hf.RobertaConfig(**SMALL),
    "electra": hf.ElectraConfig(**SMALL, embedding_size=8),
    "distilbert": hf.DistilBertConfig(vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "deberta": hf.DebertaConfig(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "deberta-v2": hf.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "modernbert": hf.ModernBertConfig(**SMALL),
    "mpnet": hf.MPNetConfig(**SMALL),
    "llama": hf.LlamaConfig(**SMALL, num_key_value_heads=2),
    "qwen2": hf.Qwen2Config(**SMALL, num_key_value_heads=2),
    "convnext": hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
}
BERT_LAYERS = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]


def build(name: str) -> nn.Module:
    if name not in OTHERS:
        return tiny_architectures.make(name)
    torch.manual_seed(0)
    kind = hf.AutoModelForImageClassification if name == "convnext" else hf.AutoModelForSequenceClassification
    model: nn.Module = kind.from_config(OTHERS[name])
    return model


def adapted_layers(method: str, architecture: str, **options: Any) -> list[str]:
    """Names of the layers that got adapters, below their blocks, each once."""
    strategy = tiny_adapters.make_strategy(method, **options)
    model = build(architecture)
    blocks = map_blocks(model)
    shorts = {layer.name: layer.short for layer in find_layers(model, blocks)}
    model, _ = strategy.adapt(model, blocks)
    return list(dict.fromkeys(shorts[name] for name, module in model.named_modules() if hasattr(module, "base_layer")))


@pytest.mark.parametrize(
    ("architecture", "attention", "others"),
    [
        ("bert", BERT_LAYERS, ["intermediate.dense", "output.dense"]),
        ("electra", BERT_LAYERS, ["intermediate.dense", "output.dense"]),
        ("gpt2", ["attn.c_attn", "attn.c_proj"], ["mlp.c_fc", "mlp.c_proj"]),
        ("distilbert", [f"attention.{part}_lin" for part in ("q", "k", "v", "out")], ["ffn.lin1", "ffn.lin2"]),
        ("modernbert", ["attn.Wqkv", "attn.Wo"], ["mlp.Wi", "mlp.Wo"]),
        ("mpnet", [f"attention.attn.{part}" for part in "qkvo"], ["intermediate.dense", "output.dense"]),
        (
            "llama",
            [f"self_attn.{part}_proj" for part in "qkvo"],
            [f"mlp.{part}_proj" for part in ("gate", "up", "down")],
        ),
        ("vit", [f"attention.{part}_proj" for part in "qkvo"], ["mlp.fc1", "mlp.fc2"]),
    ],
)
def test_all_layers_of_the_blocks_or_those_of_attention(
    architecture: str, attention: list[str], others: list[str]
) -> None:
    assert adapted_layers("lora", architecture) == attention + others
    assert adapted_layers("lora", architecture, targets=["attention"]) == attention


def test_encoder_and_decoder_are_adapted_and_the_decoder_counts_as_the_last() -> None:
    every = adapted_layers("lora", "t5")
    assert every == [
        *(f"SelfAttention.{part}" for part in "qkvo"),
        "DenseReluDense.wi",
        "DenseReluDense.wo",
        *(f"EncDecAttention.{part}" for part in "qkvo"),
    ]

    _, model, _ = tiny_adapters.adapt("lora", "t5", last_blocks=1)
    names = [name for name, module in model.named_modules() if hasattr(module, "base_layer")]
    assert names and all(name.startswith("transformer.decoder.block.1.") for name in names)


def test_depthwise_convolutions_get_none_and_this_is_told() -> None:
    strategy, model, blocks = tiny_adapters.adapt("lora", "mobilenet_v2")

    adapted = [module for module in model.modules() if hasattr(module, "base_layer")]
    assert adapted and all(module.base_layer.groups == 1 for module in adapted)
    assert any("16 layers without" in note and "depthwise" in note for note in strategy.plan(blocks, RATE).notes)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("bert", ["attention.self.key", "attention.self.value", "output.dense"]),
        ("gpt2", ["attn.c_attn", "mlp.c_proj"]),
        ("modernbert", ["attn.Wqkv", "mlp.Wo"]),
        ("llama", ["self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"]),
        ("deberta", ["attention.self.in_proj", "output.dense"]),
        ("deberta-v2", ["attention.self.key_proj", "attention.self.value_proj", "output.dense"]),
        ("distilbert", ["attention.k_lin", "attention.v_lin", "ffn.lin2"]),
        ("albert", ["attention.key", "attention.value", "ffn_output"]),
        ("convnext", ["pwconv2"]),
    ],
)
def test_ia3_rescales_keys_values_and_feed_forward_features(architecture: str, expected: list[str]) -> None:
    assert adapted_layers("ia3", architecture) == expected


def test_ia3_on_attention_alone_and_on_a_named_layer() -> None:
    assert adapted_layers("ia3", "bert", targets=["attention"]) == ["attention.self.key", "attention.self.value"]
    assert adapted_layers("ia3", "bert", targets=["query"]) == ["attention.self.query"]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["query", "value"], ["attention.self.query", "attention.self.value"]),
        (["output.dense"], ["attention.output.dense", "output.dense"]),
        (["*.layer.?.output.dense"], ["output.dense"]),
    ],
)
def test_targets_by_name_and_pattern(targets: list[str], expected: list[str]) -> None:
    assert adapted_layers("lora", "bert", targets=targets) == expected


@pytest.mark.parametrize(
    ("architecture", "target", "offered"),
    [
        ("bert", "q_proj", "attention.self.query"),
        ("resnet", "attention", "shortcut.convolution"),
        ("bert", "classifier", "output.dense"),
    ],
)
def test_a_target_that_matches_nothing(architecture: str, target: str, offered: str) -> None:
    with pytest.raises(RecipeError, match=f"{target!r} matches no layer") as caught:
        tiny_adapters.adapt("lora", architecture, targets=["all", target])

    assert offered in caught.value.remedy


@pytest.mark.parametrize("method", tiny_adapters.METHODS)
@pytest.mark.parametrize("architecture", [*tiny_architectures.ALL, "albert", *OTHERS])
def test_what_a_method_cannot_adapt_it_refuses_and_declares(method: str, architecture: str) -> None:
    strategy = tiny_adapters.make_strategy(method)
    assert isinstance(strategy, AdapterStrategy)
    model = build(architecture)
    blocks = map_blocks(model)
    refused = architecture in strategy.unsupported or architecture in tiny_adapters.REFUSED.get(method, set())
    if refused:
        with pytest.raises(RecipeError) as caught:
            strategy.adapt(model, blocks)
        assert "--strategy" in caught.value.remedy
        return
    model, blocks = strategy.adapt(model, blocks)
    plan = strategy.plan(blocks, RATE)
    for block in blocks.body:
        own = tuple(f"{module}." for module in block.modules)
        assert all(name.startswith(own) for name in block.parameters)
    listed = [name for block in blocks.blocks for name in block.parameters]
    assert listed and sorted(listed) == sorted(name for name, _ in model.named_parameters())
    assert [block.parameters for block in map_blocks(model).blocks] == [block.parameters for block in blocks.blocks]
    assert plan.trained == set(blocks.head.parameters) | {n for n in listed if strategy.is_adapter(n)}


@pytest.mark.parametrize(("method", "architecture"), tiny_adapters.PAIRS)
def test_adapters_change_nothing_at_the_start(method: str, architecture: str) -> None:
    _, model, _ = tiny_adapters.adapt(method, architecture)

    before = tiny_adapters.logits(tiny_adapters.make_model(architecture), architecture)
    torch.testing.assert_close(tiny_adapters.logits(model, architecture), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", tiny_adapters.METHODS)
def test_only_what_the_plan_names_moves(method: str) -> None:
    strategy, model, blocks = tiny_adapters.adapt(method, "bert")
    plan = strategy.plan(blocks, RATE)
    apply_plan(model, plan)
    train_mode(model, frozen_modules(model, blocks, plan))
    before = tiny_engine.weights_of(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)

    for _ in range(3):
        loss = nn.functional.cross_entropy(model(**tiny_architectures.inputs("bert")).logits, torch.tensor([0, 1]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(plan.trained)


def test_groups_rates_and_notes() -> None:
    strategy, model, blocks = tiny_adapters.adapt("lora", "bert", last_blocks=1, head_factor=0.5)
    plan = strategy.plan(blocks, RATE)

    assert [(group.name, group.learning_rate) for group in plan.groups] == [("adapters", RATE), ("head", RATE / 2)]
    assert all(name.startswith("bert.encoder.layer.1.") for name in plan.groups[0].parameters)
    assert plan.groups[1].parameters == blocks.head.parameters
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    adapters, head = (sum(sizes[name] for name in group.parameters) for group in plan.groups)
    # Rank 4, four layers 16 to 16, one 16 to 32 and one 32 to 16.
    assert adapters == 4 * (4 * 32 + 2 * 48)
    assert plan.notes == (
        "LoRA stands in 6 layers of 1 block: attention.self.query, attention.self.key, attention.self.value, "
        "attention.output.dense, intermediate.dense, output.dense.",
        f"Of {sum(sizes.values()):,} parameters, {adapters + head:,} train: {adapters:,} in adapters, "
        f"{head:,} in head.",
    )
    assert strategy.plan(blocks, RATE) == plan


@pytest.mark.parametrize(("bias", "count"), [("none", 0), ("adapted", 12), ("all", 17)])
def test_biases_that_train_beside_adapters(bias: str, count: int) -> None:
    strategy, _, blocks = tiny_adapters.adapt("lora", "bert", bias=bias)
    plan = strategy.plan(blocks, RATE)

    biases = {group.name: group.parameters for group in plan.groups}.get("biases", ())
    assert len(biases) == count and all(name.endswith(".bias") for name in biases)
    assert set(biases).isdisjoint(blocks.head.parameters)


def test_biases_of_a_model_without() -> None:
    strategy, _, blocks = tiny_adapters.adapt("lora", "t5", bias="all")

    with pytest.raises(RecipeError, match=r"strategy\.bias: 'all' asked for, but t5 has no biases"):
        strategy.plan(blocks, RATE)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RecipeError, match="3 asked for, but the model has 2 blocks"):
        tiny_adapters.adapt("lora", "bert", last_blocks=3)
    with pytest.raises(RecipeError, match="the 3 layers of albert share one set of weights"):
        tiny_adapters.adapt("lora", "albert", last_blocks=1)
    with pytest.raises(RecipeError, match=r"99 is above the rank of every layer .* largest is 16"):
        tiny_adapters.adapt("pissa", "bert", r=99)
    with pytest.raises(RecipeError, match=r"LoRA adapts .* it was given grouped"):
        tiny_adapters.adapt("lora", "mobilenet_v2", targets=["conv_3x3"])
    for options in ({"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"variant": "qlora"}, {"targets": []}):
        with pytest.raises(ValidationError):
            tiny_adapters.make_strategy("lora", **options)


def test_a_model_with_adapters_is_refused() -> None:
    _, model, blocks = tiny_adapters.adapt("lora", "bert")

    with pytest.raises(RecipeError, match="has adapters already"):
        tiny_adapters.make_strategy("ia3").adapt(model, blocks)


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(MissingDependencyError, match="'peft' is needed to train adapters") as caught:
        tiny_adapters.adapt("lora", "bert")
    assert "trimtab[peft]" in caught.value.remedy


@pytest.mark.parametrize("method", tiny_adapters.METHODS)
def test_a_second_start_with_the_same_seed_is_the_same(method: str) -> None:
    """What resuming rests on: same names, same values; VeRA's shared matrices stand in no checkpoint."""
    (_, first, _), (_, again, _), (_, other, _) = (tiny_adapters.adapt(method, "bert", seed=s) for s in (1, 1, 2))

    assert tiny_engine.same_weights(tiny_engine.weights_of(first), tiny_engine.weights_of(again))
    buffers = [dict(model.named_buffers()) for model in (first, again)]
    assert all(torch.equal(tensor, buffers[1][name]) for name, tensor in buffers[0].items())
    assert list(first.state_dict()) == list(other.state_dict())
    assert not [name for name in first.state_dict() if "vera_A" in name or "vera_B" in name]


@pytest.mark.parametrize(("method", "architecture"), tiny_adapters.PAIRS)
def test_a_saved_adapter_comes_back_with_its_head(method: str, architecture: str, tmp_path: Path) -> None:
    strategy, model, blocks = tiny_adapters.adapt(method, architecture)
    tiny_adapters.shake(model, strategy.plan(blocks, RATE))
    expected = tiny_adapters.logits(model, architecture)

    strategy.save_adapter(model, tmp_path / "adapter")

    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    base = tiny_adapters.make_model(architecture)
    if architecture == "mobilenet_v2":
        # Its padding reads the stride of a convolution, which peft's layers alone do not show.
        loaded = load_adapter(base, tmp_path / "adapter")
    else:
        loaded = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    assert torch.equal(tiny_adapters.logits(loaded, architecture), expected)


@pytest.mark.parametrize("bias", ["adapted", "all"])
def test_a_saved_adapter_comes_back_with_its_biases(bias: str, tmp_path: Path) -> None:
    strategy, model, blocks = tiny_adapters.adapt("lora", "bert", bias=bias)
    tiny_adapters.shake(model, strategy.plan(blocks, RATE), groups=("adapters", "biases", "head"))

    strategy.save_adapter(model, tmp_path)

    loaded = load_adapter(tiny_adapters.make_model("bert"), tmp_path)
    assert torch.equal(tiny_adapters.logits(loaded, "bert"), tiny_adapters.logits(model, "bert"))


def test_the_saved_configuration_is_the_same_in_every_process(tmp_path: Path) -> None:
    strategy, model, _ = tiny_adapters.adapt("lora", "bert")
    strategy.save_adapter(model, tmp_path)

    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["target_modules"] == sorted(saved["target_modules"])
    assert saved["modules_to_save"] == ["bert.pooler", "classifier"]
    assert saved["inference_mode"] is True


def test_adapters_train_under_gradient_checkpointing() -> None:
    strategy, model, blocks = tiny_adapters.adapt("lora", "bert")
    plan = strategy.plan(blocks, RATE)
    apply_plan(model, plan)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad()
        model(**tiny_architectures.inputs("bert")).logits.sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    assert gradients[0].keys() == gradients[1].keys() == plan.trained
    assert all(torch.allclose(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_parts_of_torch_attention_are_left_alone() -> None:
    """It reads their weights without calling them: an adapter would do nothing."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2)
            self.widen = nn.Linear(16, 32)

    model = nn.ModuleDict({"layers": nn.ModuleList([Layer(), Layer()]), "classifier": nn.Linear(32, 3)})

    found = find_layers(model, map_blocks(model))

    assert [layer.name for layer in found] == ["layers.0.widen", "layers.1.widen"]


def test_plan_wants_adapt_first() -> None:
    with pytest.raises(ValueError, match="adapt was not called"):
        tiny_adapters.make_strategy("lora").plan(map_blocks(tiny_architectures.make("bert")), RATE)


@pytest.mark.parametrize(("width", "rate"), [(384, 2e-3), (768, 5e-4), (0, 2e-3)])
def test_default_learning_rate_of_lora_is_ten_times_that_of_full(width: int, rate: float) -> None:
    assert tiny_adapters.make_strategy("lora").default_learning_rate(width)[0] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("method", "narrow", "wide"),
    [("adalora", 8e-3, 2e-3), ("ia3", 2e-2, 5e-3), ("vera", 2e-2, 5e-3), ("oft", 2e-3, 5e-4), ("bitfit", 3e-3, 7.5e-4)],
)
def test_default_learning_rates_follow_that_of_full(method: str, narrow: float, wide: float) -> None:
    strategy = tiny_adapters.make_strategy(method)

    assert strategy.default_learning_rate(384)[0] == pytest.approx(narrow)
    assert strategy.default_learning_rate(768)[0] == pytest.approx(wide)
