"""The table of predictions and the worst of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trimtab.core.errors import DataError
from trimtab.evaluation.predictions import predictions_table, worst_rows, write_predictions

FRAME = pd.DataFrame({
    "row": [1, 2, 3, 4], "source": ["a.csv"] * 4, "text": ["w", "x", "y", "z" * 400], "group": ["g"] * 4,
    "label": ["no", "yes", "no", "no"],
})  # fmt: skip
PROBABILITIES = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.05, 0.95]], np.float32)


def test_file_holds_rows_predictions_and_every_class(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, FRAME, PROBABILITIES, ("no", "yes"))
    found = pd.read_parquet(path)
    assert list(found) == ["row", "source", "text", "label", "prediction", "probability", "p_no", "p_yes"]
    assert found["prediction"].tolist() == ["no", "no", "yes", "yes"]
    np.testing.assert_array_equal(found["probability"], PROBABILITIES.max(axis=1))
    np.testing.assert_array_equal(found[["p_no", "p_yes"]], PROBABILITIES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.parquet"]


def test_unlabelled_images_pairs_and_no_rows(tmp_path: Path) -> None:
    images = pd.DataFrame({"image": ["1.png"]})
    assert list(predictions_table(images, PROBABILITIES[:1], ("no", "yes")))[:2] == ["image", "prediction"]
    pairs = pd.DataFrame({"text": ["a"], "text_pair": ["b"]})
    assert list(predictions_table(pairs, PROBABILITIES[:1], ("no", "yes")))[:2] == ["text", "text_pair"]
    write_predictions(tmp_path / "none.parquet", FRAME[:0], PROBABILITIES[:0], ("no", "yes"))
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0


def test_an_index_that_does_not_count_from_zero_is_no_matter() -> None:
    shuffled = FRAME.iloc[[2, 0]]
    found = predictions_table(shuffled, PROBABILITIES[[2, 0]], ("no", "yes"))
    assert found["text"].tolist() == ["y", "w"]
    assert found["prediction"].tolist() == ["yes", "no"]


def test_shapes_must_fit() -> None:
    with pytest.raises(DataError, match=r"\[4, 3\]; found \[4, 2\]"):
        predictions_table(FRAME, PROBABILITIES, ("a", "b", "c"))


def test_worst_rows_are_wrong_and_most_confident_first() -> None:
    worst = worst_rows(FRAME, PROBABILITIES, ("no", "yes"))
    assert [row["row"] for row in worst] == [4, 3, 2]
    assert worst[2] == {
        "row": 2, "source": "a.csv", "text": "x", "label": "yes", "prediction": "no", "probability": pytest.approx(0.7),
    }  # fmt: skip
    assert len(worst[0]["text"]) == 300
    assert worst[0]["text"].endswith("z…")
    assert [row["row"] for row in worst_rows(FRAME, PROBABILITIES, ("no", "yes"), count=1)] == [4]
    assert worst_rows(FRAME[:1], PROBABILITIES[:1], ("no", "yes")) == []
