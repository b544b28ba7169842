"""The recipe's section `forgetting` as objects: what is measured before training, step hooks, and the objective."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator

from trimtab.config.forgetting import ForgettingSection
from trimtab.core.errors import DataError, RecipeError
from trimtab.core.hooks import StepHook
from trimtab.core.seeds import stream, stream_seed
from trimtab.data.encodings import decode
from trimtab.models.blocks import Blocks
from trimtab.models.language_heads import (
    LanguageModel,
    fresh_language_model,
    load_language_model,
    refuse_without_mask_token,
    share_backbone,
)
from trimtab.models.sources import ModelSource
from trimtab.regularization.distillation import DistillationObjective, backbone_of
from trimtab.regularization.ewc import EwcPenalty, measure_fisher
from trimtab.regularization.replay import EncodedRows, Replay, ReplayRows, TextRows
from trimtab.tasks.base import Examples, Modality
from trimtab.training.objective import Objective
from trimtab.training.scores import own_random_stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_Found = TypeVar("_Found", LanguageModel, LanguageModel | None)


@dataclass(frozen=True)
class ForgettingContext:
    """What the section's objects are built from, before a weight has moved.

    Args:
        model: the bare model as training finds it (adapters added), with its pretrained weights, on its device.
        blocks: its depth map.
        trained: names of the parameters that train at some time.
        source: the pretrained model.
        processor: tokenizer or image processor.
        modality: `text` or `image`.
        examples: the encoded training rows, not augmented.
        encode: encodes texts without labels, as the task does.
        accelerator: device and processes.
        precision: `bf16` or `fp32`.
        seed: the run's seed.
        fresh_head: whether the classifier started from random weights.
        trust_remote_code: run Python code that comes with the model.
    """

    model: PreTrainedModel
    blocks: Blocks
    trained: frozenset[str]
    source: ModelSource
    processor: Any
    modality: Modality
    examples: Examples
    encode: Callable[[list[str]], Examples]
    accelerator: Accelerator
    precision: str
    seed: int
    fresh_head: bool
    trust_remote_code: bool = False

    @property
    def backbone(self) -> tuple[str, ...]:
        """Names of the parameters below the head."""
        return tuple(name for block in self.blocks.blocks if block is not self.blocks.head for name in block.parameters)


def check_forgetting(section: ForgettingSection, modality: Modality, *, compiled: bool = False) -> None:
    """Refuse what cannot work, before any weights are read.

    Args:
        section: the recipe's section.
        modality: `text` or `image`.
        compiled: whether the model is compiled (`training.compile`).

    Raises:
        RecipeError: an option does not fit the task.
        DataError: a file of texts cannot be read or is empty.
    """
    if modality != "text" and section.replay:
        raise RecipeError(
            f"forgetting.replay goes on with language modelling, which a model of {modality}s has not learned.",
            remedy="Use forgetting.ewc or forgetting.distillation, which work for images too.",
        )
    if modality != "text" and section.text:
        raise RecipeError(
            f"forgetting.text names a file of texts, and the model reads {modality}s.",
            remedy="Leave it out: forgetting.ewc then measures on the training rows without their labels.",
        )
    if section.distillation and compiled:
        raise RecipeError(
            "forgetting.distillation reads hidden states by a hook, which a compiled model may pass over.",
            remedy="Set training.compile=false, or leave forgetting.distillation out.",
        )
    for key in ("text", "replay_text"):
        path = getattr(section, key)
        if path is not None:
            read_texts(Path(path), f"forgetting.{key}")


def read_texts(path: Path, key: str) -> list[str]:
    """The lines of a file of texts that are not blank, without surrounding white space.

    Args:
        path: a text file.
        key: the recipe key that names it, for messages.

    Raises:
        DataError: the file is not there, cannot be read as text, or holds no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{key}: the file {path} cannot be read: {error.strerror or error}.",
            remedy="Name a text file with one text a line.",
        ) from error
    texts = [line.strip() for line in decode(data, str(path)).text.split("\n") if line.strip()]
    if not texts:
        raise DataError(f"{key}: the file {path} holds no text.", remedy="Write one text a line into it.")
    return texts


def measurements(section: ForgettingSection, context: ForgettingContext) -> dict[str, torch.Tensor]:
    """What has to be measured on the pretrained model: the Fisher information for `ewc`, else nothing.

    Returns:
        Parameter name -> Fisher information, of the parameters below the head that train; to be kept with the run and
        given to `build_forgetting_hooks` there and on resume.

    Raises:
        RecipeError: nothing below the head trains, or the sample says nothing.
        DataError: see `read_texts`.
        ModelError: the language-model head cannot be read.
    """
    if not section.ewc:
        return {}
    trained = _trained_backbone(context, "ewc")
    language = _language_model(context, load_language_model) if context.modality == "text" else None
    fisher = measure_fisher(
        context.model,
        context.backbone,
        _fisher_sample(section, context),
        accelerator=context.accelerator,
        seed=context.seed,
        language=language,
        tokenizer=context.processor,
    )
    found = {name: fisher[name] for name in trained}
    if not any(bool(value.any()) for value in found.values()):
        raise _unreached("ewc")
    return found


def build_forgetting_hooks(
    section: ForgettingSection, context: ForgettingContext, measured: Mapping[str, torch.Tensor]
) -> tuple[StepHook, ...]:
    """The step hooks of the section, none when all is off.

    Args:
        section: the recipe's section.
        context: before a checkpoint is restored, so that the model holds the pretrained weights.
        measured: from `measurements`.

    Raises:
        RecipeError: nothing below the head trains.
        DataError: see `read_texts`.
        ModelError: a language-model head cannot be read, or the architecture has none.
    """
    hooks: list[StepHook] = []
    if section.ewc:
        known = dict(context.model.named_parameters())
        parameters = {name: known[name] for name in _trained_backbone(context, "ewc")}
        hooks.append(EwcPenalty(parameters, measured, section.ewc))
    if section.replay:
        hooks.append(_replay(section, context))
    return tuple(hooks)


def wrap_objective(section: ForgettingSection, objective: Objective, context: ForgettingContext) -> Objective:
    """`objective` with distillation from the frozen original, or as it is when that is off.

    Args:
        section: the recipe's section.
        objective: what the run minimises otherwise.
        context: before a checkpoint is restored: a copy of the model as it is now becomes the frozen original.

    Raises:
        RecipeError: nothing below the head trains, or `logits` are to be kept of a classifier that is new.
    """
    if not section.distillation:
        return objective
    if section.distillation_target == "logits" and context.fresh_head:
        raise RecipeError(
            "forgetting.distillation_target: logits keeps the class probabilities of the original classifier, and that "
            "of this run is new.",
            remedy="Set forgetting.distillation_target to pooled or tokens, or start from a model with these labels.",
        )
    _trained_backbone(context, "distillation")
    return DistillationObjective(
        objective,
        context.model,
        copy.deepcopy(context.model),
        weight=section.distillation,
        target=section.distillation_target,
        distance=section.distillation_distance,
        temperature=section.distillation_temperature,
        device=context.accelerator.device,
        precision=context.precision,
    )


def forgetting_notes(hooks: tuple[StepHook, ...]) -> tuple[str, ...]:
    """What the user should know of the hooks, as sentences."""
    return tuple(
        "The model brings no language-model head for replay: a new one, on its embedding table, is learned along."
        for hook in hooks
        if isinstance(hook, Replay) and hook.language.fresh
    )


def _trained_backbone(context: ForgettingContext, weight: str) -> tuple[str, ...]:
    """Names of the parameters below the head that train."""
    backbone_of(context.model)
    names = tuple(name for name in context.backbone if name in context.trained)
    if not names:
        raise RecipeError(
            f"forgetting.{weight} has nothing to keep: the strategy trains the head alone, so that the model below it "
            "forgets nothing.",
            remedy=f"Leave out forgetting.{weight}, or choose a strategy that trains blocks (--strategy full).",
        )
    return names


def _fisher_sample(section: ForgettingSection, context: ForgettingContext) -> Examples:
    """`ewc_rows` rows drawn at random from the file of texts, or from the training rows."""
    if section.text is not None:
        texts = read_texts(Path(section.text), "forgetting.text")
        return context.encode([texts[row] for row in _some_rows(len(texts), section.ewc_rows, context.seed)])
    return _Selection(context.examples, _some_rows(len(context.examples), section.ewc_rows, context.seed))


def _some_rows(total: int, count: int, seed: int) -> np.ndarray:
    return np.sort(stream(seed, "fisher rows").choice(total, size=min(count, total), replace=False))


class _Selection(Examples):
    """Some rows of other examples."""

    def __init__(self, examples: Examples, rows: np.ndarray) -> None:
        self.examples = examples
        self.rows = rows
        self.lengths = examples.lengths[rows]
        self.labels = None if examples.labels is None else examples.labels[rows]

    def collate(self, rows: np.ndarray) -> Any:
        return self.examples.collate(self.rows[rows])


def _unreached(weight: str) -> RecipeError:
    """For adapters that lie outside the base model, such as prompts."""
    return RecipeError(
        f"forgetting.{weight} reaches none of the parameters that the strategy trains: they have no part in the "
        "pretraining objective.",
        remedy=f"Leave out forgetting.{weight}, or choose a strategy that trains blocks (--strategy full).",
    )


def _replay(section: ForgettingSection, context: ForgettingContext) -> Replay:
    known = dict(context.model.named_parameters())
    trained = {id(known[name]) for name in _trained_backbone(context, "replay")}
    language = _language_model(context, fresh_language_model)
    if trained.isdisjoint(id(parameter) for parameter in language.model.parameters()):
        raise _unreached("replay")
    if language.kind == "masked":
        refuse_without_mask_token(context.processor)
    rows: ReplayRows = EncodedRows(context.examples)
    if section.replay_text is not None:
        rows = TextRows(read_texts(Path(section.replay_text), "forgetting.replay_text"), context.encode)
    return Replay(
        language,
        rows,
        weight=section.replay,
        count=section.replay_rows,
        tokenizer=context.processor,
        mask_probability=section.replay_mask_probability,
        accelerator=context.accelerator,
        precision=context.precision,
        seed=context.seed,
    )


def _language_model(context: ForgettingContext, load: Callable[..., _Found]) -> _Found:
    """What `load` finds at the model's source, put on the model's own backbone; a new head has a stream of its own."""
    with own_random_stream(torch.device("cpu"), stream_seed(context.seed, "replay head")):
        language = load(context.source, trust_remote_code=context.trust_remote_code)
    if language is not None:
        share_backbone(language, context.model)
    return language
