"""Paired comparison: known answers of McNemar and Holm, the bootstrap against rows drawn by hand, shared rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from trimtab.core.errors import DataError, UnknownNameError
from trimtab.evaluation.paired import PairedResult, holm, mcnemar, paired_test
from trimtab.evaluation.paired_rows import shared_rows

NAMES = ("old", "new")
LABELS = ("a", "b", "c")


def predictions(truth: list[str], predicted: list[str], *, sure: float = 0.8, source: str = "t.csv") -> pd.DataFrame:
    """A table like predictions.parquet, `sure` of each prediction."""
    frame = pd.DataFrame(
        {
            "row": range(1, len(truth) + 1),
            "source": source,
            "text": [f"text {number}" for number in range(len(truth))],
            "label": truth,
            "prediction": predicted,
            "probability": sure,
        }
    )
    rest = (1 - sure) / (len(LABELS) - 1)
    for label in LABELS:
        frame[f"p_{label}"] = np.where(frame["prediction"] == label, sure, rest)
    return frame


def drawn(rows: int, share: float, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(LABELS, size=rows)
    return list(truth), list(np.where(rng.random(rows) < share, truth, rng.choice(LABELS, size=rows)))


def compare(first: pd.DataFrame, second: pd.DataFrame, metric: str = "macro_f1", **more: float) -> PairedResult:
    return paired_test(shared_rows(first, second, NAMES), NAMES, metric=metric, **more)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 5), (3, 12), (40, 56), (0, 20), (600, 500)])
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_without_a_row_that_tells() -> None:
    assert mcnemar(0, 0) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("metric", ["macro_f1", "mcc", "log_loss", "ece"])
def test_equal_predictions_do_not_differ(metric: str) -> None:
    frame = predictions(*drawn(80, 0.7, 0))
    found = compare(frame, frame.copy(), metric)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    assert (found.verdict, found.p_value, found.changed) == ("equal", 1.0, 0)
    assert "predict the same label for every row" in found.sentence


def test_difference_and_interval_of_accuracy() -> None:
    truth, old = drawn(200, 0.6, 1)
    rng = np.random.default_rng(2)
    new = [right if rng.random() < 0.5 else guess for right, guess in zip(truth, old, strict=True)]
    found = compare(predictions(truth, old), predictions(truth, new), "accuracy")
    hits = [np.array(guesses) == np.array(truth) for guesses in (old, new)]
    assert found.first_value == pytest.approx(hits[0].mean())
    assert found.second_value == pytest.approx(hits[1].mean())
    gaps = hits[1].astype(int) - hits[0].astype(int)
    assert found.difference.value == pytest.approx(gaps.mean())
    resampled = gaps[rng.integers(200, size=(4000, 200))].mean(axis=1)
    assert found.difference.low == pytest.approx(np.quantile(resampled, 0.025), abs=0.012)
    assert found.difference.high == pytest.approx(np.quantile(resampled, 0.975), abs=0.012)
    counts = (found.both_right, found.first_only, found.second_only, found.both_wrong)
    assert counts == tuple(
        int(mask.sum()) for mask in (hits[0] & hits[1], hits[0] & ~hits[1], hits[1] & ~hits[0], ~hits[0] & ~hits[1])
    )
    assert found.p_value == pytest.approx(binomtest(found.first_only, found.first_only + found.second_only).pvalue)
    assert found.verdict == "second"
    assert found.sentence.startswith("new is better than old by ")
    assert len(found.examples) == 20
    assert all((row["first"] == row["label"]) != (row["second"] == row["label"]) for row in found.examples)


def test_lower_is_better_turns_the_verdict() -> None:
    truth, guesses = drawn(150, 0.9, 3)
    found = compare(predictions(truth, guesses, sure=0.9), predictions(truth, guesses, sure=0.5), "log_loss")
    assert found.difference.value > 0
    assert (found.verdict, found.higher_is_better) == ("first", False)
    assert found.sentence.startswith("old is better than new by ")
    wrong = np.array(truth) != np.array(guesses)
    assert found.second_value == pytest.approx(np.where(wrong, -np.log(0.25), -np.log(0.5)).mean())


def test_all_right_against_all_wrong_has_a_width() -> None:
    truth = ["a", "b"] * 5
    found = compare(predictions(truth, ["b", "a"] * 5), predictions(truth, truth), "accuracy")
    assert found.difference.value == 1
    assert 0 < found.difference.low < 1


def test_few_rows_are_undecided() -> None:
    truth, old = ["a", "b", "c", "a", "b", "c"], ["a", "b", "c", "a", "b", "a"]
    found = compare(predictions(truth, old), predictions(truth, truth))
    assert found.verdict == "undecided"
    assert "cannot be told apart" in found.sentence
    assert "Only old gets 0 rows right, only new gets 1 row" in found.sentence
    assert "p = 1.000" in found.sentence


def test_rows_are_matched_by_what_they_are() -> None:
    frame = predictions(*drawn(60, 0.7, 4))
    shuffled = frame.sample(frac=1, random_state=0)
    assert compare(frame, shuffled).verdict == "equal"
    renamed = frame.assign(source="other.csv", row=frame["row"] + 7)
    assert compare(frame, renamed).verdict == "equal"


def test_equal_texts_go_in_their_order() -> None:
    frame = predictions(["a", "b", "a"], ["a", "b", "c"]).assign(text="same")
    moved = frame.assign(source="other.csv")
    assert len(shared_rows(frame, moved, NAMES)) == 3
    assert compare(frame, moved).verdict == "equal"


def test_nearly_all_rows_are_enough() -> None:
    frame = predictions(*drawn(100, 0.7, 5))
    found = compare(frame, frame.iloc[:95])
    assert found.rows == 95
    assert found.notes[0].startswith("Compared on the 95 rows that both runs hold; old has 100, new 95")
    with pytest.raises(DataError, match="they share 80") as told:
        shared_rows(frame, frame.iloc[:80], NAMES)
    assert "data.test" in told.value.remedy


def test_other_labels_are_other_rows() -> None:
    frame = predictions(*drawn(100, 0.7, 6))
    other = frame.copy()
    other.loc[:4, "label"] = "another"
    found = shared_rows(frame, other, NAMES)
    assert len(found) == 95
    assert "5 of them because their labels differ" in found.notes[0]
    with pytest.raises(DataError, match="100 of the rows that both hold have another label"):
        shared_rows(frame, frame.assign(label="another"), NAMES)


def test_what_cannot_be_compared() -> None:
    frame = predictions(*drawn(30, 0.7, 7))
    with pytest.raises(DataError, match="new has no predictions of labelled rows"):
        shared_rows(frame, frame.iloc[:0], NAMES)
    with pytest.raises(DataError, match="no probability for each label, which log_loss needs"):
        compare(frame.drop(columns="p_a"), frame, "log_loss")
    with pytest.raises(UnknownNameError):
        compare(frame, frame, "accurracy")


def test_labels_of_only_one_model_and_numbers_as_labels() -> None:
    frame = predictions(["1", "2"] * 10, ["1", "2"] * 10)
    other = frame.assign(label=frame["label"].astype(int), prediction=[9] * 20)
    found = compare(frame, other, "accuracy")
    assert (found.first_value, found.second_value, found.verdict) == (1.0, 0.0, "first")
