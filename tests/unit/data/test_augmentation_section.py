"""The recipe's section: what is on, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.config.augmentation import AugmentationSection
from trimtab.config.load import build_recipe
from trimtab.core.errors import RecipeError


def section(**fields: Any) -> AugmentationSection:
    return build_recipe(overrides={f"augmentation.{name}": value for name, value in fields.items()}).recipe.augmentation


def test_everything_is_off_by_default() -> None:
    assert section().text_operations == () == section().image_operations


def test_what_is_on() -> None:
    models = {"back_translation_forward": "a/b", "back_translation_backward": "b/a"}
    on = section(word_swap=0.1, token_cutoff=0.2, color_jitter=0.1, **models)
    assert on.text_operations == ("back_translation", "word_swap", "token_cutoff")
    assert on.image_operations == ("color_jitter",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"synonym_replacement": 0.1}, "set `synonyms` to a word list or to `embeddings`"),
        ({"synonyms": "embeddings"}, "`synonym_replacement` is 0"),
        ({"synonyms": "x.tsv", "synonym_replacement": 0.1, "synonym_similarity": 0.9}, "`synonyms: embeddings`"),
        ({"back_translation_forward": "a/b"}, "set `back_translation_backward` too"),
        ({"back_translation_backward": "a/b"}, "set `back_translation_forward` too"),
        ({"back_translation_beams": 4}, "without `back_translation_forward`"),
        ({"back_translation_cache": "x.jsonl"}, "without `back_translation_forward`"),
        ({"back_translation_prompts": ["one"]}, "takes two texts, found 1"),
        ({"token_cutoff_kind": "tokens"}, "`token_cutoff` is 0"),
        ({"probability": 0.9}, "no operation is on"),
        ({"word_swap": 0.1, "operations_per_row": 2}, "is 2, with 1 operation on text (word_swap)"),
        ({"horizontal_flip": 0.5, "color_jitter": 0.1, "operations_per_row": 2}, "with no operation on text"),
        ({"token_cutoff": 0.1, "keep_words": ["x"]}, "no such operation is on"),
        ({"word_dropout": 1.0}, "word_dropout"),
        ({"probability": 0.0}, "probability"),
        ({"word_swap": -0.1}, "word_swap"),
        ({"word_swop": 0.1}, "Did you mean 'augmentation.word_swap'?"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as raised:
        section(**fields)
    assert words in str(raised.value)


def test_one_word_to_keep_may_stand_without_a_list() -> None:
    assert section(word_swap=0.1, keep_words="router").keep_words == ["router"]
