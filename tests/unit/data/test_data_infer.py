"""Columns: chosen by name, by shape, or refused with the candidates."""

from __future__ import annotations

import pandas as pd
import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.dataset import Columns
from trimtab.data.infer import infer_columns
from trimtab.data.values import to_labels, to_strings

TEXTS = [f"The parcel number {word} never came to my door" for word in "abcdefghijklmnopqrst"]
OTHERS = [f"Where is the parcel that I paid for, {word}?" for word in "abcdefghijklmnopqrst"]
CLASSES = ["late", "lost", "paid", "late"] * 5


def infer(columns, **options):
    return infer_columns(pd.DataFrame(columns, dtype=object), DataSection(**options), "a.csv")


def test_names_decide_and_are_noted():
    columns, notes = infer({"id": range(20), "Text": TEXTS, "Label": CLASSES})
    assert columns == Columns(text=("Text",), label="Label")
    assert notes == [
        "text: column 'Text' (by its name; override with --text NAME)",
        "label: column 'Label' (by its name, 3 classes; override with --label NAME)",
    ]


def test_surer_names_go_first():
    columns, _ = infer({"title": OTHERS, "text": TEXTS, "category": CLASSES, "label": CLASSES})
    assert columns == Columns(text=("text",), label="label")


def test_shape_decides_without_known_names():
    columns, notes = infer({"id": range(20), "said": TEXTS, "about": CLASSES})
    assert columns == Columns(text=("said",), label="about")
    assert "longest texts" in notes[0] and "few, short values" in notes[1]


def test_chinese_texts_have_no_spaces():
    texts = [f"我的第{i}个订单还没有到" for i in range(20)]
    assert infer({"column_1": texts, "column_2": CLASSES})[0] == Columns(text=("column_1",), label="column_2")


def test_named_columns_are_taken_without_a_note():
    columns, notes = infer({"a": TEXTS, "b": OTHERS, "c": CLASSES, "d": CLASSES}, text="b", label="d")
    assert (columns, notes) == (Columns(text=("b",), label="d"), [])


@pytest.mark.parametrize(
    "pair", [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b")]
)
def test_pairs_are_known_by_name(pair):
    columns, notes = infer({pair[0]: TEXTS, pair[1]: OTHERS, "label": CLASSES})
    assert columns.text == pair
    assert f"{pair[0]!r} and {pair[1]!r}" in notes[0]


def test_group_column_is_never_a_candidate():
    columns, _ = infer({"said": TEXTS, "about": CLASSES, "customer": CLASSES}, group="customer")
    assert columns == Columns(text=("said",), label="about", group="customer")


def test_several_labels_are_listed_with_their_classes():
    with pytest.raises(DataError) as caught:
        infer({"text": TEXTS, "coarse": CLASSES, "fine": ["a", "b"] * 10})
    assert "'coarse' (3 classes, for example 'late'), 'fine' (2 classes, for example 'a')" in str(caught.value)
    assert caught.value.remedy == "Choose one with --label NAME."


def test_several_texts_are_listed_with_an_example():
    with pytest.raises(DataError) as caught:
        infer({"first": TEXTS, "second": OTHERS, "label": CLASSES})
    assert "'first' (for example 'The parcel number a never came to my door')" in str(caught.value)
    assert caught.value.remedy == "Choose one with --text NAME."


def test_clearly_longer_texts_win():
    assert infer({"who": TEXTS, "what": [text * 3 for text in OTHERS], "label": CLASSES})[0].text == ("what",)


def test_problems_of_text_and_label_come_together():
    with pytest.raises(DataError) as caught:
        infer({"id": range(20), "price": [i + 0.5 for i in range(20)]})
    assert len(caught.value.problems) == 2
    assert "no text column found among 'id', 'price'" in str(caught.value)
    assert "no label column found among 'id', 'price'" in str(caught.value)
    assert "--text NAME" in caught.value.remedy and "--label NAME" in caught.value.remedy


def test_unknown_names_offer_the_nearest():
    with pytest.raises(DataError) as caught:
        infer({"sentence": TEXTS, "label": CLASSES}, text="sentense", label="lable")
    assert len(caught.value.problems) == 2
    assert "no column 'sentense'. Did you mean 'sentence'?" in str(caught.value)
    assert "no column 'lable'. Did you mean 'label'?" in str(caught.value)


def test_one_column_for_two_purposes_is_refused():
    with pytest.raises(DataError, match="'text' is named for two purposes"):
        infer({"text": TEXTS, "label": CLASSES}, text="text", label="text")


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1.0, 0.0, None], ["1", "0", None]),
        (["1.0", "0.0", " "], ["1", "0", None]),
        (["1.0", "0.5", "nan"], ["1.0", "0.5", None]),
        ([True, False, float("nan")], ["True", "False", None]),
        ([1, "a", 2.0], ["1", "a", "2"]),
        ([" pos", "pos ", ""], ["pos", "pos", None]),
        ([2**60, 1, 0], [str(2**60), "1", "0"]),
    ],
)
def test_labels_have_one_form(values, labels):
    assert to_labels(pd.Series(values, dtype=object)).tolist() == labels


def test_numeric_columns_of_pandas_have_the_same_form():
    assert to_labels(pd.Series([1.0, None])).tolist() == ["1", None]
    assert to_labels(pd.Series([1, 0])).tolist() == ["1", "0"]
    assert to_labels(pd.Series(["b", "a"], dtype="category")).tolist() == ["b", "a"]
    assert to_strings(pd.Series(["x", "<NA>"], dtype="string")).tolist() == ["x", None]


def test_lists_are_refused_with_their_column():
    with pytest.raises(DataError, match="Column 'labels' holds list values"):
        to_strings(pd.Series([["a", "b"], ["c"]]), "labels")
