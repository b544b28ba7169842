"""Rows with their predictions: order, choice, pages, the matrix, calibration, thumbnails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dashboard_runs import make_run

from trimtab.core.errors import RunError
from trimtab.dashboard.reading.judged import read_records
from trimtab.dashboard.reading.rows import PAGE_ROWS, RowReader, reliability
from trimtab.evaluation.predictions import write_predictions
from trimtab.metrics.classification import confusion_matrix, expected_calibration_error

LABELS = ("billing", "network", "other")


@pytest.fixture
def judged(tmp_path: Path):
    draw = np.random.default_rng(0)
    run = make_run(tmp_path / "run", finished=True)
    probabilities = draw.dirichlet(np.ones(3), size=130).astype(np.float32)
    labels = draw.integers(0, 3, 130)
    frame = pd.DataFrame(
        {
            "row": np.arange(1, 131),
            "source": "t.csv",
            "text": [f"text {index} <b>" for index in range(130)],
            "label": np.array(LABELS, dtype=object)[labels],
        }
    )
    write_predictions(run / "predictions.parquet", frame, probabilities, LABELS)
    return RowReader(run), labels, probabilities


def test_worst_rows_come_first_and_by_pages(judged) -> None:
    reader, labels, probabilities = judged
    true = probabilities[np.arange(130), labels]
    order = np.argsort(true, kind="stable") + 1
    first, last = reader.rows(), reader.rows(page=2)
    assert (first["total"], first["pages"], len(last["rows"])) == (130, 3, 130 - 2 * PAGE_ROWS)
    assert [row["row"] for row in first["rows"]] == order[:PAGE_ROWS].tolist()
    row = first["rows"][0]
    assert row["probabilities"][row["label"]] == pytest.approx(true.min())
    assert row["loss"] == pytest.approx(-np.log(true.min()), rel=1e-5)
    assert row["text"] == f"text {row['row'] - 1} <b>" and row["image"] is False
    assert reader.rows(page=99)["rows"] == []
    assert [row["row"] for row in reader.rows("all")["rows"]] == list(range(1, PAGE_ROWS + 1))


def test_rows_of_a_cell_of_the_matrix(judged) -> None:
    reader, labels, probabilities = judged
    predicted = probabilities.argmax(axis=1)
    matrix = reader.matrix()
    assert matrix["labels"] == list(LABELS)
    assert matrix["counts"] == confusion_matrix(labels, predicted, 3).tolist()
    cell = reader.rows("all", label="network", predicted="other")
    assert cell["total"] == matrix["counts"][1][2] > 0
    assert {(row["label"], row["prediction"]) for row in cell["rows"]} == {("network", "other")}
    assert reader.rows("all", label="unheard of")["total"] == 0


def test_calibration_is_that_of_our_metric(judged) -> None:
    reader, labels, probabilities = judged
    found = reader.matrix()["reliability"]
    assert found["ece"] == pytest.approx(expected_calibration_error(labels, probabilities.astype(float)), abs=1e-6)
    assert sum(part["rows"] for part in found["bins"]) == 130


def test_bins_are_open_below_and_rows_without_confidence_left_out() -> None:
    found = reliability(np.array([1 / 15, 0.0, np.nan, 1.0]), np.array([True, False, True, True]))
    counts = [part["rows"] for part in found["bins"]]
    assert (counts[0], counts[-1], sum(counts)) == (2, 1, 3)
    assert reliability(np.zeros(0), np.zeros(0, bool))["ece"] is None


def test_predictions_of_many_classes_hold_the_likeliest_only(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    columns = {
        "row": [1, 2],
        "text": ["x", "y"],
        "label": ["c", "z"],
        "prediction": ["a", "a"],
        "probability": [0.6, 0.5],
    }
    columns |= {"top_1": ["a", "a"], "p_top_1": [0.6, 0.5], "top_2": ["c", "b"], "p_top_2": [0.3, 0.2]}
    pd.DataFrame(columns).to_parquet(run / "predictions.parquet")
    found = RowReader(run).rows()["rows"]
    assert [(row["row"], row["loss"]) for row in found] == [(2, None), (1, pytest.approx(-np.log(0.3), rel=1e-5))]
    assert found[0]["probabilities"] == {"a": 0.5, "b": 0.2}


def test_only_the_row_groups_of_a_page_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pd.DataFrame({"row": range(100)}).to_parquet(path, row_group_size=10)
    assert [record["row"] for record in read_records(path, np.array([95, 3, 40, 4]))] == [95, 3, 40, 4]


def test_suspects_come_from_the_diagnosis(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    rows = [{"split": "train", "row": index, "label": "ab"[index % 2], "text": "t"} for index in range(60)]
    finding = {"name": "suspect_labels", "severity": "warning", "message": "m", "rows": rows}
    (run / "diagnosis.json").write_text(json.dumps({"findings": [finding]}))
    found = RowReader(run).rows("suspect", label="b", page=0)
    assert (found["total"], found["pages"]) == (30, 1)
    assert found["rows"][0] == {"split": "train", "row": 1, "label": "b", "text": "t", "image": False}


def test_what_is_missing_or_torn_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    reader = RowReader(run)
    for ask in (reader.rows, reader.matrix):
        with pytest.raises(RunError, match="no predictions yet"):
            ask()
    with pytest.raises(RunError, match="No kind"):
        reader.rows("best")
    (run / "predictions.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RunError, match="cannot be read"):
        reader.rows()


def test_matrix_without_predictions_is_that_of_the_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    evaluation = {"labels": ["a", "b"], "confusion": [[3, 1], [0, 2]], "metrics": {"ece": {"value": 0.25}}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    matrix = RowReader(run).matrix()
    assert (matrix["counts"], matrix["reliability"]) == ([[3, 1], [0, 2]], {"bins": [], "ece": 0.25})


@pytest.fixture
def pictures(tmp_path: Path) -> RowReader:
    image = pytest.importorskip("PIL.Image")
    run = make_run(tmp_path / "run")
    image.new("RGBA", (400, 200), (255, 0, 0, 128)).save(tmp_path / "red.png")
    (tmp_path / "secret.txt").write_text("secret")
    (run / "data").mkdir()
    paths = [str(tmp_path / "red.png"), str(tmp_path / "secret.txt"), "red.png", str(tmp_path / "gone.png")]
    frame = pd.DataFrame({"image": paths, "label": "a", "row": [1, 2, 3, 4], "source": "s"})
    frame.to_parquet(run / "data" / "test.parquet")
    return RowReader(run)


def test_thumbnail_is_a_small_jpeg(pictures: RowReader) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(io.BytesIO(pictures.image(1, size=100))) as shown:
        assert (shown.format, shown.size, shown.mode) == ("JPEG", (100, 50), "RGB")
    with image.open(io.BytesIO(pictures.image(1, size=10**9))) as shown:
        assert max(shown.size) <= 1024


@pytest.mark.parametrize(
    "row, split", [(2, "test"), (3, "test"), (4, "test"), (9, "test"), (1, "train"), (1, "../../x")]
)
def test_nothing_but_images_of_the_run_is_shown(pictures: RowReader, row: int, split: str) -> None:
    with pytest.raises(RunError):
        pictures.image(row, split=split)
