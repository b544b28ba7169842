"""Frozen means frozen: no gradient, no dropout, and batch-norm statistics that stay bit for bit."""

from __future__ import annotations

import pytest
import tiny_architectures
import tiny_engine
import torch
from torch import nn

from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.base import TrainingPlan, apply_plan, frozen_modules, train_mode
from trimtab.strategies.full import Full, FullOptions
from trimtab.strategies.partial import Partial, PartialOptions

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def freeze(model: nn.Module, **options: object) -> tuple[Blocks, TrainingPlan]:
    """Apply `partial` to a model and put it into training mode."""
    blocks = map_blocks(model)
    plan = Partial(PartialOptions.model_validate(options)).plan(blocks, 1e-2)
    apply_plan(model, plan)
    train_mode(model, frozen_modules(model, blocks, plan))
    return blocks, plan


def step(model: nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    """One plain optimizer step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss = nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 1]))
    loss.backward()
    optimizer.step()


def modules_of(model: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    return [module for name in names for module in model.get_submodule(name).modules()]


@pytest.mark.parametrize("architecture", tiny_architectures.ALL)
@pytest.mark.parametrize("last_blocks", [0, 1])
def test_modules_of_frozen_blocks_are_in_evaluation_mode(architecture: str, last_blocks: int) -> None:
    model = tiny_architectures.make(architecture)
    blocks, plan = freeze(model, last_blocks=last_blocks)

    still = [block for block in blocks.blocks if plan.trained.isdisjoint(block.parameters)]
    assert len(still) == len(blocks.blocks) - 1 - last_blocks
    assert not any(module.training for block in still for module in modules_of(model, block.modules))
    for block in set(blocks.blocks) - set(still):
        with_weights = [m for m in modules_of(model, block.modules) if any(p.requires_grad for p in m.parameters())]
        assert all(module.training for module in with_weights)


@pytest.mark.parametrize("architecture", tiny_architectures.ALL)
def test_full_trains_every_module(architecture: str) -> None:
    model = tiny_architectures.make(architecture)
    blocks = map_blocks(model)
    plan = Full(FullOptions()).plan(blocks, 1e-3)
    apply_plan(model, plan)

    train_mode(model, frozen_modules(model, blocks, plan))

    assert all(module.training for module in model.modules())


def test_dropout_beside_frozen_embeddings_draws_nothing() -> None:
    """GPT-2 applies it next to its embeddings, inside a module that also holds the block that trains."""
    model = tiny_architectures.make("gpt2")
    freeze(model, last_blocks=1)
    seen: list[torch.Tensor] = []
    model.transformer.h[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))

    for _ in range(2):
        model(**tiny_architectures.inputs("gpt2"))

    assert torch.equal(seen[0], seen[1])
    assert bool((seen[0] != 0).all())


@pytest.mark.parametrize("architecture", tiny_architectures.ALL)
@pytest.mark.parametrize("last_blocks", [0, 1])
def test_output_of_the_frozen_part_is_the_same_every_time(architecture: str, last_blocks: int) -> None:
    model = tiny_architectures.make(architecture)
    blocks, _ = freeze(model, last_blocks=last_blocks)
    last_frozen = blocks.blocks[-2 - last_blocks]
    seen: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        first = output if isinstance(output, torch.Tensor) else output[0]
        seen.append(first.detach().clone())

    model.get_submodule(last_frozen.modules[0]).register_forward_hook(note)
    for _ in range(2):
        model(**tiny_architectures.inputs(architecture))

    half = len(seen) // 2
    assert half > 0
    assert all(torch.equal(one, other) for one, other in zip(seen[:half], seen[half:], strict=True))


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "resnet"])
@pytest.mark.parametrize("last_blocks", [0, 1])
def test_batch_norm_statistics_of_frozen_blocks_stay(architecture: str, last_blocks: int) -> None:
    model = tiny_architectures.make(architecture)
    blocks, plan = freeze(model, last_blocks=last_blocks)
    before = tiny_engine.weights_of(model)
    assert any(isinstance(module, NORMS) for module in model.modules())

    for _ in range(3):
        step(model, tiny_architectures.inputs(architecture))

    after = tiny_engine.weights_of(model)
    trained_modules = {name.rpartition(".")[0] for name in plan.trained}
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed, "the head trained"
    for name in changed:
        assert name in plan.trained or name.rpartition(".")[0] in trained_modules
    if last_blocks:
        assert any("running_mean" in name for name in changed)
    assert changed.intersection(blocks.head.parameters)


def test_batch_norm_statistics_stay_through_a_rehearsal_of_modes() -> None:
    """After an evaluation the loop goes back to training mode: what is frozen must not wake up."""
    model = tiny_architectures.make("mobilenet_v2")
    blocks, plan = freeze(model)
    frozen = frozen_modules(model, blocks, plan)
    model.eval()
    train_mode(model, frozen)

    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    assert norms and not any(module.training for module in norms)
