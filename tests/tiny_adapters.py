"""Tiny models whose outputs depend on every block, with adapters that do something."""

from __future__ import annotations

from typing import Any

import tiny_architectures
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trimtab.core.registry import STRATEGIES
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.base import Strategy, TrainingPlan

# Every way to adapt layers, with options that suit models 16 units wide.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"r": 4}),
    "rslora": ("lora", {"variant": "rslora", "r": 4}),
    "dora": ("lora", {"variant": "dora", "r": 4}),
    "pissa": ("lora", {"variant": "pissa", "r": 4}),
    "adalora": ("adalora", {"init_r": 4, "target_r": 2}),
    "ia3": ("ia3", {}),
    "oft": ("oft", {"block_size": 4}),
    "vera": ("vera", {"r": 8}),
}
# What each cannot adapt, of the tiny architectures.
REFUSED = {
    "pissa": {"mobilenet_v2", "resnet"},
    "ia3": {"mobilenet_v2", "resnet"},
    "oft": {"gpt2"},
    "vera": {"mobilenet_v2", "resnet"},
}
PAIRS = [
    (method, architecture)
    for method in METHODS
    for architecture in tiny_architectures.ALL
    if architecture not in REFUSED.get(method, set())
]


def make_strategy(method: str, **options: Any) -> Strategy:
    """The strategy of a method of `METHODS`, or of any registered name, with further options."""
    name, defaults = METHODS.get(method, (method, {}))
    strategy_class = STRATEGIES.get(name)
    strategy: Strategy = strategy_class(strategy_class.Options.model_validate({**defaults, **options}))
    return strategy


def make_model(architecture: str) -> nn.Module:
    """A random model in which signals neither die nor explode: wider weights, and batch norms that know their inputs.

    With weights of transformers' deviation of 0.02, what a block adds would hardly show in the output.
    """
    model = tiny_architectures.make(architecture)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                deviation = 0.5 if "emb" in name else parameter[0].numel() ** -0.5
                parameter.normal_(0.0, deviation, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.1, generator=generator)
        _settle_batch_norms(model)
    return model.eval()


def adapt(method: str, architecture: str, *, seed: int = 0, **options: Any) -> tuple[Strategy, nn.Module, Blocks]:
    """A model of `make_model` with adapters."""
    strategy = make_strategy(method, **options)
    model = make_model(architecture)
    torch.manual_seed(seed)
    return (strategy, *strategy.adapt(model, map_blocks(model)))


def shake(
    model: nn.Module, plan: TrainingPlan, *, groups: tuple[str, ...] = ("adapters", "head"), amount: float = 0.1
) -> None:
    """Add noise to what trains, so that no adapter is at its start any more."""
    generator = torch.Generator().manual_seed(3)
    names = {name for group in plan.groups if group.name in groups for name in group.parameters}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=amount)


def logits(model: nn.Module, architecture: str) -> torch.Tensor:
    """The model's outputs for the inputs of its architecture, `[2, 3]`."""
    with torch.no_grad():
        result: torch.Tensor = model(**tiny_architectures.inputs(architecture)).logits
    return result


def _settle_batch_norms(model: nn.Module) -> None:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = None
    if norms:
        model.train()
        # Enough images that no channel's variance is nearly zero, which would blow up rounding errors.
        model(pixel_values=torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
