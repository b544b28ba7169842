"""What reading hands to inference and cleaning: tables as they stand in the user's data."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class RawTable:
    """One table of the user's data, its values untouched.

    Args:
        frame: columns as the user names them; values of any type, missing ones as None or NaN.
        source: file or split name, for messages and the `source` column.
        notes: what reading had to guess.
    """

    frame: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawData:
    """All tables of one data source.

    Args:
        tables: tables by split, among `train`, `validation`, `test`.
        modality: `text` or `image`.
        name: short name of the data.
        single: the source is one table, without splits (it stands under `train`).
        notes: what was guessed or ignored while looking for the tables.
        explicit: splits that the user gave as a file of their own.
    """

    tables: dict[str, RawTable]
    modality: str
    name: str
    single: bool
    notes: tuple[str, ...] = ()
    explicit: frozenset[str] = field(default_factory=frozenset)
