"""What augmentation looks things up in: made once before training, and kept in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.config.augmentation import EMBEDDINGS
from trimtab.core.errors import RecipeError, RunError
from trimtab.core.files import disk_error, write_json
from trimtab.data.augmentation.rows import BACK_TRANSLATION, Resources
from trimtab.data.augmentation.synonyms import embedding_synonyms, lexicon_of, read_synonyms, words_in
from trimtab.data.augmentation.translation import Progress, TranslationCache, Translator, back_translate

if TYPE_CHECKING:
    from trimtab.config.augmentation import AugmentationSection

RESOURCES_FILE, TRANSLATIONS_FILE = "resources.json", "back_translations.jsonl"


@dataclass(frozen=True)
class Sources:
    """Where resources come from, each asked only when it is needed.

    Args:
        tokenizer: of the model that will be trained.
        embeddings: gives the model's table of input embeddings, `[vocabulary, width]`.
        fingerprint: gives the fingerprint of the translators.
        translators: loads the translators, there and back.
    """

    tokenizer: Any
    embeddings: Callable[[], Any]
    fingerprint: Callable[[], str]
    translators: Callable[[], tuple[Translator, Translator]]


def make_resources(
    section: AugmentationSection,
    texts: Sequence[str],
    sources: Sources,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Resources:
    """Synonyms and back-translations for some texts.

    Args:
        section: the recipe's section.
        texts: the training texts, and no others.
        sources: where they come from.
        folder: where they are kept. What is there already is used again, whatever has become of word list and models,
            so that a resumed run reads the same texts. None keeps nothing.
        progress: called while texts are translated, with how many are done and of how many.

    Raises:
        RecipeError: no word of the texts has a synonym.
        RunError: the folder cannot be read or written.
    """
    kept = _read_kept(folder)
    translates = BACK_TRANSLATION in section.text_operations
    if kept is None:
        synonyms = _find_synonyms(section, texts, sources)
        models = sources.fingerprint() if translates else None
        if folder is not None:
            _make_folder(folder)
            write_json(folder / RESOURCES_FILE, {"synonyms": synonyms, "models": models})
    else:
        synonyms, models = kept
    translations: dict[str, str] = {}
    if models is not None:
        cache = TranslationCache(_cache_path(section, folder))
        translations = back_translate(texts, sources.translators, cache, models, progress)
    return Resources(synonyms, translations)


def _read_kept(folder: Path | None) -> tuple[dict[str, tuple[str, ...]], str | None] | None:
    file = None if folder is None else folder / RESOURCES_FILE
    if file is None or not file.exists():
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {word: tuple(found) for word, found in kept["synonyms"].items()}, kept["models"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"What augmentation looks things up in cannot be read: {file}: {error}.",
            remedy="The run cannot be resumed; start a new one with its recipe.yaml: trimtab train RUN/recipe.yaml",
        ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error


def _cache_path(section: AugmentationSection, folder: Path | None) -> Path | None:
    if section.back_translation_cache is not None:
        return Path(section.back_translation_cache).expanduser()
    return None if folder is None else folder / TRANSLATIONS_FILE


def _find_synonyms(section: AugmentationSection, texts: Sequence[str], sources: Sources) -> dict[str, tuple[str, ...]]:
    """The synonyms of the words that occur in the texts."""
    if section.synonyms is None:
        return {}
    if section.synonyms == EMBEDDINGS:
        least = section.synonym_similarity
        found = embedding_synonyms(words_in(texts), sources.tokenizer, sources.embeddings(), min_similarity=least)
        remedy = "Lower augmentation.synonym_similarity, or name a word list in augmentation.synonyms."
    else:
        listed = read_synonyms(Path(section.synonyms).expanduser())
        present = words_in(texts, lexicon_of(listed))
        found = {word: synonyms for word, synonyms in listed.items() if word in present}
        remedy = "Name a word list in the language of the texts in augmentation.synonyms."
    if not found:
        raise RecipeError(
            f"augmentation.synonyms: no word of the training texts has a synonym in {section.synonyms!r}.",
            remedy=remedy,
        )
    return found
