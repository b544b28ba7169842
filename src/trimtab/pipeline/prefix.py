"""Whether a run keeps the output of its frozen blocks, and where."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from trimtab.core.cache import MIB, DiskCache, cache_folder
from trimtab.models.cut import frozen_depth
from trimtab.pipeline.parts import Parts
from trimtab.tasks.base import Examples
from trimtab.training.engine import total_steps
from trimtab.training.inference import forward_budget
from trimtab.training.prefix import FrozenPrefix

KIND = "activations"


def with_frozen_prefix(parts: Parts, notify: Callable[..., object]) -> tuple[Parts, FrozenPrefix | None]:
    """The parts with rows and a hook that keep what the frozen blocks make of them; None where nothing can be kept.

    Args:
        parts: ready to train.
        notify: called with (action, **fields) when activations were made.
    """
    recipe = parts.recipe
    stages = range(max(1, len(parts.plan.stages)))
    if not any(frozen_depth(parts.loaded.blocks, parts.plan.trained_in(stage)) for stage in stages):
        return parts, None
    if not (recipe.cache.enabled and recipe.cache.prefix) or _unfit(parts):
        return parts, None
    train = parts.examples["train"]
    training = recipe.training
    visited = total_steps(recipe, len(train)) * training.batch_size * training.gradient_accumulation_steps
    prefix = FrozenPrefix(
        parts.model,
        parts.loaded.blocks,
        parts.plan,
        DiskCache(KIND, cache_folder(recipe.cache.folder), recipe.cache.prefix_mib * MIB),
        accelerator=parts.accelerator,
        precision=training.precision,
        token_budget=forward_budget(int(training.max_tokens_per_batch), parts.accelerator.device, parts.ground.task),
        context=_context(parts),
        worth_filling=visited > len(train),
        notify=notify,
    )
    # Rows that change from epoch to epoch pass through the model once each.
    kept = {
        name: prefix.wrap(examples)
        for name, examples in parts.examples.items()
        if name == "validation" or (name == "train" and type(examples).at_epoch is Examples.at_epoch)
    }
    return replace(parts, examples={**parts.examples, **kept}, hooks=(*parts.hooks, prefix)), prefix


def _unfit(parts: Parts) -> bool:
    """Whether something needs the frozen blocks to run: a teacher beside the model, a compiled or a sharded model."""
    recipe = parts.recipe
    return bool(recipe.forgetting.distillation or recipe.training.compile is True or recipe.training.sharding != "none")


def _context(parts: Parts) -> tuple[Any, ...]:
    """What the last bits of an activation depend on beside weights and rows."""
    import transformers

    device = parts.accelerator.device
    hardware = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} {torch.cpu.get_capabilities().get('cpu_name', '')}"
    )
    attention = getattr(parts.model.config, "_attn_implementation", "") if hasattr(parts.model, "config") else ""
    return device.type, hardware, str(attention), torch.__version__, transformers.__version__
