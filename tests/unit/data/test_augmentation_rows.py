"""Which rows change in an epoch: a function of seed, epoch and row; labels and all else stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from trimtab.config.augmentation import AugmentationSection
from trimtab.data.augmentation.cutoff import cut_row
from trimtab.data.augmentation.rows import Resources, augment_frame, augment_rows

OPERATIONS = {"word_dropout": 0.2, "word_swap": 0.2, "character_noise": 0.1}
ROWS = tiny.labelled_texts(300)


def section(**fields: Any) -> AugmentationSection:
    return AugmentationSection(**fields)


def frame(rows: list[tuple[str, str]] = ROWS, **columns: Any) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["text", "label"])
    return made.assign(row=range(1, len(rows) + 1), **columns)


def test_the_same_rows_for_the_same_epoch_and_others_for_another() -> None:
    one = augment_frame(frame(), section(**OPERATIONS), seed=3, epoch=2)
    again = augment_frame(frame(), section(**OPERATIONS), seed=3, epoch=2)
    pd.testing.assert_frame_equal(one, again)
    for seed, epoch in ((3, 1), (4, 2)):
        assert (augment_frame(frame(), section(**OPERATIONS), seed=seed, epoch=epoch)["text"] != one["text"]).any()


def test_a_row_does_not_depend_on_the_others() -> None:
    whole = augment_frame(frame(), section(**OPERATIONS), seed=0, epoch=1)
    part = augment_frame(frame(ROWS[:50]), section(**OPERATIONS), seed=0, epoch=1)
    assert whole["text"].tolist()[:50] == part["text"].tolist()


def test_all_but_the_texts_stays_and_so_does_the_frame() -> None:
    original = frame()
    before = original.copy(deep=True)
    changed = augment_frame(original, section(probability=1.0, **OPERATIONS), seed=0, epoch=0)
    pd.testing.assert_frame_equal(original, before)
    pd.testing.assert_frame_equal(changed.drop(columns="text"), before.drop(columns="text"))
    assert changed["text"].str.strip().ne("").all()


@pytest.mark.parametrize("probability", [0.2, 0.5, 1.0])
def test_the_share_of_changed_rows(probability: float) -> None:
    rows = [(f"alpha beta gamma delta {index}", "x") for index in range(2000)]
    changed, applied = augment_rows(frame(rows), section(probability=probability, word_swap=0.2), seed=0, epoch=0)
    differs = changed["text"].to_numpy() != frame(rows)["text"].to_numpy()
    assert differs.mean() == pytest.approx(probability, abs=0.04)
    assert [bool(names) for names in applied] == differs.tolist()


def test_one_operation_a_row_each_equally_often() -> None:
    rows = [("alpha beta gamma delta epsilon", "x")] * 1500
    _, applied = augment_rows(frame(rows), section(probability=1.0, **OPERATIONS), seed=0, epoch=0)
    assert {len(names) for names in applied} == {1}
    for name in OPERATIONS:
        assert sum(name in names for names in applied) == pytest.approx(500, abs=80)
    _, both = augment_rows(frame(rows), section(probability=1.0, operations_per_row=2, **OPERATIONS), seed=0, epoch=0)
    assert {len(set(names)) for names in both} == {2}


def test_an_operation_that_finds_nothing_makes_room_for_another() -> None:
    settings = section(probability=1.0, synonym_replacement=0.5, synonyms="list.tsv", word_swap=0.2)
    _, applied = augment_rows(frame(), settings, seed=0, epoch=0, resources=Resources({"absent": ("x",)}))
    assert {name for names in applied for name in names} == {"word_swap"}


def test_both_texts_of_a_pair_are_changed() -> None:
    pairs = frame(text_pair=[f"second {text}" for text, _ in ROWS])
    changed = augment_frame(pairs, section(probability=1.0, word_dropout=0.3), seed=0, epoch=0)
    for name in ("text", "text_pair"):
        long = pairs[name].str.split().str.len() > 1
        assert (changed[name] != pairs[name])[long].all()


def test_back_translations_take_the_place_of_texts() -> None:
    settings = section(probability=1.0, back_translation_forward="a/b", back_translation_backward="b/a")
    texts = [text for text, _ in ROWS]
    known = {text: f"{text} again" for text in texts[:100]} | {texts[100]: "  "}
    changed = augment_frame(frame(), settings, seed=0, epoch=0, resources=Resources({}, known))["text"].tolist()
    assert changed[:100] == [f"{text} again" for text in texts[:100]]
    assert all(new in (old, f"{old} again") for old, new in zip(texts, changed, strict=True))


def test_no_rows_give_no_rows() -> None:
    assert len(augment_frame(frame([]), section(word_swap=0.2), seed=0, epoch=0)) == 0


def test_kept_words_survive_every_operation() -> None:
    rows = [("never mind the broken router please", "x")] * 300
    settings = section(probability=1.0, keep_words=["Router"], operations_per_row=3, **OPERATIONS)
    for text in augment_frame(frame(rows), settings, seed=0, epoch=0)["text"]:
        assert {"never", "router"} <= set(text.lower().split())


SPECIAL = np.array([0, 1])


@pytest.mark.parametrize("kind", ["span", "tokens"])
def test_cutoff_takes_the_share_and_never_special_tokens(kind: Any) -> None:
    ids = np.array([1, *range(10, 30), 0, *range(40, 50), 0])
    for seed in range(30):
        stays = cut_row(ids, SPECIAL, 0.2, kind, np.random.default_rng(seed))
        assert stays[np.isin(ids, SPECIAL)].all()
        assert (~stays[1:21]).sum() == 4 and (~stays[22:32]).sum() == 2
        gone = np.flatnonzero(~stays[1:21])
        if kind == "span":
            assert np.ptp(gone) == 3


def test_cutoff_leaves_one_token_of_each_text() -> None:
    ids = np.array([1, 10, 0, 11, 12, 0])
    for seed in range(10):
        stays = cut_row(ids, SPECIAL, 0.99, "tokens", np.random.default_rng(seed))
        assert stays.sum() == 5 and stays[1]
    assert cut_row(np.array([1, 0]), SPECIAL, 0.5, "span", np.random.default_rng(0)).all()


def test_span_begins_anywhere() -> None:
    ids = np.arange(10, 20)
    starts = {int(np.argmin(cut_row(ids, SPECIAL, 0.2, "span", np.random.default_rng(s)))) for s in range(200)}
    assert starts == set(range(9))


@pytest.mark.parametrize(
    ("file", "longest"),
    [("sst2/train.tsv", 20_000), ("thucnews_titles_zh/dev.txt", 10_000)],
    ids=["english", "chinese"],
)
def test_real_texts_stay_whole_sentences_of_their_words(shared_data: Path, file: str, longest: int) -> None:
    lines = (shared_data / file).read_text(encoding="utf-8").splitlines()[1 : longest + 1]
    texts = frame([(line.split("\t")[0], "x") for line in lines])
    settings = section(probability=1.0, **OPERATIONS)
    changed, applied = augment_rows(texts, settings, seed=0, epoch=0)
    assert np.mean([bool(names) for names in applied]) > 0.98
    assert changed["text"].str.strip().ne("").all()
    added = [
        set(new) - set(old)
        for old, new, names in zip(texts["text"], changed["text"], applied, strict=True)
        if names and "character_noise" not in names
    ]
    # Without typing errors nothing appears that was not there, but a capital that moves.
    assert all(character.isalpha() for characters in added for character in characters)
