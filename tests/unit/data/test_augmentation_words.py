"""Texts taken apart and changed: words, spaces, punctuation, capitals; English, Chinese and other scripts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.augmentation.edits import count_of, drop_words, replace_words, shuffle_words
from trimtab.data.augmentation.keyboard import QWERTY, mistype
from trimtab.data.augmentation.words import Pieces, Splitter, join_without, like_case, swap_words

SENTENCE = "Well, I think, so (it is) fine, Bob! The end."
ANY_TEXT = st.text(max_size=60) | st.text("abcXY不好手机 ,.!'-", max_size=40)


def split(text: str, **options: object) -> Pieces:
    return Splitter(**options).split(text)  # type: ignore[arg-type]


def words(text: str, **options: object) -> list[str]:
    pieces = split(text, **options)
    return [pieces.texts[index] for index in pieces.words]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The router's  broken!", ["The", "router's", "broken"]),
        ("it 's n't bad", ["it", "'s", "n't", "bad"]),
        ("a tough-to-beat Web2.0 site", ["a", "tough-to-beat", "Web2.0", "site"]),
        ("iPhone 15发布：涨5%", ["iPhone", "15", "发", "布", "涨", "5"]),
        ("see https://t.cn/ab看, me@x.org <br/>", ["see", "https://t.cn/ab", "看", "me@x.org", "<br/>"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("東京でスマホ", ["東", "京", "で", "スマホ"]),
        ("", []),
        (" ,! ", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(ANY_TEXT)
def test_the_pieces_are_the_text(text: str) -> None:
    assert "".join(split(text).texts) == text


def test_unspaced_words_by_longest_match() -> None:
    lexicon = frozenset({"手机", "手机壳", "电影"})
    assert words("新手机壳和手机", lexicon=lexicon) == ["新", "手机壳", "和", "手机"]


def test_negations_and_words_to_keep_are_not_free() -> None:
    pieces = split("It does n't work, DON'T buy 不好", keep=frozenset({"buy"}))
    assert [pieces.texts[index] for index in pieces.free] == ["It", "does", "work", "好"]
    assert len(split("not 不", keep_negations=False).free) == 2


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("Well", "I think, so (it is) fine, Bob! The end."),
        ("I", "Well, think, so (it is) fine, Bob! The end."),
        ("so", "Well, I think, (it is) fine, Bob! The end."),
        ("is", "Well, I think, so (it) fine, Bob! The end."),
        ("it", "Well, I think, so (is) fine, Bob! The end."),
        ("Bob", "Well, I think, so (it is) fine! The end."),
        ("The", "Well, I think, so (it is) fine, Bob! End."),
        ("end", "Well, I think, so (it is) fine, Bob! The."),
    ],
)
def test_what_a_dropped_word_leaves(gone: str, expected: str) -> None:
    pieces = split(SENTENCE)
    assert join_without(pieces, [pieces.texts.index(gone)]) == expected


@pytest.mark.parametrize(
    ("text", "gone", "expected"),
    [
        ("good , bad , ugly .", "bad", "good , ugly ."),
        ("a b ", "b", "a "),
        ("a b", "b", "a"),
        ("涨停，股票，跌", "跌", "涨停，股票"),
        ("今天，好", "今", "天，好"),
    ],
)
def test_commas_and_spaces_without_a_word(text: str, gone: str, expected: str) -> None:
    pieces = split(text)
    assert join_without(pieces, [pieces.texts.index(gone)]) == expected


def test_capitals_stay_where_sentences_begin() -> None:
    pieces = split("Please help me. NASA called.")
    assert "".join(swap_words(pieces.texts, 0, 2, pieces.starts)) == "Help please me. NASA called."
    nasa = pieces.texts.index("NASA")
    assert "".join(swap_words(pieces.texts, 2, nasa, pieces.starts)) == "Please NASA me. help called."
    assert [like_case("movie", model) for model in ("film", "Film", "FILM")] == ["movie", "Movie", "MOVIE"]


@pytest.mark.parametrize(("total", "rate", "mean"), [(3, 0.1, 1.0), (20, 0.1, 2.0), (25, 0.1, 2.5), (0, 0.5, 1.0)])
def test_the_share_holds_on_average_and_is_one_at_least(total: int, rate: float, mean: float) -> None:
    draw = rng()
    counts = [count_of(total, rate, draw) for _ in range(2000)]
    assert np.mean(counts) == pytest.approx(mean, abs=0.05)
    assert min(counts) >= 1


def test_dropout_removes_the_share_and_never_the_last_word() -> None:
    text = " ".join(f"word{chr(97 + index)}" for index in range(20))
    dropped = drop_words(split(text), 0.25, rng())
    assert len(dropped.split()) == 15
    assert set(dropped.split()) < set(text.split())
    assert drop_words(split("alone"), 0.9, rng()) == "alone"
    assert drop_words(split("涨"), 0.9, rng()) == "涨"
    assert len(drop_words(split("one two three"), 0.99, rng()).split()) == 1
    assert {drop_words(split("not good"), 0.9, rng(seed)) for seed in range(5)} == {"not"}


def test_swap_keeps_the_words_and_moves_neighbours_in_chinese() -> None:
    text = "alpha beta gamma delta, epsilon"
    swapped = shuffle_words(split(text), 0.2, rng())
    moved = [old != new for old, new in zip(words(text), words(swapped), strict=True)]
    assert sorted(words(swapped)) == sorted(words(text)) and sum(moved) == 2
    assert "," in swapped
    for seed in range(20):
        title = shuffle_words(split("股市大涨"), 0.1, rng(seed))
        assert title in {"市股大涨", "股大市涨", "股市涨大"}
    assert shuffle_words(split("same same"), 0.5, rng()) == "same same"


def test_neighbours_on_the_keyboard() -> None:
    assert set(QWERTY["g"]) == set("tyfhvb")
    assert set(QWERTY["q"]) == set("wa")
    assert set(QWERTY["p"]) == set("ol")
    assert set(QWERTY["m"]) == set("njk")
    assert all(key in QWERTY[other] for key, others in QWERTY.items() for other in others)


def _is_one_typo(old: str, new: str) -> bool:
    """Whether `new` is `old` with one letter replaced or followed by a neighbouring key, lost, or swapped."""
    replaced = {old[:i] + near + old[i + 1 :] for i, c in enumerate(old) for near in QWERTY[c]}
    inserted = {old[: i + 1] + near + old[i + 1 :] for i, c in enumerate(old) for near in QWERTY[c]}
    lost = {old[:i] + old[i + 1 :] for i in range(len(old))}
    swapped = {old[:i] + old[i + 1] + old[i] + old[i + 2 :] for i in range(len(old) - 1)}
    return new in replaced | inserted | lost | swapped


def test_a_typo_is_one_of_four_kinds_and_all_occur() -> None:
    found = [mistype(split("broken"), 0.01, rng(seed)) for seed in range(200)]
    assert all(_is_one_typo("broken", text) for text in found)
    lengths = [len(text) for text in found]
    assert {5, 6, 7} == set(lengths)
    assert any(sorted(text) == sorted("broken") for text in found)
    assert 20 < lengths.count(5) < 90 and 20 < lengths.count(7) < 90


def test_typos_of_other_scripts_use_no_latin_letters() -> None:
    for seed in range(50):
        assert set(mistype(split("股市今日大涨"), 0.2, rng(seed))) <= set("股市今日大涨")
        assert set(mistype(split("привет мир"), 0.2, rng(seed))) <= set("привет мир")
        assert mistype(split("涨"), 0.5, rng(seed)) == "涨"
        assert len(mistype(split("涨跌"), 0.99, rng(seed))) >= 1


def test_typos_leave_numbers_links_and_negations() -> None:
    text = "2024 https://x.org not 5.5 me@x.org"
    assert mistype(split(text), 0.9, rng()) == text


def test_typos_keep_the_case() -> None:
    for seed in range(50):
        assert mistype(split("ROUTER"), 0.2, rng(seed)).isupper()
        typo = mistype(split("Router"), 0.15, rng(seed))
        assert typo[:1].isupper() or typo == "outer"
        assert typo[1:].islower()


def test_synonyms_in_the_case_of_the_word() -> None:
    table = {"film": ("movie",), "Polish": ("Warsaw",), "手机": ("移动电话",)}
    assert replace_words(split("The Film is polish."), 0.1, rng(), table) == "The Movie is polish."
    assert replace_words(split("FILM"), 0.1, rng(), table) == "MOVIE"
    assert replace_words(split("Polish"), 0.1, rng(), table) == "Warsaw"
    assert replace_words(split("nothing here"), 1.0, rng(), table) == "nothing here"
    lexicon = frozenset({"手机"})
    assert replace_words(split("新手机", lexicon=lexicon), 0.1, rng(), table) == "新移动电话"
    assert replace_words(split("not film", keep=frozenset({"film"})), 1.0, rng(), table) == "not film"


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, st.sampled_from(["drop", "swap", "type"]), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_no_change_leaves_a_text_without_words(text: str, kind: str, rate: float, seed: int) -> None:
    operation = {"drop": drop_words, "swap": shuffle_words, "type": mistype}[kind]
    changed = operation(split(text), rate, rng(seed))
    assert bool(words(changed)) >= bool(words(text))
    assert operation(split(text), rate, rng(seed)) == changed
