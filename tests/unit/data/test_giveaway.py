"""Rules of one feature that give the label away: found where planted, silent where words only lean to a class."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.files import jsonable
from trimtab.data.dataset import Columns, Dataset
from trimtab.data.giveaway import Giveaways, find_giveaways, giveaway
from trimtab.data.report import data_report

WORDS = [f"word{index}" for index in range(60)]


def rows(count: int, marks: dict[str, str], share: float = 1.0, *, seed: int = 0, lean: float = 0.0) -> pd.DataFrame:
    """Random texts; the mark of a row's label stands before a share of them; `word0` leans to the first label."""
    draw = np.random.default_rng(seed)
    labels = [list(marks)[index % len(marks)] for index in range(count)]
    texts = []
    for label in labels:
        words = list(draw.choice(WORDS[1:], size=draw.integers(5, 12)))
        if draw.random() < (0.5 + lean if label == next(iter(marks)) else 0.5 - lean):
            words.insert(2, WORDS[0])
        texts.append(" ".join(([marks[label]] if draw.random() < share else []) + words))
    return pd.DataFrame({"text": texts, "label": labels, "row": range(1, count + 1), "source": "a.csv"})


def only(splits: dict[str, pd.DataFrame]):
    found = list(giveaway(find_giveaways(splits)))
    assert len(found) == 1
    return found[0]


def test_a_planted_word_is_found_with_its_counts() -> None:
    train = rows(200, {"pos": "zq", "neg": "kx"}, 0.92)
    finding = only({"train": train, "validation": rows(80, {"pos": "", "neg": ""}, seed=1)})
    assert finding.severity == "warning"
    evidence = finding.evidence
    rules = {rule["value"]: rule for rule in evidence["rules"]}
    own = train["label"] == "pos"
    has = train["text"].str.contains("zq")
    assert (rules["zq"]["label"], rules["zq"]["rows"], rules["zq"]["of"]) == ("pos", int((own & has).sum()), 100)
    assert rules["zq"]["elsewhere"] == 0 and rules["kx"]["label"] == "neg"
    assert evidence["gain"] > 0.8 and evidence["right"] > 0.9
    assert evidence["held_out"]["validation"] == pytest.approx(0.5, abs=0.1), "the marks are not there"
    listed = evidence["listed"][0]
    assert train["text"][listed["row"] - 1].startswith(listed["content"]) and listed["source"] == "a.csv"


def test_a_mark_of_one_class_of_many_is_no_more_than_information() -> None:
    marks = {"a": "zq", **dict.fromkeys("bcdefgh", "")}
    finding = only({"train": rows(320, marks)})
    assert finding.severity == "info" and finding.evidence["gain"] < 0.2
    assert [rule["label"] for rule in finding.evidence["rules"]] == ["a"]


@pytest.mark.parametrize("lean", [0.0, 0.3])
def test_words_that_lean_to_a_class_are_no_giveaway(lean: float) -> None:
    assert find_giveaways({"train": rows(400, {"pos": "", "neg": ""}, lean=lean)}) == Giveaways()


def test_characters_of_texts_without_spaces() -> None:
    draw = np.random.default_rng(0)
    signs = list("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")
    texts = ["".join(draw.choice(signs, 10)) for _ in range(120)]
    labels = ["好", "坏"] * 60
    marked = [text[:5] + ("甲" if label == "好" else "") + text[5:] for text, label in zip(texts, labels, strict=True)]
    frame = pd.DataFrame({"text": marked, "label": labels, "row": range(120), "source": "a"})
    finding = only({"train": frame})
    assert finding.evidence["rules"][0]["value"] == "甲" and finding.severity == "warning"
    assert find_giveaways({"train": frame.assign(text=texts)}) == Giveaways()


def test_length_and_second_text() -> None:
    train = rows(120, {"pos": "", "neg": ""})
    long = train.assign(text=[t + " more" * 30 * (label == "pos") for t, label in zip(train.text, train.label)])  # noqa: B905
    found = {rule.kind for rule in find_giveaways({"train": long}).rules}
    assert "number" in found

    pairs = train.assign(text_pair=["topic 1" if label == "pos" else "topic 2" for label in train.label])
    rules = find_giveaways({"train": pairs}).rules
    assert rules[0].kind == "table" and rules[0].right == 1.0
    assert {rule.column for rule in rules[1:]} >= {"text_pair"}


def test_few_rows_one_class_and_no_rows() -> None:
    marked = rows(200, {"pos": "zq", "neg": "kx"})
    assert find_giveaways({"train": marked.iloc[:30]}) == Giveaways(), "15 rows a class"
    assert find_giveaways({"train": marked[marked.label == "pos"]}) == Giveaways()
    assert find_giveaways({"train": marked.iloc[:0]}) == Giveaways()
    assert find_giveaways({"validation": marked}) == Giveaways()
    assert list(giveaway(Giveaways())) == []


def test_it_comes_back_from_plain_json() -> None:
    found = find_giveaways({"train": rows(100, {"pos": "zq", "neg": "kx"})})
    assert Giveaways.from_dict(jsonable(asdict(found))) == found


def test_sizes_and_colours_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    records = []
    for index in range(60):
        label = ("ant", "bee")[index % 2]
        size = (12, 12) if label == "ant" else (12, 14)
        path = tmp_path / f"{index}.png"
        image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        records.append({"image": str(path), "label": label, "row": index, "source": str(path)})
    train = pd.DataFrame(records)
    rules = find_giveaways({"train": train}).rules
    assert {rule.column for rule in rules} >= {"size"} and rules[0].right == 1.0
    same = train.assign(label=["ant", "ant", "bee", "bee"] * 15)
    assert find_giveaways({"train": same}) == Giveaways()
    dataset = Dataset({"train": train}, Columns(image="image"), "image-classification", ("ant", "bee"), "p")
    assert "giveaway" in [finding.name for finding in data_report(dataset, options=DataSection()).findings]


def test_real_sets_have_words_that_lean_only(shared_data: Path) -> None:
    trec = pd.read_csv(shared_data / "trec" / "train.csv")[:2000]
    reviews = pd.read_csv(shared_data / "mr" / "mr.csv").sample(2000, random_state=0)
    for frame, label in ((trec, "coarse"), (reviews, "label")):
        train = pd.DataFrame({"text": frame["text"].tolist(), "label": frame[label].tolist()}).assign(row=1, source="a")
        assert find_giveaways({"train": train}).rules == ()
