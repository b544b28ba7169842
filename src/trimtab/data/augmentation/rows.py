"""Which training rows are changed in an epoch, and their changed texts.

All of it is a function of the seed, the epoch and the number of the row alone: an epoch's rows do not depend on those
before, on the order of training, or on the number of processes, so that a resumed run reads the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trimtab.core.seeds import stream
from trimtab.data.augmentation.edits import Synonyms, drop_words, replace_words, shuffle_words
from trimtab.data.augmentation.keyboard import mistype
from trimtab.data.augmentation.synonyms import lexicon_of
from trimtab.data.augmentation.words import Splitter

if TYPE_CHECKING:
    import pandas as pd

    from trimtab.config.augmentation import AugmentationSection

TEXT_COLUMNS = ("text", "text_pair")
BACK_TRANSLATION, TOKEN_CUTOFF = "back_translation", "token_cutoff"


@dataclass(frozen=True)
class Resources:
    """What operations look things up in, made once before training.

    Args:
        synonyms: word -> synonyms.
        back_translations: text -> the same there and back; texts without an entry stay as they are.
    """

    synonyms: Synonyms = field(default_factory=dict)
    back_translations: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lexicon(self) -> frozenset[str]:
        """The words that texts in scripts without spaces are cut by."""
        return lexicon_of(self.synonyms)


def splitter_of(section: AugmentationSection, resources: Resources) -> Splitter:
    """How texts are taken apart under a recipe."""
    keep = frozenset(word.lower() for word in section.keep_words)
    return Splitter(keep=keep, keep_negations=section.keep_negations, lexicon=resources.lexicon)


def augment_text(
    text: str,
    operation: str,
    section: AugmentationSection,
    resources: Resources,
    splitter: Splitter,
    rng: np.random.Generator,
) -> str:
    """One text after one operation; never empty, and the text itself where the operation finds nothing to change.

    Args:
        text: the text.
        operation: one of the section's `text_operations`; `token_cutoff` works on tokens and changes no text.
        section: with the rates.
        resources: synonyms and back-translations.
        splitter: from `splitter_of`.
        rng: where the choices come from.
    """
    if operation == BACK_TRANSLATION:
        changed = resources.back_translations.get(text, text)
    elif operation == "synonym_replacement":
        changed = replace_words(splitter.split(text), section.synonym_replacement, rng, resources.synonyms)
    elif operation == "word_swap":
        changed = shuffle_words(splitter.split(text), section.word_swap, rng)
    elif operation == "word_dropout":
        changed = drop_words(splitter.split(text), section.word_dropout, rng)
    elif operation == "character_noise":
        changed = mistype(splitter.split(text), section.character_noise, rng)
    else:
        return text
    return changed if changed.strip() else text


def augment_row(
    texts: tuple[str, ...],
    section: AugmentationSection,
    resources: Resources,
    splitter: Splitter,
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts of one row (two for a pair) as an epoch sees them, and the operations that changed them.

    With the probability of the section the row is changed, by `operations_per_row` operations in an order drawn at
    random; one that changes nothing makes room for the next. `token_cutoff` is named only: it works on tokens, later.
    """
    if rng.random() >= section.probability:
        return texts, ()
    names = section.text_operations
    applied: list[str] = []
    for index in rng.permutation(len(names)).tolist():
        name = names[index]
        changed = tuple(augment_text(text, name, section, resources, splitter, rng) for text in texts)
        if changed != texts or name == TOKEN_CUTOFF:
            texts = changed
            applied.append(name)
        if len(applied) == section.operations_per_row:
            break
    return texts, tuple(applied)


def augment_rows(
    frame: pd.DataFrame, section: AugmentationSection, *, seed: int, epoch: int, resources: Resources | None = None
) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """The rows of a canonical frame as an epoch sees them, and the operations that each one got.

    Args:
        frame: training rows; it is left as it is. Its index does not count, the position of a row does.
        section: the recipe's section.
        seed: the run's seed.
        epoch: number of the epoch, from 0.
        resources: synonyms and back-translations.

    Returns:
        A frame with other texts in some rows and all else the same; and for each row the names of its operations, none
        where it stayed. Token cutoff is named, and not yet done.
    """
    resources = resources or Resources()
    splitter = splitter_of(section, resources)
    columns = [name for name in TEXT_COLUMNS if name in frame.columns]
    rows = list(zip(*(frame[name].tolist() for name in columns), strict=True))
    applied: list[tuple[str, ...]] = []
    for row, texts in enumerate(rows):
        rng = stream(seed, "augmentation", epoch, row)
        rows[row], operations = augment_row(texts, section, resources, splitter, rng)
        applied.append(operations)
    changed = frame.copy()
    for position, name in enumerate(columns):
        values = np.empty(len(rows), dtype=object)
        values[:] = [texts[position] for texts in rows]
        changed[name] = values
    return changed, applied


def augment_frame(
    frame: pd.DataFrame, section: AugmentationSection, *, seed: int, epoch: int, resources: Resources | None = None
) -> pd.DataFrame:
    """The rows of a canonical frame as an epoch sees them; see `augment_rows`."""
    return augment_rows(frame, section, seed=seed, epoch=epoch, resources=resources)[0]
