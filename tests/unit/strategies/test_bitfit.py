"""`bitfit`: biases and head, nothing else."""

from __future__ import annotations

import pytest
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.base import TrainingPlan, apply_plan, frozen_modules, train_mode
from trimtab.strategies.bitfit import BitFit, BitFitOptions


def plan_of(architecture: str, **options: object) -> tuple[nn.Module, Blocks, TrainingPlan]:
    strategy = BitFit(BitFitOptions.model_validate(options))
    model, blocks = tiny_architectures.make(architecture), None
    model, blocks = strategy.adapt(model, map_blocks(model))
    return model, blocks, strategy.plan(blocks, 1e-3)


def test_every_bias_outside_the_head_and_the_head() -> None:
    model, blocks, plan = plan_of("bert", head_factor=0.5)

    head = set(blocks.head.parameters)
    biases = {name for name, _ in model.named_parameters() if name.endswith(".bias")} - head
    groups = {group.name: group for group in plan.groups}
    assert set(groups["biases"].parameters) == biases
    # Of each block six linear layers and two norms, and the norm of the embeddings.
    assert len(biases) == 2 * 8 + 1
    assert set(groups["head"].parameters) == head
    assert (groups["biases"].learning_rate, groups["head"].learning_rate) == (1e-3, 5e-4)


@pytest.mark.parametrize(
    ("architecture", "norms"), [("bert", 5), ("gpt2", 5), ("vit", 5), ("mobilenet_v2", 52), ("resnet", 6)]
)
def test_without_the_biases_of_norms(architecture: str, norms: int) -> None:
    model, blocks, with_norms = plan_of(architecture)
    outside = {name for name, _ in model.named_parameters()} - set(blocks.head.parameters)
    of_norms = {name for name in with_norms.trained & outside if is_norm(model.get_submodule(name.rpartition(".")[0]))}
    assert len(of_norms) == norms
    if architecture in ("mobilenet_v2", "resnet"):
        with pytest.raises(RecipeError, match="none outside its head beside those of normalisation") as caught:
            plan_of(architecture, norms=False)
        assert "strategy.norms=true" in caught.value.remedy
    else:
        assert plan_of(architecture, norms=False)[2].trained == with_norms.trained - of_norms


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.BatchNorm2d)


@pytest.mark.parametrize("architecture", sorted(set(tiny_architectures.ALL) & BitFit.unsupported))
def test_a_model_without_biases_is_refused(architecture: str) -> None:
    with pytest.raises(RecipeError, match=f"{architecture} has none outside its head") as caught:
        plan_of(architecture)

    assert "--strategy lora" in caught.value.remedy


def test_weights_stay_bit_for_bit() -> None:
    model, blocks, plan = plan_of("bert")
    apply_plan(model, plan)
    train_mode(model, frozen_modules(model, blocks, plan))
    before = tiny_engine.weights_of(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        nn.functional.cross_entropy(model(**tiny_architectures.inputs("bert")).logits, torch.tensor([0, 1])).backward()
        optimizer.step()

    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    # Attention does not change when all keys are shifted by the same vector, so that their bias gets no gradient
    # but that of rounding.
    keys = {name for name in plan.trained if name.endswith("key.bias")}
    assert moved | keys == plan.trained


def test_the_note_counts() -> None:
    model, blocks, plan = plan_of("bert")
    total = sum(parameter.numel() for parameter in model.parameters())
    biases = sum(blocks.sizes[name] for name in plan.groups[0].parameters)

    assert plan.notes == (
        f"17 biases with {biases:,} parameters ({biases / total:.2%} of the model) train beside the head.",
    )


def test_norms_are_known_only_after_adapt() -> None:
    with pytest.raises(ValueError, match="adapt was not called"):
        BitFit(BitFitOptions(norms=False)).plan(map_blocks(tiny_architectures.make("bert")), 1e-3)
