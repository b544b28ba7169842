"""Writing the model that a run delivers, and reading it back: a plain one, or a base model with adapters beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from trimtab.config.recipe import ModelSection
from trimtab.models.loading import LoadedModel, load_model, save_model
from trimtab.models.sources import resolve_model
from trimtab.strategies._peft import load_adapter
from trimtab.strategies.base import Strategy
from trimtab.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "adapter"
"""Folder of adapters: in the model directory where they are not merged, beside it where they are."""


def write_delivered(
    folder: Path, *, trained: nn.Module, plain: nn.Module | None, base: nn.Module, processor: Any, strategy: Strategy
) -> None:
    """Write a model directory.

    Args:
        folder: the model directory, made where it is missing.
        trained: the model as it was trained.
        plain: a plain model that computes the same; None where there is none.
        base: the model without its adapters, written where there is no plain one.
        processor: tokenizer or image processor.
        strategy: writes its adapters, where they are not merged.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    save_model(cast("PreTrainedModel", base if plain is None else plain), processor, folder)
    if plain is None:
        strategy.save_adapter(trained, folder / ADAPTER)


def read_delivered(folder: Path, task: Task, section: ModelSection) -> LoadedModel:
    """A model that `write_delivered` wrote, with its adapters, on the CPU.

    Raises:
        ModelError: the directory is damaged.
        MissingDependencyError: it has adapters, and `peft` is not installed.
    """
    loaded = load_model(
        resolve_model(str(folder)),
        auto_class=task.auto_class,
        labels=task.labels,
        section=section,
        modality=task.modality,
    )
    if not (folder / ADAPTER).is_dir():
        return loaded
    return replace(loaded, model=cast("PreTrainedModel", load_adapter(loaded.model, folder / ADAPTER)))


def virtual_tokens(model: nn.Module) -> int:
    """Tokens that adapters put before every input, which take positions from the text; 0 for a plain model."""
    config = getattr(model, "active_peft_config", None)
    return int(getattr(config, "num_virtual_tokens", None) or 0)
