"""A large file read chunk by chunk gives the rows of the same file read at once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data import streaming
from trimtab.data.dataset import Columns
from trimtab.data.loading import load_unlabelled
from trimtab.data.streaming import stream_unlabelled

COLUMNS = Columns(text=("text",), label="label")
TEXTS = [f"row {index}" for index in range(1, 26)]
TEXTS[3], TEXTS[11], TEXTS[19] = 'a "quoted", text', "two\nlines and ü", "  "


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WHOLE_BYTES", 0)


def write(folder: Path, suffix: str, encoding: str = "utf-8") -> Path:
    path = folder / f"rows{suffix}"
    frame = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        lines = (json.dumps(record, ensure_ascii=False) for record in frame.to_dict("records"))
        path.write_text("\n\n".join(lines), encoding=encoding)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",", encoding=encoding)
    return path


def streamed(path: Path, rows: int = 4, **data: object) -> tuple[pd.DataFrame, list[str], list[int]]:
    stream = stream_unlabelled(path, DataSection(**data), COLUMNS, "text-classification", rows)
    frames = list(stream.frames)
    assert stream.total is None
    notes = [*stream.notes, *stream.closing_notes()]
    return pd.concat(frames, ignore_index=True), notes, [len(frame) for frame in frames]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_rows_are_those_of_the_file_read_at_once(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix)
    whole = load_unlabelled(path, DataSection(), COLUMNS, "text-classification")
    frame, notes, sizes = streamed(path)
    pd.testing.assert_frame_equal(frame, whole, check_dtype=False)
    assert frame["row"].tolist() == [row for row in range(1, 26) if row != 20]
    assert notes == list(whole.attrs["notes"]) == [f"rows{suffix}: 1 of 25 rows dropped: empty text (row 20)"]
    assert max(sizes) <= 4 and len(sizes) == 7


def test_another_encoding_and_separator(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text;n\n" + "".join(f"käse nummer {i};{i}\n" for i in range(30)).encode("cp1252"))
    frame, notes, _ = streamed(path, 7)
    assert frame["text"].tolist() == [f"käse nummer {i}" for i in range(30)]
    assert "CP1252" in notes[0]


def test_the_only_column_and_lines_of_text(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("first line here\nsecond line here\n\nthird line here\n", encoding="utf-8")
    frame, notes, _ = streamed(tmp_path / "rows.txt", 2)
    assert frame["text"].tolist() == ["first line here", "second line here", "third line here"]
    assert any("the only one" in note for note in notes)


def test_json_objects_without_the_key_lack_a_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n{"other": 1}\n{"other": 2}\n{"text": "c"}\n')
    frame, notes, _ = streamed(path, 2)
    assert frame["row"].tolist() == [1, 2, 5]
    assert notes == ["rows.jsonl: 2 of 5 rows dropped: empty text (rows 3, 4)"]


def test_faults_are_told_where_they_are(tmp_path: Path) -> None:
    ragged, broken, blank = tmp_path / "ragged.csv", tmp_path / "broken.jsonl", tmp_path / "blank.jsonl"
    with open(ragged, "w", newline="") as file:
        csv.writer(file).writerows([["text", "n"], *([f"t{i}", i] for i in range(200_000)), ["one"]])
    broken.write_text('{"text": "a"}\n' * 10 + "{oops\n")
    blank.write_text('{"text": " "}\n' * 10)
    with pytest.raises(DataError, match="line 200002 has 1 column, the first line has 2"):
        streamed(ragged, 5000)
    with pytest.raises(DataError, match="line 11 is not JSON"):
        streamed(broken)
    with pytest.raises(DataError, match="none of its"):
        streamed(blank)
    with pytest.raises(DataError, match="no column 'missing'"):
        streamed(ragged, 5000, text=["missing"])


def test_a_file_that_cannot_be_cut_is_read_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", "utf-16")
    stream = stream_unlabelled(path, DataSection(), COLUMNS, "text-classification", 10)
    assert stream.total == 24
    assert [len(frame) for frame in stream.frames] == [10, 10, 4]
