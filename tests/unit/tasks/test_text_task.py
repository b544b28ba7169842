"""Text classification: what is encoded, cut and padded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiny

from trimtab.tasks.base import TaskContext
from trimtab.tasks.text_classification import ENCODE_ROWS, TextClassification, TextClassificationOptions

LABELS = ("network", "billing")
IDS = {word: index for index, word in enumerate(tiny.WORDS)}


def encode(frame: pd.DataFrame, *, max_length: int | str = "auto", reads: int = 32, **tokenizer: str):
    task = TextClassification(TextClassificationOptions(max_length=max_length), LABELS)
    made = tiny.make_tokenizer()
    for name, value in tokenizer.items():
        setattr(made, name, value)
    return task.encode(frame, TaskContext(made, reads))


def texts(*rows: str) -> pd.DataFrame:
    return pd.DataFrame({"text": list(rows), "label": ["billing"] * len(rows)})


def test_ids_mask_and_padding() -> None:
    batch = encode(texts("the router is broken", "refund", "please strangeword")).collate(np.array([0, 1, 2]))

    pad = IDS["[PAD]"]
    assert batch.inputs["input_ids"].tolist() == [
        [IDS["the"], IDS["router"], IDS["is"], IDS["broken"]],
        [IDS["refund"], pad, pad, pad],
        [IDS["please"], IDS["[UNK]"], pad, pad],
    ]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert batch.labels.tolist() == [1, 1, 1]
    assert (batch.tokens, batch.padded_tokens) == (7, 12)


def test_padding_on_the_left_where_the_tokenizer_says_so() -> None:
    batch = encode(texts("the router", "refund"), padding_side="left").collate(np.array([0, 1]))

    assert batch.inputs["input_ids"].tolist() == [[IDS["the"], IDS["router"]], [IDS["[PAD]"], IDS["refund"]]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(("wanted", "reads", "expected"), [("auto", 32, 10), ("auto", 6, 6), (4, 32, 4), (50, 6, 6)])
def test_texts_are_cut_to_what_is_wanted_and_what_the_model_reads(wanted: int | str, reads: int, expected: int) -> None:
    examples = encode(texts(" ".join(["router"] * 10)), max_length=wanted, reads=reads)

    assert examples.lengths.tolist() == [expected]


def test_pairs_go_in_together_and_the_longer_is_cut() -> None:
    frame = pd.DataFrame({"text": ["the router is broken please"], "text_pair": ["refund"], "label": ["network"]})

    batch = encode(frame, reads=4).collate(np.array([0]))

    ids = batch.inputs["input_ids"][0].tolist()
    assert len(ids) == 4
    assert ids[-1] == IDS["refund"]
    assert ids[:3] == [IDS["the"], IDS["router"], IDS["is"]]


def test_no_rows() -> None:
    examples = encode(texts())

    assert len(examples) == 0
    assert examples.labels.tolist() == []


def test_an_empty_text_is_a_row_like_others() -> None:
    examples = encode(texts("", "refund"))

    assert examples.lengths.tolist() == [1, 1]
    assert examples.collate(np.array([0, 1])).inputs["attention_mask"].shape == (2, 1)


def test_rows_beyond_one_call_of_the_tokenizer() -> None:
    rows = [tiny.FILLER[index % len(tiny.FILLER)] for index in range(ENCODE_ROWS + 3)]

    examples = encode(texts(*rows))

    last = examples.collate(np.arange(ENCODE_ROWS - 1, ENCODE_ROWS + 3)).inputs["input_ids"][:, 0].tolist()
    assert last == [IDS[word] for word in rows[ENCODE_ROWS - 1 :]]
