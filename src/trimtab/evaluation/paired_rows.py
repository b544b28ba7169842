"""Which rows two runs were both judged on, told by the rows themselves and not by their place in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import DataError
from trimtab.metrics.classification import Ints

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 0.9
"""Share of the rows of either run that both must hold."""
CONTENT = ("text", "text_pair", "image")
PLACE = ("source", "row")
OTHER_ROWS = (
    "Give both runs the same test rows: the same file as data.test, or the same data and the same seed (the seed "
    "decides which rows are held out). Or judge both on one file with: trimtab evaluate RUN DATA"
)


@dataclass(frozen=True)
class SharedRows:
    """The rows that two runs share, in the same order in both tables.

    Args:
        first, second: predictions of n rows each, as `predictions_table` makes them.
        labels: every label and prediction that occurs, sorted; index = class id.
        notes: what was left out.
    """

    first: pd.DataFrame
    second: pd.DataFrame
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.first)

    def classes(self, names: pd.Series[Any]) -> Ints:
        """Class ids of label names, int64 [n]."""
        return np.searchsorted(np.asarray(self.labels, dtype=object), names.to_numpy(object)).astype(np.int64)


def shared_rows(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> SharedRows:
    """Bring two tables of predictions to the rows that both hold.

    A row is known by its source, its number and its content; where that fails (the file was renamed, or sorted), by its
    content alone. Rows whose labels differ are not the same rows.

    Args:
        first, second: tables of `predictions.parquet`.
        names: what the two runs are called, for messages.

    Raises:
        DataError: one table is empty, or they share less than nine tenths of their rows.
    """
    for frame, name in ((first, names[0]), (second, names[1])):
        if not len(frame) or "label" not in frame:
            raise DataError(f"{name} has no predictions of labelled rows.", remedy=OTHER_ROWS)
    tries = [_places(first, second, columns) for columns in ((*PLACE, *CONTENT), CONTENT)]
    here, there = max(tries, key=lambda places: len(places[0]))
    left, right = first.iloc[here].reset_index(drop=True), second.iloc[there].reset_index(drop=True)
    alike = (left["label"].astype(str) == right["label"].astype(str)).to_numpy(bool)
    most = max(len(first), len(second))
    relabelled = int((~alike).sum())
    if alike.sum() < ENOUGH * most:
        raise DataError(_refusal(first, second, names, int(alike.sum()), relabelled), remedy=OTHER_ROWS)
    notes = []
    if alike.sum() < most:
        left_out = f"{relabelled:,} of them because their labels differ" if relabelled else ""
        notes.append(
            f"Compared on the {int(alike.sum()):,} rows that both runs hold; {names[0]} has {len(first):,}, {names[1]} "
            f"{len(second):,}{'. Left out, ' + left_out if left_out else ''}."
        )
    left, right = (_as_text(frame[alike].reset_index(drop=True)) for frame in (left, right))
    labels = sorted({*left["label"], *left["prediction"], *right["prediction"], *_named(left), *_named(right)})
    return SharedRows(left, right, tuple(labels), tuple(notes))


def _refusal(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], alike: int, relabelled: int) -> str:
    if alike + relabelled >= ENOUGH * max(len(first), len(second)):
        found = f"{relabelled:,} of the rows that both hold have another label in each"
    else:
        found = f"they share {alike:,}"
    return (
        f"{names[0]} ({len(first):,} rows) and {names[1]} ({len(second):,} rows) were not evaluated on the same rows: "
        f"{found}."
    )


def _places(first: pd.DataFrame, second: pd.DataFrame, columns: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Places in the two tables of the rows that are equal in the columns that both have."""
    present = [name for name in columns if name in first and name in second]
    if not present or not set(CONTENT) & set(present):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    keyed = []
    for side, frame in (("here", first), ("there", second)):
        # Joined as texts: an image may be a path in one table and an object in the other.
        keys = frame[present].astype(str)
        # Equal rows are told apart by their order: the first goes with the first.
        keys = keys.assign(again=keys.groupby(present, sort=False).cumcount())
        keyed.append(keys.assign(**{side: np.arange(len(frame))}))
    joined = keyed[0].merge(keyed[1], on=[*present, "again"], how="inner").sort_values("here")
    return joined["here"].to_numpy(np.int64), joined["there"].to_numpy(np.int64)


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(label=frame["label"].astype(str), prediction=frame["prediction"].astype(str))


def _named(frame: pd.DataFrame) -> set[str]:
    """Labels that have a column of probabilities."""
    known = {*frame["label"], *frame["prediction"]}
    after = list(frame.columns)[list(frame.columns).index("probability") + 1 :] if "probability" in frame else []
    if any(name.startswith("p_top_") for name in after):
        return known
    return {name[2:] for name in after if name.startswith("p_")}
