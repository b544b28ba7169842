"""Which tokens a tokenizer lacks, and that a longer one reads everything else as before."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AlbertTokenizer,
    AutoTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Tokenizer,
    ViTImageProcessorPil,
    XLMRobertaTokenizer,
)

from trimtab.config.recipe import ModelSection
from trimtab.core.errors import ModelError, RecipeError
from trimtab.models.sources import resolve_model
from trimtab.models.vocabulary import NewToken, extended_tokenizer, find_new_tokens, first_free_id, with_tokens

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [letter for letter in string.ascii_lowercase if letter not in "xq"]
WORDS = ["the", "router", "中", ":", "-", "12"]


def word_piece() -> PreTrainedTokenizerBase:
    """BERT's: lower case, no accents; `x` stands only at the beginning of words, `q` only in a longer piece."""
    pieces = [*SPECIAL, *LETTERS, "x", *(f"##{letter}" for letter in LETTERS), "##qu", *WORDS]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})


def unigram() -> PreTrainedTokenizerBase:
    """A list of scores, with a token beside the vocabulary that holds the next id, as in DeBERTa v3."""
    pieces = [("<unk>", 0.0), ("<pad>", 0.0), ("▁", -2.0), ("▁the", -3.0), *((letter, -4.0) for letter in LETTERS)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.normalizer = normalizers.NFKC()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", model_max_length=32
    )


def word_level() -> PreTrainedTokenizerBase:
    return tiny.make_tokenizer()


def bpe() -> PreTrainedTokenizerBase:
    """Characters with a mark at the end of words, as in GPT-1."""
    pieces = ["<unk>", "<pad>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "th"]
    backend = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            [("t", "h")],
            unk_token="<unk>",
            end_of_word_suffix="</w>",
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")


def byte_level() -> PreTrainedTokenizerBase:
    return GPT2Tokenizer(
        vocab={character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        merges=[],
    )


def _scores() -> list[tuple[str, float]]:
    return [("▁", -2.0), *((letter, -3.0) for letter in string.ascii_lowercase)]


def t5() -> PreTrainedTokenizerBase:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *_scores()], extra_ids=3)


def xlm_roberta() -> PreTrainedTokenizerBase:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=[*special, *_scores(), ("<mask>", 0.0)])


def albert() -> PreTrainedTokenizerBase:
    special = [("<pad>", 0.0), ("<unk>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[MASK]", 0.0)]
    return AlbertTokenizer(vocab=[*special, *_scores()])


MAKERS = [word_piece, unigram, word_level, bpe, t5, xlm_roberta, albert]
TEXTS = ["the ქარი ქარი 天气 天", "ქარი the router"]


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def found(tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int = 100, min_count: int = 1) -> dict[str, int]:
    return {token.piece: token.count for token in find_new_tokens(texts, tokenizer, limit, min_count)}


def test_characters_of_a_script_without_spaces_one_by_one() -> None:
    tokens = find_new_tokens(["天气中天", "天 the 国"], word_piece(), 100, 1)
    assert tokens == (NewToken("天", "天", 3), NewToken("国", "国", 1), NewToken("气", "气", 1))


def test_limit_and_least_count_take_the_most_frequent() -> None:
    texts = ["天天天 气气 国"]
    assert found(word_piece(), texts, limit=2) == {"天": 3, "气": 2}
    assert found(word_piece(), texts, min_count=2) == {"天": 3, "气": 2}
    assert found(word_piece(), texts, min_count=3) == {"天": 3}


def test_words_of_a_script_with_spaces_and_the_letters_for_rarer_ones() -> None:
    assert found(word_piece(), ["ხე ხე ხე", "ხი"]) == {"ხ": 4, "##ე": 3, "ხე": 3, "##ი": 1, "ხი": 1}
    assert found(unigram(), ["ხე ხე ხე", "ხი"]) == {"ხ": 4, "ე": 3, "▁ხე": 3, "ი": 1, "▁ხი": 1}


def test_a_vocabulary_of_whole_words_gets_words_and_bpe_gets_characters() -> None:
    assert found(word_level(), ["the ქარი router天气", "ქარი"]) == {"ქარი": 2, "router天气": 1}
    assert found(bpe(), ["th天 天天"]) == {"天</w>": 2, "天": 1}


def test_a_known_character_is_missing_only_in_a_place_where_no_piece_has_it() -> None:
    # `x` begins words only, `q` stands within them only, in `##qu`.
    assert found(word_piece(), ["ax qa aqu"]) == {"##x": 1, "q": 1}


def test_pieces_are_normalised_like_the_texts() -> None:
    assert found(word_piece(), ["ÉÇé ÞORN þorn"]) == {"þ": 2, "þorn": 2}
    assert found(unigram(), ["① ㎡"]) == {"1": 1, "2": 1, "▁m2": 1}


def test_what_cannot_be_seen_is_not_added() -> None:
    invisible = ["a\u200bb", "the\ufffd", "\u3000the", "a\u00adb", "\x07", "the\ue000"]
    for tokenizer in (word_piece(), unigram(), bpe(), word_level()):
        assert not {c for piece in found(tokenizer, invisible) for c in piece} & set(
            "\u200b\ufffd\u3000\u00ad\x07\ue000"
        )


def test_symbols_within_words_become_characters_and_no_words() -> None:
    assert found(word_piece(), ["great☺ ☺"]) == {"##☺": 1, "☺": 1}


def test_a_word_too_long_for_the_tokenizer_asks_for_nothing() -> None:
    assert found(word_piece(), ["ქ" * 101]) == {}


def test_nothing_is_missing() -> None:
    assert found(word_piece(), ["the router", ""]) == {}
    assert found(word_piece(), []) == {}
    assert found(byte_level(), ["天气 ქარი"]) == {}


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = ["天气 国 ქარი", "气 国", "ხე天"]
    tokens = find_new_tokens(texts, word_piece(), 5, 1)
    assert tokens == find_new_tokens(texts[::-1], word_piece(), 5, 1)
    assert [token.piece for token in tokens[:2]] == ["国", "天"]  # 2 times each, with 气: in the order of code points


@pytest.mark.parametrize("make", MAKERS)
def test_new_tokens_are_written_and_survive_saving(make: Callable[[], PreTrainedTokenizerBase], tmp_path: Path) -> None:
    tokenizer = make()
    unknown = tokenizer.unk_token_id
    before = {text: ids(tokenizer, text) for text in TEXTS}
    assert all(unknown in found for found in before.values())
    size, first = len(tokenizer), first_free_id(tokenizer)

    extended = extended_tokenizer(tokenizer, TEXTS, ModelSection(extend_vocabulary=True, vocabulary_min_count=1))

    new = find_new_tokens(TEXTS, tokenizer, 4000, 1)
    assert extended.convert_tokens_to_ids([token.piece for token in new]) == list(range(first, first + len(new)))
    assert not any(unknown in ids(extended, text) for text in TEXTS)
    assert max(index for text in TEXTS for index in ids(extended, text)) >= first
    # The tokenizer that was given is left alone.
    assert len(tokenizer) == size and {text: ids(tokenizer, text) for text in TEXTS} == before
    extended.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert len(again) == len(extended)
    for text in (*TEXTS, "the router", "a [MASK] <mask> b"):
        assert again(text)["input_ids"] == extended(text)["input_ids"]
    # Once more finds nothing more to add.
    assert find_new_tokens(TEXTS, again, 4000, 1) == ()


@given(st.lists(st.text(string.ascii_lowercase + "中:-12ქა天 ", max_size=8), max_size=5))
def test_what_could_be_written_is_written_as_before(texts: list[str]) -> None:
    text = " ".join(texts)
    for tokenizer, extended in _EXTENDED:
        for word in text.split():
            before = ids(tokenizer, word)
            if tokenizer.unk_token_id not in before:
                assert ids(extended, word) == before, word


_EXTENDED = [
    (
        tokenizer,
        extended_tokenizer(
            tokenizer,
            ["ქა 天 天ქ ax qa aq ქaqu xaxq ქა中"],
            ModelSection(extend_vocabulary=True, vocabulary_min_count=1),
        ),
    )
    for tokenizer in (word_piece(), unigram(), bpe())
]


def test_a_token_within_the_ids_of_the_vocabulary_keeps_its_id() -> None:
    tokenizer = unigram()
    mask = tokenizer.mask_token_id
    assert mask == first_free_id(tokenizer) - 1 == tokenizer.vocab_size
    extended = with_tokens(tokenizer, find_new_tokens(TEXTS, tokenizer, 100, 1))
    assert extended.mask_token_id == mask and ids(extended, "<mask>") == [mask]


def test_a_tokenizer_in_python_is_refused() -> None:
    class InPython:
        is_fast = False

        def get_vocab(self) -> dict[str, int]:
            return {}

    with pytest.raises(ModelError, match=r"\(InPython\) is written in Python.*\n.*tokenizer\.json"):
        find_new_tokens(["a"], InPython(), 1, 1)  # type: ignore[arg-type]


def test_images_have_no_vocabulary() -> None:
    with pytest.raises(RecipeError, match=r"reads no text[^\n]*\n.*Remove the keys model\.extend_vocabulary"):
        find_new_tokens(["a"], ViTImageProcessorPil(), 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"vocabulary_size": 10},
        {"vocabulary_min_count": 5},
        {"vocabulary_vectors": "vectors"},
        {"vocabulary_learning_rate": 1e-3},
    ],
)
def test_options_without_the_extension_are_refused(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValidationError, match=f"{name} would do nothing: model.extend_vocabulary is false"):
        ModelSection(**options)
    assert getattr(ModelSection(extend_vocabulary=True, **options), name) == options[name]


def test_the_starter_learns_to_write_chinese(shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("starter").location)
    titles = {
        split: [
            line.split("\t")[0] for line in (shared_data / "thucnews_titles_zh" / f"{split}.txt").open(encoding="utf-8")
        ]
        for split in ("dev", "test")
    }
    sentences = [line.split("\t")[0] for line in (shared_data / "sst2" / "test.tsv").open(encoding="utf-8")]
    extended = extended_tokenizer(tokenizer, titles["dev"], ModelSection(extend_vocabulary=True))
    assert 2600 < len(extended) - len(tokenizer) < 2700
    assert _unknown_share(tokenizer, titles["test"]) > 0.66
    assert _unknown_share(extended, titles["test"]) < 0.01
    assert [ids(extended, text) for text in sentences] == [ids(tokenizer, text) for text in sentences]


def _unknown_share(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> float:
    tokens = [index for text in texts for index in ids(tokenizer, text)]
    return tokens.count(tokenizer.unk_token_id) / len(tokens)
