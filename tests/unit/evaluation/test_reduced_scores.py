"""Evaluation, worst rows and the table of predictions from scores without all probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trimtab.config.recipe import EvaluationSection
from trimtab.evaluation import bootstrap, predictions
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.predictions import predictions_table, worst_rows, write_predictions
from trimtab.metrics.scores import Scores

ROWS, CLASSES = 300, 7
NAMES = tuple(f"class {index}" for index in range(CLASSES))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(3)
    labels = rng.integers(CLASSES, size=ROWS)
    probabilities = rng.dirichlet(np.full(CLASSES, 0.3), ROWS).astype(np.float32)
    frame = pd.DataFrame({"row": range(1, ROWS + 1), "text": [f"text {i}" for i in range(ROWS)]})
    return labels, probabilities, frame.assign(label=np.asarray(NAMES, dtype=object)[labels])


def evaluate(labels: np.ndarray, scores: Scores | np.ndarray) -> object:
    return evaluate_classification(
        labels, scores, NAMES, split="test", section=EvaluationSection(bootstrap_samples=200),
        primary_metric="macro_f1", seed=1, baseline_predictions={"zeros": np.zeros(ROWS, int)}, precision="bf16",
    )  # fmt: skip


def test_the_whole_result_is_the_same(data: tuple) -> None:
    labels, probabilities, _ = data
    reduced = Scores.of(probabilities, labels).reduced()
    result = evaluate(labels, reduced)
    assert result == evaluate(labels, probabilities)
    assert result.precision == "bf16"
    assert type(result).from_dict(result.to_dict()) == result


def test_the_worst_rows_are_the_same(data: tuple) -> None:
    labels, probabilities, frame = data
    expected = worst_rows(frame, probabilities, NAMES)
    assert worst_rows(frame, Scores.of(probabilities, labels).reduced(), NAMES) == expected
    assert len(expected) == 20


def test_the_table_has_the_likeliest_classes(data: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities, frame = data
    scores = Scores.of(probabilities, labels)
    monkeypatch.setattr(predictions, "PART_ROWS", 64)
    write_predictions(tmp_path / "p.parquet", frame, scores.reduced(), NAMES)
    found = pd.read_parquet(tmp_path / "p.parquet")
    assert list(found)[:5] == ["row", "text", "label", "prediction", "probability"]
    assert list(found)[5:] == [name for place in range(1, 6) for name in (f"top_{place}", f"p_top_{place}")]
    assert (found["top_1"] == found["prediction"]).all()
    np.testing.assert_array_equal(found["p_top_2"], np.sort(probabilities, axis=1)[:, -2])
    full = predictions_table(frame, scores, NAMES)
    pd.testing.assert_frame_equal(found[full.columns[:5]], full[full.columns[:5]])


def test_many_classes_do_not_widen_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = bootstrap.margin_metrics

    def noted(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> dict:
        sizes.append(hits.size)
        return original(hits, support, predicted)

    monkeypatch.setattr(bootstrap, "margin_metrics", noted)
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 2000)
    # Two cells only, and a thousand classes.
    arguments = (np.array([0, 999]), {"model": np.array([0, 999])}, 1000, 50)
    bootstrap.resample_predictions(*arguments, np.random.default_rng(0))
    assert max(sizes) <= 2000 and sum(sizes) == 50 * 1000
