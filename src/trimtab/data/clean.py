"""From a raw table to canonical rows: empty ones dropped and counted, labels checked."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.data.dataset import Columns
from trimtab.data.images import broken_images
from trimtab.data.problems import Problem, first_rows
from trimtab.data.tables import RawTable
from trimtab.data.values import is_fraction, is_number, to_labels, to_strings

MOST_CLASSES = 1000
MOST_FRACTIONS = 10
LISTED = 10


@dataclass(frozen=True)
class Drop:
    """Rows left out for one reason, by their numbers in the user's file."""

    reason: str
    rows: list[int]


@dataclass(frozen=True)
class Cleaned:
    """A table in canonical columns, what was dropped from it, and how many rows it had."""

    frame: pd.DataFrame
    drops: tuple[Drop, ...]
    total: int
    source: str

    @property
    def dropped(self) -> int:
        """Number of rows that were left out."""
        return sum(len(drop.rows) for drop in self.drops)

    def notes(self) -> list[str]:
        """A sentence for each reason."""
        return [
            f"{self.source}: {len(drop.rows)} of {self.total} rows dropped: {drop.reason} ({first_rows(drop.rows)})"
            for drop in self.drops
        ]


def clean(table: RawTable, columns: Columns, *, labelled: bool) -> Cleaned:
    """Bring a table into canonical columns, and drop rows with an empty text, a broken image or no label.

    Args:
        table: the raw table; it has the columns that `columns` names.
        columns: which of its columns to use.
        labelled: take the label column too.

    Raises:
        DataError: a used column holds lists, objects or bytes.
    """
    data: dict[str, pd.Series] = {}
    if columns.image is not None:
        data["image"] = to_strings(table.frame[columns.image], columns.image)
    for canonical, name in zip(("text", "text_pair"), columns.text, strict=False):
        data[canonical] = to_strings(table.frame[name], name)
    if labelled and columns.label is not None:
        data["label"] = to_labels(table.frame[columns.label], columns.label)
    if columns.group is not None and columns.group in table.frame:
        data["group"] = to_strings(table.frame[columns.group], columns.group).fillna("")
    frame = pd.DataFrame(data, dtype=object)
    frame["row"] = range(1, len(frame) + 1)
    frame["source"] = table.source
    reasons = _reasons(frame)
    drops = tuple(
        Drop(str(reason), frame.loc[reasons == reason, "row"].tolist()) for reason in reasons.dropna().unique()
    )
    kept = frame[reasons.isna()].reset_index(drop=True)
    return Cleaned(kept, drops, len(frame), table.source)


def _reasons(frame: pd.DataFrame) -> pd.Series:
    """Why each row is dropped; None for the rows that stay. The first reason that applies counts."""
    reasons = pd.Series(None, index=frame.index, dtype=object)
    if "image" in frame:
        reasons[pd.Series(broken_images(frame["image"].tolist()), index=frame.index, dtype=bool)] = "broken image file"
    for name, reason in (("text", "empty text"), ("text_pair", "empty text"), ("label", "empty label")):
        if name in frame:
            reasons[frame[name].isna() & reasons.isna()] = reason
    return reasons


def dropped_problem(cleaned: Cleaned, options: DataSection) -> list[Problem]:
    """The problem of a table that lost too many rows, or all of them."""
    share = cleaned.dropped / max(1, cleaned.total)
    if len(cleaned.frame) and (share <= options.max_dropped_share or options.force):
        return []
    reasons = "; ".join(f"{drop.reason}: {len(drop.rows)} ({first_rows(drop.rows)})" for drop in cleaned.drops)
    if not len(cleaned.frame):
        return [
            Problem(
                f"{cleaned.source}: none of its {cleaned.total} rows can be used: {reasons}.",
                "Check that --text and --label name the right columns.",
            )
        ]
    return [
        Problem(
            f"{cleaned.source}: {cleaned.dropped} of {cleaned.total} rows ({share:.0%}) cannot be used, more than the "
            f"{options.max_dropped_share:.0%} of data.max_dropped_share: {reasons}.",
            "Mend these rows, raise data.max_dropped_share with --set, or go on without them with --force.",
        )
    ]


def label_problems(train: pd.DataFrame, column: str | None, source: str) -> list[Problem]:
    """What makes a label column unfit for classification: one class, too many, numbers to predict, single rows.

    Args:
        train: canonical training rows, at least one.
        column: the label column's name; None where folders are the classes.
        source: the table's name, for messages.
    """
    counts = train["label"].value_counts()
    if len(counts) == 1 and column is None:
        return [
            Problem(
                f"{source}: every image is in the one class folder {counts.index[0]!r}: nothing to learn.",
                "Add a folder of images for each other class.",
            )
        ]
    if len(counts) == 1:
        return [
            Problem(
                f"{source}: every row of the label column {column!r} is {counts.index[0]!r}: nothing to learn.",
                "Add rows of other classes, or name another column with --label NAME.",
            )
        ]
    labels = [str(label) for label in counts.index]
    rows, classes = len(train), len(counts)
    fractions = all(map(is_number, labels)) and sum(map(is_fraction, labels)) > 0 and classes > MOST_FRACTIONS
    many = classes > 0.5 * rows or (classes > MOST_CLASSES and rows < 3 * classes)
    if fractions or (many and all(map(is_number, labels))):
        return [
            Problem(
                f"{source}: the label column {column!r} holds {classes} different numbers in {rows} rows (for example "
                f"{', '.join(labels[:3])}): it looks like a quantity (regression), which cannot be trained yet, or "
                "like an id.",
                "Name a column with class names with --label NAME, or cut the numbers into classes.",
            )
        ]
    if many:
        return [
            Problem(
                f"{source}: the label column {column!r} has {classes} different values in {rows} rows (for example "
                f"{', '.join(repr(label[:40]) for label in labels[:3])}): nearly every row is its own class.",
                "Name the column with the classes with --label NAME, or merge rare classes.",
            )
        ]
    return _single_rows(train, counts, source)


def _single_rows(train: pd.DataFrame, counts: pd.Series, source: str) -> list[Problem]:
    single = sorted(counts.index[counts == 1])
    if not single:
        return []
    found = train[train["label"].isin(single[:LISTED])].sort_values("label")
    listed = ", ".join(f"{label!r} (row {row})" for label, row in zip(found["label"], found["row"], strict=True))
    more = f" and {len(single) - LISTED} more" if len(single) > LISTED else ""
    return [
        Problem(
            f"{source}: {len(single)} class{'es have' if len(single) > 1 else ' has'} a single row: {listed}{more}.",
            "Add rows of these classes, merge them with others, or remove these rows.",
        )
    ]


def unseen_problems(frame: pd.DataFrame, known: set[str], split: str, source: str, seen_in: str) -> list[Problem]:
    """Labels of a split that the model does not learn."""
    whose = f"{split} " if split else ""
    unseen = frame[~frame["label"].isin(known)]
    problems = []
    for label, rows in list(unseen.groupby("label", sort=True)["row"])[:LISTED]:
        numbers = rows.tolist()
        problems.append(
            Problem(
                f"{source}: the label {label!r} of {len(numbers)} {whose}row{'s' if len(numbers) > 1 else ''} "
                f"({first_rows(numbers)}) never occurs in {seen_in}.",
                "Correct or remove these rows, or add rows with these labels to the training data. Known labels: "
                f"{', '.join(sorted(known)[:LISTED])}{', …' if len(known) > LISTED else ''}.",
            )
        )
    return problems
