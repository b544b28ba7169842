"""Loading a pretrained model with a head for the task's labels, and saving it so that transformers alone loads it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.core.errors import ModelError
from trimtab.core.files import disk_error
from trimtab.models.attention import FLASH, keep_flash_to_half, unsupported
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.models.configs import check_task, load_config, set_config_dropout, set_labels, set_module_dropout
from trimtab.models.hub import local_directory
from trimtab.models.integrity import check_weights, write_checksums
from trimtab.models.processors import Modality, agree_on_padding, check_vocabulary, load_processor, max_length_of
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.sources import ModelSource, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from trimtab.config.recipe import ModelSection
    from trimtab.models.extension import NewRows

__all__ = [
    "LoadedModel",
    "ModelSource",
    "load_model",
    "load_processor",
    "max_length_of",
    "resolve_model",
    "save_model",
]

_MOST_NAMES = 5


@dataclass(frozen=True)
class LoadedModel:
    """A pretrained model, ready to be trained.

    Args:
        model: with a head for the labels, parameters in float32, in evaluation mode, on the CPU.
        processor: the tokenizer (text) or image processor (image).
        blocks: the depth map.
        source: where it came from.
        fresh_head: whether the classifier starts from random weights.
        notes: what a user should know of the loading, one sentence each.
        new_parameters: names of the parameters that start from random weights.
        new_rows: the embeddings of tokens that were added to the vocabulary; None where none were.
    """

    model: PreTrainedModel
    processor: Any
    blocks: Blocks
    source: ModelSource
    fresh_head: bool
    notes: tuple[str, ...] = ()
    new_parameters: tuple[str, ...] = ()
    new_rows: NewRows | None = None


def load_model(
    source: ModelSource, *, auto_class: str, labels: tuple[str, ...], section: ModelSection, modality: Modality
) -> LoadedModel:
    """Load a pretrained model for `labels`. A new head draws from torch's global random stream: seed it before.

    Args:
        source: from `resolve_model`.
        auto_class: class of transformers that builds model and head, e.g. `AutoModelForSequenceClassification`.
        labels: label names; the index is the class id.
        section: the recipe's `model` section: `trust_remote_code`, `dropout`, `attention`.
        modality: `text` or `image`, which processor belongs to the model.

    Raises:
        ModelError: the model cannot be found or read, its weights are damaged or do not fit its architecture, or the
            architecture cannot do the task.
        RecipeError: the model does not have the implementation of attention that was asked for.
        MissingDependencyError: Pillow is not installed (`image`).
    """
    trust = section.trust_remote_code
    config = load_config(
        source, local_directory(source, weights=False, trust_remote_code=trust), trust_remote_code=trust
    )
    check_task(source, config, auto_class)
    processor = load_processor(source, modality, trust_remote_code=trust)
    if modality == "text":
        check_vocabulary(source, processor, config)
    directory = local_directory(source, trust_remote_code=trust)
    check_weights(directory)
    same_labels = set_labels(config, labels)
    fields = set_config_dropout(config, section.dropout) if section.dropout is not None else []
    attention = None if section.attention == "auto" else section.attention
    model, info = build_model(source, directory, config, auto_class, trust, attention)
    if section.dropout is not None:
        set_module_dropout(source, model, section.dropout, fields)
    if modality == "text":
        agree_on_padding(processor, model.config)
    blocks = map_blocks(model)
    new = _check_fit(source, blocks, info)
    notes = [f"These parts of the head start from random weights: {_some(new)}."] if new else []
    classifier = _output_layer(model, blocks, len(labels))
    fresh = any(name in new for name in classifier)
    if not same_labels and not fresh:
        _draw_anew(model, classifier)
        fresh = True
        new = sorted({*new, *classifier})
        notes.append("The classifier of the model names other labels; a new one starts from random weights.")
    if blocks.inferred:
        notes.append(
            f"The architecture {blocks.architecture!r} is not one we know by name; its {blocks.depth} blocks were "
            "found by inspection."
        )
    return LoadedModel(model, processor, blocks, source, fresh, tuple(notes), tuple(new))


def save_model(model: PreTrainedModel, processor: Any, directory: Path) -> None:
    """Save model and processor in the `save_pretrained` layout (safetensors), with checksums of the weights.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            model.save_pretrained(directory)
            processor.save_pretrained(directory)
        _open_to_readers(directory)
    except OSError as error:
        raise disk_error(directory, error) from error
    except SafetensorError as error:
        raise disk_error(directory, OSError(str(error))) from error
    write_checksums(directory)


def _open_to_readers(directory: Path) -> None:
    """Give every file the permissions of a new file: safetensors keeps its own to the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in directory.iterdir():
        path.chmod(0o666 & ~mask)


def build_model(
    source: ModelSource,
    directory: Path,
    config: PreTrainedConfig,
    auto_class: str,
    trust_remote_code: bool,
    attention: str | None = None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model in float32, and transformers' account of which weights were missing or of another shape.

    Args:
        source: names the model in messages.
        directory: with its weights.
        config: of the model.
        auto_class: class of transformers that builds it.
        trust_remote_code: whether code that comes with it may run.
        attention: implementation of attention; transformers' own choice when None.

    Raises:
        ModelError: transformers cannot load it.
        RecipeError: it does not have this implementation of attention.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            model, info = getattr(transformers, auto_class).from_pretrained(
                directory,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=trust_remote_code,
                **({} if attention is None else {"attn_implementation": attention}),
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError) as error:
        if attention is not None and isinstance(error, ValueError | ImportError) and "attention" in str(error).lower():
            raise unsupported(attention, error) from error
        raise ModelError(
            f"The model {source.name!r} in {directory} cannot be loaded: {reason_of(error)}.",
            remedy="Download or copy the model again, or choose another one with --model.",
        ) from error
    if attention == FLASH:
        keep_flash_to_half(model)
    return model.float(), info


def _check_fit(source: ModelSource, blocks: Blocks, info: dict[str, Any]) -> list[str]:
    """The parameters of the head that are new, for lack of weights or for their other shape.

    Raises:
        ModelError: weights outside the head are missing or of another shape.
    """
    mismatched = {name: (list(found), list(wanted)) for name, found, wanted in info["mismatched_keys"]}
    missing = set(info["missing_keys"])
    lost = _outside_head(blocks, missing)
    if lost:
        _unfit(source, blocks, "lack", lost)
    wrong = _outside_head(blocks, mismatched)
    if wrong:
        shapes = [f"{name} ({mismatched[name][0]} instead of {mismatched[name][1]})" for name in wrong]
        _unfit(source, blocks, "have another shape for", shapes)
    return sorted(missing | set(mismatched))


def _outside_head(blocks: Blocks, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if blocks.owner_of(name) is not blocks.head)


def _unfit(source: ModelSource, blocks: Blocks, what: str, names: list[str]) -> NoReturn:
    raise ModelError(
        f"The weights of the model {source.name!r} do not fit its architecture ({blocks.architecture}): they {what} "
        f"{_some(names)}.",
        remedy="Check that config.json and the weights belong together, or download the model again.",
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _output_layer(model: PreTrainedModel, blocks: Blocks, num_labels: int) -> list[str]:
    """Parameters of the last layer of the head that has a row for each label."""
    parameters = dict(model.named_parameters())
    rows = [name for name in blocks.head.parameters if parameters[name].shape[:1] == (num_labels,)]
    matrices = [name for name in rows if parameters[name].dim() > 1]
    module = matrices[-1].rpartition(".")[0] if matrices else ""
    return [name for name in rows if matrices and name.rpartition(".")[0] == module]


def _draw_anew(model: PreTrainedModel, names: list[str]) -> None:
    """Fill weights from a normal distribution with the architecture's `initializer_range`, and biases with zero."""
    import torch

    deviation = float(getattr(model.config, "initializer_range", None) or 0.02)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            if parameters[name].dim() > 1:
                parameters[name].normal_(0.0, deviation)
            else:
                parameters[name].zero_()
