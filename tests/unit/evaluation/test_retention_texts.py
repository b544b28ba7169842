"""The texts and pairs of retention: ours, files in several layouts, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from pydantic import ValidationError

from trimtab.config.retention import RetentionSection
from trimtab.core.errors import DataError, MissingDependencyError, RecipeError
from trimtab.evaluation.retention.material import read_material, sample
from trimtab.evaluation.retention.texts import LANGUAGES, general_texts, read_pairs, read_texts
from trimtab.models.sources import ModelSource, resolve_model

SOURCE = ModelSource("tiny", "local", "nowhere")
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
FIRST = [f"the first of the two texts, {word}" for word in WORDS]
SECOND = [f"a second text that is a little longer, {word}" for word in WORDS]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_our_sentences_are_many_different_and_clean() -> None:
    sizes = {language: len(general_texts(language)) for language in LANGUAGES}
    assert sizes == {"en": 200, "zh": 100}
    texts = [text for language in LANGUAGES for text in general_texts(language)]
    assert len(set(texts)) == 300 == RetentionSection().rows
    assert all(text == text.strip() and text for text in texts)
    assert all(text.isascii() for text in general_texts("en"))
    assert all("\u4e00" <= text[0] <= "\u9fff" and text.endswith("。") for text in general_texts("zh"))


def test_texts_of_lines_and_tables(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path / "a.txt", [f"{FIRST[0]}\twith a tab", "", *FIRST[1:]]))[0].endswith("a tab")
    assert (
        read_texts(write(tmp_path / "a.csv", ["id,text", *(f'{i},"{text}"' for i, text in enumerate(FIRST))])) == FIRST
    )
    objects = [json.dumps({"sentence": text, "source": "web page"}) for text in FIRST]
    assert read_texts(write(tmp_path / "a.jsonl", objects)) == FIRST
    assert read_texts(write(tmp_path / "b.csv", ["the_only_column", *(f'"{text}"' for text in FIRST)])) == FIRST


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", [""], "has 0 texts; at least 8"),
        ("few.txt", FIRST[:7], "has 7 texts; at least 8"),
        (
            "no.csv",
            ["first_of_columns,another_column", *(f"x{i} y,z{i} w" for i in range(9))],
            "called 'text'; its columns: 'first",
        ),
        ("odd.xyz", FIRST, "format that is not read"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path: Path, name: str, lines: list[str] | None, message: str) -> None:
    path = str(tmp_path / name) if lines is None else write(tmp_path / name, lines)
    with pytest.raises(DataError, match=message) as caught:
        read_texts(path)
    assert caught.value.remedy


def rows(order: str, separator: str) -> list[str]:
    lines = []
    for index, (first, second) in enumerate(zip(FIRST, SECOND, strict=True)):
        cells = {"1": f'"{first}"', "2": f'"{second}"', "s": str(index / 2), "i": f"{index:04d}", "g": "news"}
        lines.append(separator.join(cells[letter] for letter in order))
    return lines


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("named.csv", ["sentence1,score,sentence2", *rows("1s2", ",")]),
        ("named.tsv", ["text\ttext_pair\tsimilarity\tid", *rows("12si", "\t")]),
        ("bare.csv", rows("12s", ",")),
        ("bare.tsv", [line.replace('"', "") for line in rows("s12", "\t")]),
        # As the STS benchmark: genre, number, score, texts, and in some rows where they come from.
        ("sts.csv", [line.replace('"', "") + "\tfrom a site" * (i % 3) for i, line in enumerate(rows("gis12", "\t"))]),
        ("a.jsonl", [
            json.dumps({"premise": a, "hypothesis": b, "label": i / 2})
            for i, (a, b) in enumerate(zip(FIRST, SECOND, strict=True))
        ]),
    ],
)  # fmt: skip
def test_pairs_in_several_layouts(tmp_path: Path, name: str, lines: list[str]) -> None:
    pairs = read_pairs(write(tmp_path / name, lines))
    assert (pairs.first, pairs.second) == (FIRST, SECOND)
    assert pairs.scores.tolist() == [index / 2 for index in range(10)]
    assert pairs.notes == ()
    taken = pairs.take(np.array([1, 3]))
    assert (taken.first, taken.scores.tolist()) == ([FIRST[1], FIRST[3]], [0.5, 1.5])


def test_pairs_with_gaps_are_left_out_and_told(tmp_path: Path) -> None:
    lines = ["sentence1,score,sentence2", *rows("1s2", ","), "only one text,3,", ",2,another one"]
    pairs = read_pairs(write(tmp_path / "a.csv", lines))
    assert len(pairs.scores) == 10
    assert "2 pairs without a text or a score" in pairs.notes[0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["sentence1,sentence2", *rows("12", ",")], "no column of scores; its columns: 'sentence1', 'sentence2'"),
        (["one,score,other", *rows("1s2", ",")], "no two columns of texts"),
        (rows("1s", ","), "no two columns of texts"),
        (rows("12", ","), "no column of scores"),
        (["sentence1,score,sentence2", *rows("1s2", ","), "a,high,b"], "score of row 11 is 'high'"),
        (["sentence1,score,sentence2", *rows("1s2", ",")[:7]], "7 pairs with a score; at least 8"),
        (["sentence1,score,sentence2", *(f"x{i},1,y{i}" for i in range(9))], "the same score for every pair"),
    ],
)
def test_pairs_that_cannot_be_used(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_pairs(write(tmp_path / "pairs.csv", lines))
    assert caught.value.remedy


def test_a_directory_is_no_file_of_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a directory") as caught:
        read_pairs(str(tmp_path))
    assert "retention.pairs" in caught.value.remedy


def test_real_pairs(shared_data: Path) -> None:
    pairs = read_pairs(str(shared_data / "stsb" / "sts-test.csv"))
    assert len(pairs.scores) == 1379
    assert (pairs.first[0], pairs.scores[0]) == ("A girl is styling her hair.", 2.5)


def test_samples_are_drawn_by_seed_and_keep_their_order() -> None:
    items = list(range(100))
    assert sample(items, 100, 0, "a") == items
    drawn = sample(items, 10, 0, "a")
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 10
    assert drawn == sample(items, 10, 0, "a")
    assert drawn != sample(items, 10, 1, "a")


def test_a_file_takes_the_place_of_our_sentences(tmp_path: Path) -> None:
    section = RetentionSection(text=write(tmp_path / "a.txt", FIRST), rows=8)
    material = read_material(section, "text", SOURCE, tiny.make_tokenizer(), seed=0)
    assert material is not None
    assert len(material.texts) == 8
    assert set(material.texts) < set(FIRST)
    assert material.notes == ()


def test_languages_that_the_tokenizer_cannot_write_are_left_out() -> None:
    try:
        source = resolve_model("starter")
    except MissingDependencyError:
        pytest.skip("the starter model is not installed")
    from trimtab.models.processors import load_processor

    material = read_material(RetentionSection(), "text", source, load_processor(source, "text"), seed=0)
    assert material is not None
    assert material.texts == general_texts("en")
    assert len(material.notes) == 1
    assert "Chinese are left out: 63 %" in material.notes[0]


def test_a_tokenizer_that_writes_neither_keeps_all_and_says_so() -> None:
    material = read_material(RetentionSection(), "text", SOURCE, tiny.make_tokenizer(), seed=0)
    assert material is not None
    assert len(material.texts) == 300
    assert "retention.text" in material.notes[0]


def test_nothing_is_read_when_nothing_is_measured() -> None:
    assert read_material(RetentionSection(measure=False), "text", SOURCE, None, seed=0) is None


@pytest.mark.parametrize(
    ("modality", "fields", "message"),
    [
        ("image", {"text": "a.txt"}, "retention.text cannot be measured with a model of images"),
        ("image", {"pairs": "a.csv"}, "retention.pairs cannot be measured with a model of images"),
        ("text", {"images": "folder"}, "retention.images cannot be measured with a model of texts"),
    ],
)
def test_options_of_the_other_modality_are_refused(modality: str, fields: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_material(RetentionSection(**fields), modality, SOURCE, None, seed=0)
    assert caught.value.remedy


def test_options_without_measuring_are_refused() -> None:
    with pytest.raises(ValidationError, match="text and pairs would do nothing while measure is false"):
        RetentionSection(measure=False, text="a.txt", pairs="b.csv")
    with pytest.raises(ValidationError):
        RetentionSection(rows=7)
