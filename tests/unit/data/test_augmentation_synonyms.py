"""Synonyms from a word list and from embeddings, and how they are kept for a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from trimtab.config.augmentation import AugmentationSection
from trimtab.core.errors import DataError, RecipeError, RunError
from trimtab.data.augmentation.resources import RESOURCES_FILE, Sources, make_resources
from trimtab.data.augmentation.synonyms import (
    embedding_synonyms,
    lexicon_of,
    read_synonyms,
    whole_words,
    words_in,
)

WORD_LIST = "# a list\n\nbroken\tdamaged, out of order\n手机\t移动电话，电话\nBroken\tBust\nbroken\tdamaged,faulty\n"


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "synonyms.tsv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_word_list(tmp_path: Path, encoding: str) -> None:
    found = read_synonyms(write(tmp_path, WORD_LIST, encoding))
    assert found == {
        "broken": ("damaged", "out of order", "faulty"),
        "手机": ("移动电话", "电话"),
        "Broken": ("Bust",),
    }
    assert lexicon_of(found) == {"手机"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fine\tgood\nbroken damaged\n", "line 2: no tab"),
        ("broken\t , \n", "line 1: no synonym"),
        ("\tdamaged\n", "line 1: no"),
        ("new york\tNYC\n", "line 1: not a single word"),
        ("# nothing\n", "is empty"),
    ],
)
def test_faults_of_a_word_list_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as raised:
        read_synonyms(write(tmp_path, text))
    assert words in str(raised.value)
    assert "word<TAB>synonym" in raised.value.remedy


@pytest.mark.parametrize("make", [lambda f: f / "absent.tsv", lambda f: write(f, "中\t国", "gb18030"), lambda f: f])
def test_a_word_list_that_cannot_be_read(tmp_path: Path, make: Any) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_synonyms(make(tmp_path))


def test_words_that_occur() -> None:
    assert words_in(["The 新手机 is new, 2024"], frozenset({"手机"})) == {"The", "the", "新", "手机", "is", "new"}


def _vectors(near: dict[str, list[float]]) -> np.ndarray:
    """Embeddings of the tiny vocabulary: those given, all others at right angles to everything."""
    table = np.zeros((20, 32))
    for index, word in enumerate(tiny.WORDS):
        table[index, index] = 1.0
        if word in near:
            table[index] = 0.0
            table[index, 20 : 20 + len(near[word])] = near[word]
    return table


def test_neighbours_in_the_table_of_embeddings() -> None:
    tokenizer = tiny.make_tokenizer()
    table = _vectors({"router": [1, 0.2], "refund": [1, 0.3], "please": [1, 1.5], "is": [1, 0.2], "[MASK]": [1, 0.2]})
    found = embedding_synonyms({"router", "refund", "broken"}, tokenizer, table, min_similarity=0.9)
    assert found == {"router": ("refund",), "refund": ("router",)}
    looser = embedding_synonyms({"router"}, tokenizer, table, min_similarity=0.6)
    assert looser == {"router": ("refund", "please")}  # the nearest first; "is" is grammar, "[MASK]" is special


def test_whole_words_leave_out_pieces_special_tokens_and_signs() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["[UNK]", "[PAD]", "film", "##s", "movie", "Film", ",", "42", "中", "国", "a", "s"]
    model = models.WordPiece({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]")
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    assert whole_words(tokenizer, 12) == {"film": 2, "movie": 4, "Film": 5, "中": 8, "国": 9}
    assert whole_words(tokenizer, 5) == {"film": 2, "movie": 4}
    same = np.ones((12, 4))
    found = embedding_synonyms({"film", "Film", "中"}, tokenizer, same, min_similarity=0.9)
    assert found == {"film": ("movie",), "中": ("国",)}  # of the same script and case


def test_forms_of_one_word_are_no_synonyms() -> None:
    from trimtab.data.augmentation.synonyms import _share_a_stem

    assert all(_share_a_stem(*pair) for pair in [("film", "films"), ("go", "going"), ("digital", "digitally")])
    assert not any(_share_a_stem(*pair) for pair in [("film", "movie"), ("good", "great"), ("涨", "升")])


def sources(**table: Any) -> Sources:
    def refuse() -> Any:
        raise AssertionError("not needed")

    return Sources(tiny.make_tokenizer(), table.get("embeddings", refuse), refuse, refuse)


def test_only_synonyms_of_words_that_occur_are_kept(tmp_path: Path) -> None:
    section = AugmentationSection(synonym_replacement=0.1, synonyms=str(write(tmp_path, WORD_LIST)))
    assert make_resources(section, ["it is broken"], sources()).synonyms == {
        "broken": ("damaged", "out of order", "faulty")
    }
    with pytest.raises(RecipeError, match="no word of the training texts"):
        make_resources(section, ["all is well"], sources())


def test_a_model_whose_embeddings_hold_no_synonyms_is_refused() -> None:
    section = AugmentationSection(synonym_replacement=0.1, synonyms="embeddings")
    with pytest.raises(RecipeError, match="synonym_similarity"):
        make_resources(section, ["the router"], sources(embeddings=lambda: _vectors({})))


def test_a_resumed_run_reads_what_was_kept(tmp_path: Path) -> None:
    path = write(tmp_path, WORD_LIST)
    section = AugmentationSection(synonym_replacement=0.1, synonyms=str(path))
    first = make_resources(section, ["it is broken"], sources(), folder=tmp_path / "kept")
    path.unlink()
    again = make_resources(section, ["it is broken"], sources(), folder=tmp_path / "kept")
    assert again.synonyms == first.synonyms
    (tmp_path / "kept" / RESOURCES_FILE).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        make_resources(section, ["it is broken"], sources(), folder=tmp_path / "kept")
