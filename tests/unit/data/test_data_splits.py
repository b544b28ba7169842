"""Held-out splits: disjoint, complete, stratified, whole groups, no text on both sides, the same on every run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.errors import DataError
from trimtab.data.duplicates import normalise
from trimtab.data.splits import FEWEST_ROWS, apportion, hold_out, sample_rows, units

SETTINGS = settings(max_examples=60, deadline=None)
CLASS_SIZES = st.lists(st.integers(2, 40), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) >= 2 * FEWEST_ROWS)


def frame_of(sizes, texts=None, groups=None):
    labels = [f"class {code}" for code, size in enumerate(sizes) for _ in range(size)]
    rows = len(labels)
    order = np.random.default_rng(1).permutation(rows)
    frame = pd.DataFrame({"text": texts or [f"text {i}" for i in range(rows)]}, dtype=object)
    frame["label"] = [labels[i] for i in order]
    if groups is not None:
        frame["group"] = groups
    frame["row"] = range(1, rows + 1)
    return frame


def cut(frame, seed=0, validation=0.15, test=0.15, max_rows=10_000):
    rest, parts = hold_out(frame, {"test": test, "validation": validation}, max_rows=max_rows, seed=seed)
    return {"train": rest, **parts}


def assert_partition(frame, splits):
    rows = [row for part in splits.values() for row in part["row"]]
    assert sorted(rows) == frame["row"].tolist()
    for part in splits.values():
        assert part["row"].is_monotonic_increasing
        assert part.index.tolist() == list(range(len(part)))
    assert set(splits["train"]["label"]) == set(frame["label"])


@SETTINGS
@given(sizes=CLASS_SIZES, seed=st.integers(0, 2**32), fraction=st.floats(0.05, 0.45))
def test_rows_are_shared_out_by_class(sizes, seed, fraction):
    frame = frame_of(sizes)
    rest, parts = hold_out(frame, {"test": fraction}, max_rows=10_000, seed=seed)
    assert_partition(frame, {"train": rest, **parts})
    held = parts["test"]
    wanted = max(1, round(fraction * len(frame)))
    assert len(held) <= wanted
    for label, count in frame["label"].value_counts().items():
        assert abs(int((held["label"] == label).sum()) - count * wanted / len(frame)) <= 1.0


@SETTINGS
@given(sizes=CLASS_SIZES, seed=st.integers(0, 1000), kinds=st.integers(3, 60))
def test_repeated_texts_stay_together(sizes, seed, kinds):
    rows = sum(sizes)
    frame = frame_of(sizes, texts=[f"Text  {i % kinds}" if i % 2 else f"text {i % kinds} " for i in range(rows)])
    try:
        splits = cut(frame, seed)
    except DataError as error:
        assert "can be held out" in str(error) or "too few" in str(error)
        return
    assert_partition(frame, splits)
    seen = [{normalise(text) for text in part["text"]} for part in splits.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


@SETTINGS
@given(seed=st.integers(0, 1000), rows=st.integers(100, 200), kinds=st.integers(8, 60))
def test_groups_stay_whole_and_shares_are_near(seed, rows, kinds):
    groups = np.random.default_rng(seed).integers(0, kinds, rows)
    frame = frame_of([rows // 2, rows - rows // 2], groups=[f"g{group}" for group in groups])
    splits = cut(frame, seed)
    assert_partition(frame, splits)
    owners = pd.concat([part.assign(split=name) for name, part in splits.items()]).groupby("group")["split"].nunique()
    assert owners.max() == 1
    largest = frame["group"].value_counts().max()
    for name in ("validation", "test"):
        assert 1 <= len(splits[name]) <= 0.15 * len(frame) + largest


def test_groups_and_repeated_texts_link_up():
    frame = pd.DataFrame(
        {"text": ["a", "b", "B ", "c", "d"], "group": ["1", "1", "2", "", ""], "label": list("xxxyy")}, dtype=object
    )
    unit = units(frame)
    assert unit[0] == unit[1] == unit[2]
    assert len(set(unit.tolist())) == 3


def test_pairs_are_the_same_only_as_pairs():
    frame = pd.DataFrame({"text": ["a", "a", "A"], "text_pair": ["x", "y", "x"], "label": list("ppq")})
    assert units(frame).tolist() == [0, 1, 0]


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    frame = frame_of([60, 40, 20])
    first, again, other = cut(frame, 3), cut(frame, 3), cut(frame, 4)
    assert first["test"]["row"].tolist() == again["test"]["row"].tolist()
    assert first["test"]["row"].tolist() != other["test"]["row"].tolist()


def test_rows_of_a_seed_are_the_same_on_every_platform():
    assert cut(frame_of([10, 10]), 0)["test"]["row"].tolist() == [6, 12, 19]


def test_validation_share_refers_to_all_rows():
    splits = cut(frame_of([100, 100]))
    assert {name: len(part) for name, part in splits.items()} == {"train": 140, "test": 30, "validation": 30}


def test_max_rows_caps_each_part():
    frame = frame_of([300, 300], groups=[f"g{i // 7}" for i in range(600)])
    assert all(0 < len(cut(frame, max_rows=20)[name]) <= 20 for name in ("validation", "test"))


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="9 rows are too few to hold out a test split") as caught:
        cut(frame_of([5, 4]))
    assert "--test FILE" in caught.value.remedy


def test_one_group_for_all_rows_is_refused():
    with pytest.raises(DataError, match="No test split can be held out") as caught:
        cut(frame_of([20, 20], groups=["same"] * 40))
    assert "--group" in caught.value.remedy


def test_few_large_groups_still_give_a_split():
    splits = cut(frame_of([30, 30], groups=[f"g{i % 4}" for i in range(60)]))
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [30, 15, 15]


@SETTINGS
@given(sizes=CLASS_SIZES, data=st.data())
def test_samples_have_every_class_and_the_asked_size(sizes, data):
    frame = frame_of(sizes)
    rows = data.draw(st.integers(len(sizes), len(frame)))
    sample = sample_rows(frame, rows, 0)
    assert set(sample["label"]) == set(frame["label"])
    assert sample["row"].is_monotonic_increasing and sample["row"].is_unique
    assert rows - len(sizes) <= len(sample) <= rows


def test_sample_below_the_number_of_classes_is_refused():
    with pytest.raises(DataError, match=r"data\.max_rows is 1, and there are 2 classes"):
        sample_rows(frame_of([5, 5]), 1, 0)


@SETTINGS
@given(counts=st.lists(st.integers(1, 500), min_size=1, max_size=8), share=st.floats(0, 1))
def test_apportioned_shares_are_within_one(counts, share):
    counts = np.array(counts)
    total = round(share * counts.sum())
    shares = apportion(counts, total)
    assert (np.abs(shares - counts * total / counts.sum()) <= 1.0 + 1e-9).all()
    assert (shares <= counts - 1).all() and (shares >= 0).all() and shares.sum() <= total
