"""The recipe's section `augmentation`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trimtab.config.section import Section

EMBEDDINGS = "embeddings"
"""The source of synonyms that is no file: the model's own table of input embeddings."""

WORD_OPERATIONS = ("synonym_replacement", "word_swap", "word_dropout", "character_noise")
TEXT_OPERATIONS = ("back_translation", *WORD_OPERATIONS, "token_cutoff")
IMAGE_OPERATIONS = ("horizontal_flip", "random_resized_crop", "color_jitter")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class AugmentationSection(Section):
    """Changed copies of training rows, made anew in each epoch; never seen by validation or test."""

    probability: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the training rows that are changed in an epoch; the others are seen as they are. Which "
        "rows, and how, is drawn anew in each epoch.",
    )
    operations_per_row: int = Field(
        1,
        ge=1,
        description="Operations that a changed text gets, drawn among those that are on (EDA, arXiv 1901.11196, gives "
        "one). Where one finds nothing to change, another is drawn. A changed image gets all that are on.",
    )
    word_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a text's words that are removed, at least one; 0 is off, 0.1 is usual. Chinese, Japanese "
        "and other scripts without spaces: of its characters.",
    )
    word_swap: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Swaps of two words for each word of a text, at least one; 0 is off, 0.1 is usual. In scripts "
        "without spaces, neighbouring characters are swapped.",
    )
    character_noise: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a text's letters that are mistyped, at least one; 0 is off, 0.02 is a typo in ten words. "
        "Latin letters: a neighbouring key (QWERTY) in place of the letter or beside it, a letter lost, two letters "
        "swapped. Other scripts, Chinese too: lost and swapped only, as there is no table of similar characters.",
    )
    synonym_replacement: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of a text's words that are replaced by a synonym from `synonyms`, at least one; 0 is off, "
        "0.1 is usual.",
    )
    synonyms: str | None = Field(
        None,
        description="Where synonyms come from: a word list (UTF-8, on each line a word, a tab, and its synonyms "
        "between commas), or `embeddings`: the nearest words in the model's own table of input embeddings. Near is not "
        "equal there: opposites and numbers stand near each other too, so look at `trimtab augment` first.",
    )
    synonym_similarity: float = Field(
        0.55,
        gt=0,
        lt=1,
        description="Least cosine similarity of two words to count as synonyms, with `synonyms: embeddings`.",
    )
    keep_negations: bool = Field(
        True,
        description="Never remove, move, mistype or replace words of negation (not, never, n't, 不, 没, …): without "
        "them a text often has another label.",
    )
    keep_words: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        [],
        description="Further words that are never removed, moved, mistyped or replaced, in any case of their letters.",
    )
    token_cutoff: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a text's tokens that are cut out after encoding, at least one, special tokens never "
        "(cutoff, arXiv 2009.13818); 0 is off, 0.1 is usual.",
    )
    token_cutoff_kind: Literal["span", "tokens"] = Field(
        "span", description="What is cut out: one `span` of neighbouring tokens, or single `tokens` here and there."
    )
    back_translation_forward: str | None = Field(
        None,
        description="Text-to-text model (local directory or Hub id) that translates the training texts into another "
        "language. With `back_translation_backward`, each training text is translated there and back once before "
        "training, and a changed row may be read in these words.",
    )
    back_translation_backward: str | None = Field(
        None, description="Text-to-text model (local directory or Hub id) that translates them back."
    )
    back_translation_prompts: list[str] | None = Field(
        None,
        description="For models of the T5 kind, what stands before a text: two, for there and back, for example "
        '`["translate English to German: ", "translate German to English: "]`.',
    )
    back_translation_languages: list[str] | None = Field(
        None,
        description="For models of many languages (M2M100, NLLB, mBART-50), the codes of the texts' language and of "
        "the other one, for example `[eng_Latn, deu_Latn]`.",
    )
    back_translation_beams: int = Field(
        1, ge=1, description="Beams of the search for a translation; more are slower and often better."
    )
    back_translation_cache: str | None = Field(
        None,
        description="File that keeps translations for other runs (JSON Lines, made if absent); in the run's own folder "
        "when absent.",
    )
    horizontal_flip: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Images: probability that a changed row's image is mirrored left to right; 0 is off.",
    )
    random_resized_crop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Images: largest share of the area that a random crop of a changed row's image removes, its sides "
        "in a ratio of 3:4 to 4:3; 0 is off, 0.3 is mild.",
    )
    color_jitter: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Images: largest relative change of brightness, contrast and saturation, each drawn by itself; 0 "
        "is off, 0.2 is mild.",
    )

    @property
    def text_operations(self) -> tuple[str, ...]:
        """The operations on text that are on."""
        return tuple(name for name in TEXT_OPERATIONS if self._is_on(name))

    @property
    def image_operations(self) -> tuple[str, ...]:
        """The operations on images that are on."""
        return tuple(name for name in IMAGE_OPERATIONS if self._is_on(name))

    def _is_on(self, name: str) -> bool:
        if name == "back_translation":
            return self.back_translation_forward is not None
        return bool(getattr(self, name) > 0)

    @model_validator(mode="after")
    def _nothing_is_said_in_vain(self) -> AugmentationSection:
        problems = [*self._synonym_problems(), *self._translation_problems(), *self._idle_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _synonym_problems(self) -> list[str]:
        if self.synonym_replacement > 0 and not self.synonyms:
            return ["`synonym_replacement` needs a source: set `synonyms` to a word list or to `embeddings`"]
        if self.synonyms and self.synonym_replacement == 0:
            return ["`synonyms` is given, but `synonym_replacement` is 0: set it to the share of words, such as 0.1"]
        if self._differs("synonym_similarity") and self.synonyms != EMBEDDINGS:
            return ["`synonym_similarity` belongs to `synonyms: embeddings`, which is not set"]
        return []

    def _translation_problems(self) -> list[str]:
        forward, backward = self.back_translation_forward, self.back_translation_backward
        if (forward is None) != (backward is None):
            missing = "back_translation_backward" if backward is None else "back_translation_forward"
            return [f"back-translation needs two models, there and back: set `{missing}` too"]
        problems = []
        for name in ("back_translation_prompts", "back_translation_languages"):
            value = getattr(self, name)
            if value is not None and len(value) != 2:
                problems.append(f"`{name}` takes two texts, found {len(value)}")
        extras = [name for name in type(self).model_fields if name.startswith("back_translation_")][2:]
        given = [name for name in extras if self._differs(name)]
        if forward is None and given:
            problems.append(f"`{given[0]}` is given without `back_translation_forward` and `back_translation_backward`")
        return problems

    def _idle_problems(self) -> list[str]:
        """Values that change nothing with the operations that are on."""
        if self._differs("token_cutoff_kind") and self.token_cutoff == 0:
            return ["`token_cutoff_kind` is given, but `token_cutoff` is 0"]
        on = (*self.text_operations, *self.image_operations)
        if not on and (self._differs("probability") or self._differs("operations_per_row")):
            return ["no operation is on, so that no row is changed: set one, for example `word_dropout: 0.1`"]
        texts = self.text_operations
        if self.operations_per_row > max(1, len(texts)):
            count = f"{len(texts) or 'no'} operation{'s' if len(texts) > 1 else ''} on text"
            listed = f" ({', '.join(texts)})" if texts else ""
            return [f"`operations_per_row` is {self.operations_per_row}, with {count}{listed}"]
        if not set(WORD_OPERATIONS) & set(on) and (self._differs("keep_words") or self._differs("keep_negations")):
            return ["`keep_words` and `keep_negations` concern changed words, and no such operation is on"]
        return []

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)
