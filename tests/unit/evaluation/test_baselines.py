"""Baselines: what they predict on made data, tiny data, other scripts, and real data where it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trimtab.core.cache import DiskCache
from trimtab.core.errors import DataError
from trimtab.evaluation import baselines
from trimtab.evaluation.baselines import (
    MAJORITY,
    PIXEL_LOGISTIC,
    TFIDF_LOGISTIC,
    baseline_predictions,
    majority,
    pixel_logistic,
    tfidf_logistic,
)

ENGLISH = (["refund my money", "money back now", "the app crashes", "it crashes on start"], np.array([2, 2, 0, 0]))


def test_majority_takes_the_commonest_and_then_the_lowest() -> None:
    np.testing.assert_array_equal(majority(np.array([1, 2, 2]), 3), [2, 2, 2])
    np.testing.assert_array_equal(majority(np.array([2, 1]), 2), [1, 1])
    assert majority(np.array([1]), 0).shape == (0,)
    with pytest.raises(DataError, match="no training rows"):
        majority(np.array([], int), 2)


def test_tfidf_learns_words() -> None:
    found = tfidf_logistic(*ENGLISH, ["crashes again", "want a refund"])
    np.testing.assert_array_equal(found, [0, 2])
    assert found.dtype == np.int64


def test_tfidf_learns_unspaced_scripts() -> None:
    train = ["我要退款", "请给我退款吧", "应用总是闪退", "一打开就闪退"]
    np.testing.assert_array_equal(tfidf_logistic(train, np.array([0, 0, 1, 1]), ["申请退款", "又闪退了"]), [0, 1])


def test_tfidf_learns_word_order_by_two_grams() -> None:
    train = ["not good but bad", "good not bad"] * 3
    found = tfidf_logistic(train, np.array([0, 1] * 3), ["not good but bad", "good not bad"])
    np.testing.assert_array_equal(found, [0, 1])


def test_one_row_a_class_and_texts_without_words() -> None:
    np.testing.assert_array_equal(tfidf_logistic(["yes", "no"], np.array([0, 1]), ["no", "yes"]), [1, 0])
    np.testing.assert_array_equal(tfidf_logistic(["🙂", "🙁"], np.array([0, 1]), ["🙁"]), [1])
    np.testing.assert_array_equal(tfidf_logistic([" ", ""], np.array([1, 0]), ["x"]), [0])
    assert tfidf_logistic(["a", "b"], np.array([0, 1]), []).shape == (0,)


def test_single_class_falls_back_to_the_majority() -> None:
    np.testing.assert_array_equal(tfidf_logistic(["a", "b"], np.array([3, 3]), ["c"]), [3])
    np.testing.assert_array_equal(pixel_logistic(["missing.png"], np.array([1]), ["other.png"]), [1])


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no training rows"):
        tfidf_logistic([], np.array([], int), ["c"])


def test_rows_are_thinned_by_class_where_memory_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0] * 90 + [1] * 10)
    monkeypatch.setattr(baselines, "MAX_ROWS_TIMES_CLASSES", 40)
    chosen = baselines._stratified(labels)
    assert len(chosen) == 20 == len(set(chosen))
    assert np.bincount(labels[chosen]).tolist() == [18, 2]


def test_pairs_use_both_texts() -> None:
    rows = [("same", "x"), ("same", "y")] * 3
    frame = pd.DataFrame(rows, columns=["text", "text_pair"]).assign(label=["no", "yes"] * 3)
    found = baseline_predictions("text-classification", frame, frame, ("no", "yes"))
    np.testing.assert_array_equal(found[TFIDF_LOGISTIC], [0, 1] * 3)
    np.testing.assert_array_equal(found[MAJORITY], [0] * 6)


def test_unknown_training_label_is_refused() -> None:
    frame = pd.DataFrame({"text": ["a"], "label": ["maybe"]})
    with pytest.raises(DataError, match="maybe"):
        baseline_predictions("text-classification", frame, frame, ("no", "yes"))


def test_other_tasks_get_the_majority_alone() -> None:
    frame = pd.DataFrame({"audio": ["a"], "label": ["yes"]})
    assert list(baseline_predictions("audio-classification", frame, frame, ("no", "yes"))) == [MAJORITY]


def test_pixels_learn_colours(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for index in range(12):
        pixels = rng.integers(0, 90, size=(20, 30, 3), dtype=np.uint8)
        pixels[..., index % 2] += 120
        paths.append(str(tmp_path / f"{index}.png"))
        labels.append(index % 2)
        image.fromarray(pixels).save(paths[-1])
    image.fromarray(np.full((5, 5), 9, np.uint8)).save(tmp_path / "grey.png")
    frame = pd.DataFrame({"image": paths, "label": ["red" if label == 0 else "green" for label in labels]})
    found = baseline_predictions("image-classification", frame[:8], frame[8:], ("green", "red"))
    np.testing.assert_array_equal(found[PIXEL_LOGISTIC], [1, 0, 1, 0])
    assert pixel_logistic(paths, np.array(labels), [str(tmp_path / "grey.png")]).shape == (1,)


def test_broken_image_is_named(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not an image")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read"):
        pixel_logistic([str(broken), str(broken)], np.array([0, 1]), [str(broken)])


def test_real_sentences_are_learned_well_and_alike_twice(shared_data: Path) -> None:
    train = pd.read_csv(shared_data / "trec" / "train.csv")
    test = pd.read_csv(shared_data / "trec" / "test.csv")
    labels, names = pd.factorize(train["coarse"], sort=True)
    found = tfidf_logistic(list(train["text"]), labels, list(test["text"]))
    assert (names[found] == test["coarse"]).mean() > 0.88
    np.testing.assert_array_equal(found, tfidf_logistic(list(train["text"]), labels, list(test["text"])))


def test_predictions_are_kept_for_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache("baselines", tmp_path, 1 << 20)
    frame = pd.DataFrame({"text": ["good day", "bad day", "good", "bad"] * 3, "label": ["p", "n", "p", "n"] * 3})
    plain = baseline_predictions("text-classification", frame, frame, ["n", "p"])
    first = baseline_predictions("text-classification", frame, frame, ["n", "p"], cache=cache)
    monkeypatch.setattr(baselines, "tfidf_logistic", lambda *rows: pytest.fail("computed again"))
    second = baseline_predictions("text-classification", frame, frame, ["n", "p"], cache=cache)
    for found in (first, second):
        assert {name: rows.tolist() for name, rows in found.items()} == {
            name: rows.tolist() for name, rows in plain.items()
        }
        assert all(rows.dtype == np.int64 for rows in found.values())
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        baseline_predictions("text-classification", frame, frame.assign(text="good"), ["n", "p"], cache=cache)
