"""Tokens on disk: the same texts are encoded once, whatever else has changed they are encoded anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from trimtab.core.cache import DiskCache
from trimtab.data import token_store
from trimtab.data.token_store import tokenizer_identity
from trimtab.tasks import text_classification
from trimtab.tasks.base import TaskContext
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions, TextExamples

ROWS = 300


class Counter:
    """Encodes rows of a frame, and counts how often the tokenizer is called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = DiskCache("tokens", folder, 1 << 20)
        self.calls = 0
        self.task = TextClassification(TextClassificationOptions(), tuple(tiny.CLASS_WORDS))
        tokenise = text_classification.tokenise

        def counted(*arguments: Any) -> Any:
            self.calls += 1
            return tokenise(*arguments)

        monkeypatch.setattr(text_classification, "tokenise", counted)

    def encode(self, frame: pd.DataFrame, *, max_length: int = 32, tokenizer: Any = None, keep: bool = True):
        context = TaskContext(tokenizer or tiny.make_tokenizer(), max_length, self.cache if keep else None)
        return self.task.encode(frame, context)


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(tmp_path, monkeypatch)


def frame_of(rows: int = ROWS, seed: int = 0, pairs: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame(tiny.labelled_texts(rows, seed=seed), columns=["text", "label"])
    return frame.assign(text_pair=frame["text"].to_list()[::-1]) if pairs else frame


def same(one: TextExamples, other: TextExamples) -> bool:
    rows = np.arange(len(one))
    left, right = one.collate(rows), other.collate(rows)
    return (
        len(one) == len(other)
        and left.labels.tolist() == right.labels.tolist()
        and left.inputs.keys() == right.inputs.keys()
        and all((left.inputs[name] == right.inputs[name]).all() for name in left.inputs)
        and one.padding == other.padding
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_the_second_time_no_tokenizer_is_called(counter: Counter, pairs: bool) -> None:
    frame = frame_of(pairs=pairs)
    plain = counter.encode(frame, keep=False)
    counter.calls = 0

    first, second = counter.encode(frame), counter.encode(frame)

    assert counter.calls == 1
    assert same(first, plain) and same(second, plain)
    assert type(second.collate(np.arange(2)).inputs["input_ids"]) is type(first.collate(np.arange(2)).labels)


def test_labels_are_no_part_of_the_entry(counter: Counter) -> None:
    counter.encode(frame_of())
    other = counter.encode(frame_of().assign(label="other"))

    assert counter.calls == 1
    assert set(other.labels.tolist()) == {list(tiny.CLASS_WORDS).index("other")}


def test_other_texts_lengths_and_tokenizers_are_encoded_anew(counter: Counter) -> None:
    counter.encode(frame_of())
    counter.encode(frame_of(seed=1))
    counter.encode(frame_of(pairs=True))
    counter.encode(frame_of(), max_length=5)
    grown = tiny.make_tokenizer()
    grown.add_tokens(["weather"])
    counter.encode(frame_of(), tokenizer=grown)

    assert counter.calls == 5
    assert len(counter.cache.entries()) == 5


def test_identity_is_that_of_the_vocabulary_and_not_of_the_last_call() -> None:
    first, second = tiny.make_tokenizer(), tiny.make_tokenizer()
    second(["the router"], truncation=True, max_length=3, padding="max_length")
    assert tokenizer_identity(first) == tokenizer_identity(second) is not None
    second.padding_side = "left"
    assert tokenizer_identity(first) != tokenizer_identity(second)
    assert tokenizer_identity(tiny.make_tokenizer(pad_token="[PAD]", unk_token="[UNK]")) != tokenizer_identity(first)


def test_a_tokenizer_of_foreign_code_is_not_kept(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.make_tokenizer()
    monkeypatch.setattr(type(tokenizer), "__module__", "transformers_modules.somebody")
    counter.encode(frame_of(), tokenizer=tokenizer)
    assert counter.cache.entries() == []


def test_a_tokenizer_without_a_backend_is_known_by_its_files(counter: Counter) -> None:
    from transformers import CanineTokenizer

    tokenizer = CanineTokenizer()
    first = tokenizer_identity(tokenizer)
    assert first == tokenizer_identity(CanineTokenizer()) is not None
    for _ in range(2):
        counter.encode(frame_of(), tokenizer=tokenizer)
    assert counter.calls == 1
    tokenizer.add_tokens(["weather"])
    assert tokenizer_identity(tokenizer) != first


def test_a_tokenizer_that_cannot_be_described_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backend:
        def to_str(self) -> str:
            raise Exception("Custom PreTokenizer cannot be serialized")

    tokenizer = tiny.make_tokenizer()
    monkeypatch.setattr(type(tokenizer), "backend_tokenizer", Backend())
    assert tokenizer_identity(tokenizer) is None


@pytest.mark.parametrize("name", ["input_ids", "offsets"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_entry_is_made_anew(counter: Counter, name: str, damage: str) -> None:
    frame = frame_of()
    good = counter.encode(frame)
    ((key, _, _),) = counter.cache.entries()
    file = counter.cache.path / key / f"{name}{token_store.SUFFIX}"
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")

    again, third = counter.encode(frame), counter.encode(frame)

    assert counter.calls == 2
    assert same(again, good) and same(third, good)


def test_few_rows_leave_no_entry(counter: Counter) -> None:
    counter.encode(frame_of(token_store.FEWEST_ROWS - 1))
    assert counter.cache.entries() == []


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, counter: Counter) -> None:
    (tmp_path / "file").write_text("")
    counter.cache = DiskCache("tokens", tmp_path / "file", 1 << 20)
    assert same(counter.encode(frame_of()), counter.encode(frame_of(), keep=False))
