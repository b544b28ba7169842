"""Augmentation of a run: the training rows that change from epoch to epoch, the translators, and the preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trimtab.config.augmentation import EMBEDDINGS, IMAGE_OPERATIONS, TEXT_OPERATIONS, AugmentationSection
from trimtab.core.errors import ModelError, RecipeError
from trimtab.core.optional import require
from trimtab.core.seeds import stream
from trimtab.data.augmentation.cutoff import cut_row
from trimtab.data.augmentation.resources import Sources, make_resources
from trimtab.data.augmentation.rows import BACK_TRANSLATION, TEXT_COLUMNS, TOKEN_CUTOFF, augment_row, splitter_of
from trimtab.data.augmentation.synonyms import read_synonyms
from trimtab.data.augmentation.translation import Progress, TranslationCache, Translator, fingerprint_of
from trimtab.models.configs import load_config
from trimtab.models.hub import local_directory
from trimtab.models.integrity import check_weights
from trimtab.models.loading import load_model
from trimtab.models.processors import load_processor, max_length_of
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.sources import ModelSource, resolve_model
from trimtab.tasks.augmented import AugmentedExamples, AugmentedImages, check_augmentation, special_ids

if TYPE_CHECKING:
    import pandas as pd

    from trimtab.config.origins import ResolvedRecipe
    from trimtab.pipeline.parts import Groundwork, Parts
    from trimtab.tasks.base import Examples

FOLDER = "augmentation"
"""Folder of a run directory that holds what augmentation looks things up in."""
FORWARD, BACKWARD = "back_translation_forward", "back_translation_backward"


@dataclass(frozen=True)
class Pair:
    """A training row before and after augmentation.

    Args:
        row: its number in the user's file.
        source: the file or split it came from.
        label: its label.
        operations: what changed it.
        original: its texts, two for a pair of texts. Where tokens were cut, as the tokenizer reads them.
        augmented: its texts afterwards.
    """

    row: int
    source: str
    label: str
    operations: tuple[str, ...]
    original: tuple[str, ...]
    augmented: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What augmentation does to some training rows in the first epoch.

    Args:
        operations: those that are on.
        probability: share of the rows that are changed in an epoch.
        train_rows: rows of the training split.
        pairs: changed rows.
        nothing_found: rows drawn to be changed on the way to these pairs, in which no operation found what to change.
    """

    operations: tuple[str, ...]
    probability: float
    train_rows: int
    pairs: tuple[Pair, ...]
    nothing_found: int


def augmented_examples(parts: Parts, folder: Path, progress: Progress | None = None) -> Examples:
    """The training rows with the augmentation of the recipe; the rows as they are where none is on.

    Args:
        parts: of the run; the model still has its pretrained weights.
        folder: the run's folder for it, `RunDirectory.path / FOLDER`.
        progress: called while texts are translated, with how many are done and of how many.

    Raises:
        TrimtabError: a word list, a model or a file cannot be used.
    """
    section, original = parts.recipe.augmentation, parts.examples["train"]
    if section.image_operations:
        return AugmentedImages(original, section, seed=parts.recipe.seed)
    if not section.text_operations:
        return original
    frame, context, task = parts.ground.dataset.splits["train"], parts.ground.context, parts.ground.task
    sources = _sources(section, context.processor, parts.model, parts.accelerator.device)
    # The main process makes what the others then read. Building translators draws random numbers, which are training's.
    with parts.accelerator.main_process_first(), _random_state_kept(parts.accelerator.device):
        resources = make_resources(section, _texts_of(frame), sources, folder=folder, progress=progress)
    return AugmentedExamples(
        original,
        frame,
        lambda rows: task.encode(rows, context),
        section,
        seed=parts.recipe.seed,
        resources=resources,
        tokenizer=context.processor,
    )


def preview(resolved: ResolvedRecipe, source: Any, rows: int) -> Preview:
    """Augment some training rows as the first epoch would, without training.

    Args:
        resolved: the recipe.
        source: path, id, DataFrame or `datasets` object.
        rows: most pairs to make.

    Raises:
        TrimtabError: no operation on text is on, or whatever else cannot work.
    """
    section = resolved.recipe.augmentation
    if not section.text_operations and not section.image_operations:
        raise RecipeError(
            "No augmentation is on.",
            remedy="Turn an operation on, for example with --set augmentation.word_dropout=0.1; there are "
            f"{', '.join(TEXT_OPERATIONS)} (the models of back_translation_forward and back_translation_backward) for "
            f"texts, and {', '.join(IMAGE_OPERATIONS)} for images.",
        )
    check_sources(section)
    ground = _groundwork(resolved, source)
    check_augmentation(section, ground.task)
    if ground.task.modality != "text":
        raise RecipeError(
            "The preview prints texts, and these data are images.",
            remedy="Train with it: trimtab train takes the same keys.",
        )
    return _preview(ground, rows)


def check_sources(section: AugmentationSection) -> None:
    """See that word list and translation models can be used; no weights are read.

    For a new run: one that goes on has what it needs in its folder.

    Raises:
        DataError: the word list is missing or has faults, or the cache of translations is another file.
        ModelError: a model is missing, or is not a text-to-text model.
        RecipeError: a language is unknown to its model.
    """
    if section.synonyms not in (None, EMBEDDINGS):
        read_synonyms(Path(str(section.synonyms)).expanduser())
    if section.back_translation_cache is not None:
        TranslationCache(Path(section.back_translation_cache).expanduser())
    if BACK_TRANSLATION in section.text_operations:
        for direction in (FORWARD, BACKWARD):
            _read_translator(section, direction)


def _groundwork(resolved: ResolvedRecipe, source: Any) -> Groundwork:
    from trimtab.config.load import with_inferred
    from trimtab.config.section import AUTO
    from trimtab.data.loading import load_dataset
    from trimtab.pipeline.parts import lay_groundwork

    recipe = resolved.recipe
    dataset = load_dataset(source, recipe.data, seed=recipe.seed, task=recipe.task.name)
    if recipe.task.name == AUTO:
        with_inferred(resolved, {"task": dataset.task})  # raises where options given do not fit this task
    return lay_groundwork(recipe, dataset)


def _preview(ground: Groundwork, rows: int) -> Preview:
    recipe, frame, tokenizer = ground.recipe, ground.dataset.splits["train"], ground.context.processor
    section = recipe.augmentation
    order = stream(recipe.seed, "augmentation", "preview").permutation(len(frame)).tolist()
    drawn = [row for row in order if stream(recipe.seed, "augmentation", 0, row).random() < section.probability]
    if BACK_TRANSLATION in section.text_operations:
        drawn = drawn[:rows]  # each of them costs two translations
    model = _build_model(ground) if section.synonyms == EMBEDDINGS else None
    sources = _sources(section, tokenizer, model, ground.device)
    lookup = make_resources(section.model_copy(update={FORWARD: None}), _texts_of(frame), sources)
    if BACK_TRANSLATION in section.text_operations:
        only = section.model_copy(update={"synonyms": None})
        translated = make_resources(only, _texts_of(frame.iloc[drawn]), sources)
        lookup = replace(lookup, back_translations=translated.back_translations)
    splitter = splitter_of(section, lookup)
    columns = [name for name in TEXT_COLUMNS if name in frame.columns]
    pairs: list[Pair] = []
    nothing_found = 0
    for row in drawn:
        if len(pairs) == rows:
            break
        record = frame.iloc[row]
        original = tuple(str(record[name]) for name in columns)
        rng = stream(recipe.seed, "augmentation", 0, row)
        augmented, operations = augment_row(original, section, lookup, splitter, rng)
        if TOKEN_CUTOFF in operations:
            original, augmented = _show_cut(ground, row, original, augmented)
        if operations:
            label = str(record["label"])
            pairs.append(Pair(int(record["row"]), str(record["source"]), label, operations, original, augmented))
        else:
            nothing_found += 1
    return Preview(section.text_operations, section.probability, len(frame), tuple(pairs), nothing_found)


def _show_cut(
    ground: Groundwork, row: int, original: tuple[str, ...], augmented: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts as the tokenizer reads them, before, and after tokens were cut from the augmented ones."""
    tokenizer, section = ground.context.processor, ground.recipe.augmentation
    special = special_ids(tokenizer)
    options = {"truncation": True, "max_length": ground.task.max_length(ground.context)}
    before, after = (np.array(tokenizer(*texts, **options)["input_ids"]) for texts in (original, augmented))
    rng = stream(ground.recipe.seed, "augmentation", "cutoff", 0, row)
    stays = cut_row(after, special, section.token_cutoff, section.token_cutoff_kind, rng)
    return _decode(tokenizer, before, special), _decode(tokenizer, after[stays], special)


def _decode(tokenizer: Any, ids: np.ndarray, special: np.ndarray) -> tuple[str, ...]:
    """The text of each stretch of tokens between special ones."""
    content = np.flatnonzero(~np.isin(ids, special))
    stretches = np.split(ids[content], np.flatnonzero(np.diff(content) > 1) + 1)
    return tuple(str(tokenizer.decode(stretch)).strip() for stretch in stretches)


def _build_model(ground: Groundwork) -> Any:
    loaded = load_model(
        ground.source,
        auto_class=ground.task.auto_class,
        labels=ground.task.labels,
        section=ground.recipe.model,
        modality=ground.task.modality,
    )
    return loaded.model


def _texts_of(frame: pd.DataFrame) -> list[str]:
    return [text for name in TEXT_COLUMNS if name in frame.columns for text in frame[name].tolist()]


def _random_state_kept(device: torch.device) -> Any:
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _sources(section: AugmentationSection, tokenizer: Any, model: Any, device: torch.device) -> Sources:
    return Sources(
        tokenizer=tokenizer,
        embeddings=lambda: model.get_input_embeddings().weight.detach().float().cpu().numpy(),
        fingerprint=lambda: _fingerprint(section),
        translators=lambda: (
            _load_translator(section, FORWARD, device),
            _load_translator(section, BACKWARD, device),
        ),
    )


def _fingerprint(section: AugmentationSection) -> str:
    names = (str(section.back_translation_forward), str(section.back_translation_backward))
    settings = [section.back_translation_prompts, section.back_translation_languages, section.back_translation_beams]
    return fingerprint_of([local_directory(resolve_model(name)) for name in names], settings)


def _load_translator(section: AugmentationSection, direction: str, device: torch.device) -> Translator:
    """A translator with its weights, on the device, in evaluation mode."""
    import transformers

    source, config, tokenizer, forced = _read_translator(section, direction)
    try:
        directory = local_directory(source)
        check_weights(directory)
        with quiet_transformers():
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, config=config, dtype=torch.float32)
    except ModelError as error:
        raise _unusable(direction, error.message) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _unusable(direction, f"the model {source.name!r} cannot be loaded: {reason_of(error)}.") from error
    prompts = section.back_translation_prompts or ["", ""]
    return Translator(
        model=model.eval().to(device),
        tokenizer=tokenizer,
        max_length=max_length_of(tokenizer, config),
        prompt=prompts[0 if direction == FORWARD else 1],
        forced_token=forced,
        beams=section.back_translation_beams,
    )


def _read_translator(section: AugmentationSection, direction: str) -> tuple[ModelSource, Any, Any, int | None]:
    """Place, configuration and tokenizer of a translator, and the token that its output begins with."""
    import transformers

    try:
        source = resolve_model(str(getattr(section, direction)))
        directory = local_directory(source, weights=False)
        config = load_config(source, directory, trust_remote_code=False)
        if type(config) not in transformers.AutoModelForSeq2SeqLM._model_mapping:
            raise _unusable(direction, f"the model {source.name!r} ({config.model_type}) is no text-to-text model.")
        if not (directory / "tokenizer.json").is_file():
            require("sentencepiece", extra="translation", purpose=f"read the tokenizer of {source.name!r}")
        tokenizer = load_processor(source, "text")
    except ModelError as error:
        raise error if error.message.startswith("augmentation.") else _unusable(direction, error.message) from error
    return source, config, tokenizer, _first_token(section, direction, tokenizer)


def _unusable(direction: str, what: str) -> ModelError:
    return ModelError(
        f"augmentation.{direction}: {what}",
        remedy=f"Name a translation model in augmentation.{direction}: a directory or a Hub id, for example of the "
        "kinds Marian, T5, M2M100, NLLB or mBART.",
    )


def _first_token(section: AugmentationSection, direction: str, tokenizer: Any) -> int | None:
    """The token that tells a model of many languages which to write; the tokenizer is told which it reads.

    Raises:
        RecipeError: the model knows no languages, or not these.
    """
    if section.back_translation_languages is None:
        return None
    reads, writes = section.back_translation_languages[:: 1 if direction == FORWARD else -1]
    if not hasattr(tokenizer, "src_lang"):
        raise RecipeError(
            f"augmentation.back_translation_languages: the model of augmentation.{direction} is not told languages.",
            remedy="Remove augmentation.back_translation_languages; a T5 model takes augmentation."
            "back_translation_prompts.",
        )
    ids = [_language_id(tokenizer, code) for code in (reads, writes)]
    if None in ids:
        raise RecipeError(
            f"augmentation.back_translation_languages: the model of augmentation.{direction} does not know {reads!r} "
            f"or {writes!r}.",
            remedy="Use the codes of its model card, for example eng_Latn and deu_Latn for NLLB, en and de for M2M100.",
        )
    tokenizer.src_lang = reads
    return ids[1]


def _language_id(tokenizer: Any, code: str) -> int | None:
    """The token of a language, or None where the tokenizer has none for it."""
    if hasattr(tokenizer, "get_lang_id"):  # M2M100, whose tokens are called __en__
        try:
            return int(tokenizer.get_lang_id(code))
        except KeyError:
            return None
    token = tokenizer.convert_tokens_to_ids(code)
    return None if token in (None, tokenizer.unk_token_id) else int(token)
