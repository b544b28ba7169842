"""`prompt` and `prefix`: virtual tokens before the text, in models that can take them."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import tiny_adapters
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies._prompts import PromptStrategy
from trimtab.strategies.base import apply_plan, frozen_modules, train_mode

ABLE = [("prompt", "bert"), ("prompt", "albert"), ("prefix", "bert"), ("prefix", "gpt2")]


def adapt(method: str, architecture: str, *, seed: int = 0) -> tuple[PromptStrategy, nn.Module, Blocks]:
    strategy, model, blocks = tiny_adapters.adapt(method, architecture, seed=seed, num_virtual_tokens=4)
    assert isinstance(strategy, PromptStrategy)
    return strategy, model, blocks


@pytest.mark.parametrize(("method", "architecture"), ABLE)
def test_virtual_tokens_and_head_train_and_nothing_else(method: str, architecture: str) -> None:
    strategy, model, blocks = adapt(method, architecture)
    plan = strategy.plan(blocks, 1e-2)

    tokens = "prompt_encoder.default.embedding.weight"
    assert {group.name: group.parameters for group in plan.groups} == {
        "adapters": (tokens,),
        "head": blocks.head.parameters,
    }
    assert tokens in blocks.embeddings.parameters
    plain = map_blocks(tiny_architectures.make(architecture))
    assert [block.parameters for block in blocks.blocks[1:]] == [
        tuple(f"base_model.{name}" for name in block.parameters) for block in plain.blocks[1:]
    ]
    assert {name for name, _ in model.named_parameters()} == {n for block in blocks.blocks for n in block.parameters}

    apply_plan(model, plan)
    train_mode(model, frozen_modules(model, blocks, plan))
    before = tiny_engine.weights_of(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    model(**tiny_architectures.inputs(architecture)).logits.sum().backward()
    optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(plan.trained)


@pytest.mark.parametrize(("method", "architecture"), ABLE)
def test_padding_does_not_change_the_result(method: str, architecture: str) -> None:
    _, model, _ = adapt(method, architecture)
    text = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[5, 6, 7, 8, 0, 0]])

    with torch.no_grad():
        alone = model(input_ids=text, attention_mask=torch.ones_like(text)).logits
        beside = model(input_ids=padded, attention_mask=torch.tensor([[1, 1, 1, 1, 0, 0]])).logits
    torch.testing.assert_close(alone, beside, rtol=0, atol=1e-5)
    plain = tiny_adapters.make_model(architecture)
    with torch.no_grad():
        assert (plain(input_ids=text).logits - alone).abs().max() > 1e-3, "the virtual tokens are seen"


@pytest.mark.parametrize(("method", "architecture"), ABLE)
def test_nothing_is_merged_and_the_saved_adapter_comes_back(method: str, architecture: str, tmp_path: Path) -> None:
    strategy, model, blocks = adapt(method, architecture)
    tiny_adapters.shake(model, strategy.plan(blocks, 1e-2))

    assert strategy.merged(model) is None
    strategy.save_adapter(model, tmp_path)

    loaded = peft.PeftModel.from_pretrained(tiny_adapters.make_model(architecture), str(tmp_path)).eval()
    expected = tiny_adapters.logits(model, architecture)
    assert torch.equal(tiny_adapters.logits(loaded, architecture), expected)
    assert not torch.allclose(tiny_adapters.logits(tiny_adapters.make_model(architecture), architecture), expected)


@pytest.mark.parametrize(("method", "architecture"), ABLE)
def test_a_second_start_with_the_same_seed_is_the_same(method: str, architecture: str) -> None:
    first, again, other = (adapt(method, architecture, seed=seed)[1] for seed in (1, 1, 2))

    assert tiny_engine.same_weights(tiny_engine.weights_of(first), tiny_engine.weights_of(again))
    assert not tiny_engine.same_weights(tiny_engine.weights_of(first), tiny_engine.weights_of(other))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
@pytest.mark.parametrize("architecture", [*tiny_architectures.ALL, "albert"])
def test_what_cannot_take_virtual_tokens_is_refused_and_declared(method: str, architecture: str) -> None:
    strategy = tiny_adapters.make_strategy(method)
    assert isinstance(strategy, PromptStrategy)
    if (method, architecture) in ABLE:
        assert architecture not in strategy.unsupported
        return
    assert architecture in strategy.unsupported
    with pytest.raises(RecipeError) as caught:
        adapt(method, architecture)
    assert "--strategy lora" in caught.value.remedy


@pytest.mark.parametrize(
    ("method", "architecture", "reason"),
    [
        ("prompt", "gpt2", "gpt2 finds the end of a text by its ids"),
        ("prompt", "t5", "t5 does not take them"),
        ("prompt", "vit", "vit reads no text"),
        ("prefix", "t5", "takes none from outside in its encoder"),
        ("prefix", "albert", "albert takes none from outside"),
    ],
)
def test_the_reason_is_told(method: str, architecture: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        adapt(method, architecture)


def test_the_trial_of_embeddings_leaves_the_mode_of_the_model() -> None:
    model = tiny_architectures.make("bert").train()
    tiny_adapters.make_strategy("prompt").refuse(model, map_blocks(model))

    assert model.training


def test_more_tokens_than_positions() -> None:
    with pytest.raises(RecipeError, match="64 asked for, but bert has 64 positions"):
        tiny_adapters.adapt("prompt", "bert", num_virtual_tokens=64)


def test_prefix_refuses_gradient_checkpointing() -> None:
    model = tiny_architectures.make("bert")
    model.gradient_checkpointing_enable()

    with pytest.raises(RecipeError, match="does not go with gradient checkpointing"):
        tiny_adapters.make_strategy("prefix").adapt(model, map_blocks(model))


def test_the_room_that_the_tokens_take_is_told() -> None:
    strategy, _, _ = adapt("prompt", "bert")

    assert strategy.extra_tokens == 4
