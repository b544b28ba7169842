"""The texts that retention is measured on: ours, or those of a file; and scored pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.column_names import PAIRS, TEXT_TIERS
from trimtab.data.encodings import decode
from trimtab.data.readers import DELIMITED, read_table
from trimtab.data.values import is_number, to_strings

LANGUAGES = ("en", "zh")
FEWEST = 8
"""Rows below which drift and correlations say nothing."""
_SCORES = ("score", "similarity", "similarity_score", "relatedness", "relatedness_score", "gold", "label", "分数")
_PAIR_REMEDY = "Give the file the columns sentence1, sentence2 and score (the similarity as a number)."


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of texts with how alike people find them.

    Args:
        first: the first texts.
        second: the second texts, as many.
        scores: similarity of each pair, of any scale, float64 `[pairs]`.
        notes: what a user should know of the reading.
    """

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> ScoredPairs:
        """The pairs with the given indices."""
        return ScoredPairs(
            [self.first[row] for row in rows], [self.second[row] for row in rows], self.scores[rows], self.notes
        )


def general_texts(language: str) -> list[str]:
    """The general sentences that come with the package, in one of `LANGUAGES`.

    They were written for this purpose. Neighbours speak of like things, so that their similarities span a wide range.
    """
    file = resources.files(__package__).joinpath("texts", f"general_{language}.txt")
    return file.read_text(encoding="utf-8").splitlines()


def read_texts(path: str) -> list[str]:
    """The texts of a file: the lines of a `.txt` file that are not blank, or the text column of a table.

    Args:
        path: as in `retention.text`.

    Raises:
        DataError: the file is not there, cannot be read, has no column called `text` or the like, or too few texts.
    """
    file = _existing(path, "retention.text")
    if file.suffix.lower() == ".txt":
        texts = [line.strip() for line in _lines(file)]
    else:
        frame = read_table(file, DataSection(), ("text",)).frame
        column = _text_column(frame, file.name)
        texts = [text.strip() for text in to_strings(frame[column], column) if text is not None]
    if len(texts) < FEWEST:
        raise DataError(
            f"{file.name} has {len(texts)} texts; at least {FEWEST} are needed to measure retention.",
            remedy="Give retention.text a file with more texts, or leave it out to use those that come with Trimtab.",
        )
    return texts


def read_pairs(path: str) -> ScoredPairs:
    """The scored pairs of a table.

    The columns are found by their names; without a header, the two columns of texts and the column of numbers beside
    them. Rows of the STS benchmark, which are cut by tabs and differ in length, are read too.

    Args:
        path: as in `retention.pairs`.

    Raises:
        DataError: the file is not there or cannot be read; it has no two columns of texts or no column of scores; a
            score is no number; there are too few pairs, or all scores are equal.
    """
    file = _existing(path, "retention.pairs")
    frame = _tabbed(file) if file.suffix.lower() in DELIMITED else None
    if frame is None:
        frame = read_table(file, DataSection(), [*_SCORES, *(name for pair in PAIRS for name in pair)]).frame
    first, second, score = _pair_columns(frame, file.name)
    rows = pd.DataFrame({name: to_strings(frame[name], name) for name in (first, second, score)})
    whole = rows.dropna()
    wrong = [(row, value) for row, value in whole[score].items() if not is_number(value)]
    if wrong:
        raise DataError(
            f"{file.name}: the score of row {int(str(wrong[0][0])) + 1} is {wrong[0][1]!r}, which is no number"
            + (f"; {len(wrong)} rows in all." if len(wrong) > 1 else "."),
            remedy="Correct the column, or remove these rows.",
        )
    scores = whole[score].to_numpy(dtype=np.float64)
    if len(scores) < FEWEST or len(np.unique(scores)) < 2:
        fault = f"{len(scores)} pairs with a score" if len(scores) < FEWEST else "the same score for every pair"
        raise DataError(
            f"{file.name} has {fault}; at least {FEWEST} pairs with different scores are needed.",
            remedy="Give retention.pairs another file, or leave it out.",
        )
    dropped = len(rows) - len(whole)
    notes = (f"{file.name}: {dropped} pairs without a text or a score are left out.",) if dropped else ()
    return ScoredPairs(whole[first].tolist(), whole[second].tolist(), scores, notes)


def _existing(path: str, key: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        what = "is a directory" if file.is_dir() else "does not exist"
        raise DataError(f"The file {path!r} {what}.", remedy=f"Check the path given as {key} in the recipe.")
    return file


def _lines(file: Path) -> list[str]:
    """The lines that are not blank; only line feeds end one."""
    try:
        text = decode(file.read_bytes(), file.name, None).text
        return [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {error.strerror or error}.", remedy="Check the path and its permissions."
        ) from error


def _text_column(frame: pd.DataFrame, name: str) -> str:
    columns = {str(column).strip().lower(): str(column) for column in frame.columns}
    for tier in TEXT_TIERS:
        found = [column for lowered, column in columns.items() if lowered in tier]
        if len(found) == 1:
            return found[0]
    if len(columns) == 1:
        return next(iter(columns.values()))
    raise DataError(
        f"{name} has no column called 'text'; its columns: {', '.join(map(repr, columns.values()))}.",
        remedy="Rename the column with the texts to 'text', or give one text a line in a .txt file.",
    )


def _tabbed(file: Path) -> pd.DataFrame | None:
    """A table without header, cut by tabs and without quotes, whose rows may have more columns than the first.

    None where a line has fewer than three columns, or the first line has no number and so is a header.
    """
    rows = [line.split("\t") for line in _lines(file)]
    width = min((len(row) for row in rows), default=0)
    if width < 3 or not any(is_number(cell) for cell in rows[0]):
        return None
    return pd.DataFrame([row[:width] for row in rows], columns=[f"column_{i + 1}" for i in range(width)], dtype=object)


def _pair_columns(frame: pd.DataFrame, name: str) -> tuple[str, str, str]:
    """Names of the columns of the first text, the second text and the score."""
    columns = [str(column) for column in frame.columns]
    unnamed = all(column.startswith("column_") for column in columns)
    texts, scores = _by_content(frame, columns) if unnamed else _by_name(columns)
    if texts is None or not scores:
        missing = "no two columns of texts" if texts is None else "no column of scores"
        raise DataError(f"{name} has {missing}; its columns: {', '.join(map(repr, columns))}.", remedy=_PAIR_REMEDY)
    return *texts, scores[0]


def _by_name(columns: list[str]) -> tuple[tuple[str, str] | None, list[str]]:
    lowered = {column.strip().lower(): column for column in columns}
    texts = next(((lowered[a], lowered[b]) for a, b in PAIRS if a in lowered and b in lowered), None)
    return texts, [lowered[score] for score in _SCORES if score in lowered]


def _by_content(frame: pd.DataFrame, columns: list[str]) -> tuple[tuple[str, str] | None, list[str]]:
    """The two columns with the longest texts, in their order, and the columns of numbers right beside them."""
    values = {column: to_strings(frame[column], column).dropna() for column in columns}
    numbers = [column for column in columns if len(values[column]) and values[column].map(is_number).all()]
    others = [column for column in columns if column not in numbers and len(values[column])]
    if len(others) < 2:
        return None, numbers
    longest = sorted(others, key=lambda column: -values[column].str.len().mean())[:2]
    first, second = sorted(longest, key=columns.index)
    beside = (columns.index(first) - 1, columns.index(second) + 1)
    return (first, second), [column for column in numbers if columns.index(column) in beside]
