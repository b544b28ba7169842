"""Tables that grow: whole under their name, complete parts beside it where they end early."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from trimtab.core.errors import DataError
from trimtab.evaluation.tables import FORMATS, TableWriter

PARTS = [
    pd.DataFrame({"row": [1, 2], "text": ["a,b", 'say "x"'], "p_x": [0.5, 0.25]}),
    pd.DataFrame({"row": [3], "text": ["line\nbreak ü"], "p_x": [0.125]}),
]


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("suffix", FORMATS)
def test_parts_make_one_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with TableWriter(path) as writer:
        for part in PARTS:
            writer.write(part)
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    pd.testing.assert_frame_equal(read(path), pd.concat(PARTS, ignore_index=True))
    assert writer.rows == 3 and writer.partial is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_interrupt_leaves_the_complete_parts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("of before")
    with pytest.raises(KeyboardInterrupt), TableWriter(path) as writer:
        writer.write(PARTS[0])
        raise KeyboardInterrupt
    assert writer.partial == tmp_path / f"out.partial{suffix}"
    pd.testing.assert_frame_equal(read(writer.partial), PARTS[0])
    assert path.read_text() == "of before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, writer.partial.name])


@pytest.mark.parametrize("keep", [True, False])
def test_nothing_stays_of_a_table_without_parts(tmp_path: Path, keep: bool) -> None:
    with pytest.raises(ValueError), TableWriter(tmp_path / "out.csv", keep_partial=keep) as writer:
        if not keep:
            writer.write(PARTS[0])
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    assert writer.partial is None


def test_a_part_without_rows_has_its_columns(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "out.parquet") as writer:
        writer.write(PARTS[0][:0])
    assert list(read(tmp_path / "out.parquet")) == ["row", "text", "p_x"]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.xlsx cannot be written"):
        TableWriter(tmp_path / "out.xlsx")
