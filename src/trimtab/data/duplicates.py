"""Rows that repeat: equal and nearly equal ones within the training split, and shared by the splits.

Two rows are *equal* when their texts are the same after Unicode compatibility normalisation, case folding, and removal
of extra blanks and surrounding punctuation (for images: when the files have the same bytes); *identical* when not even
case and punctuation differ; *nearly equal* as `near_duplicates` and `image_duplicates` define it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trimtab.core.seeds import stream
from trimtab.data.near_duplicates import THRESHOLD, near_pairs, shingle_estimate, text_similarity

SPLITS = ("train", "validation", "test")
MAX_TRAIN_ROWS = 100_000
"""Most training texts that enter the search for near-duplicates; held-out texts all do."""
MAX_SHINGLES = 8_000_000
"""Most shingles of training texts that enter it, which bounds the memory on long texts."""
MAX_EXAMPLES = 5
NEAR_EXAMPLES = 2
"""Of the examples, those kept for near-duplicates where there are any."""
MAX_CONFLICTS = 100
EXCERPT = 120

# Brackets are left out: ":(" and ":)" at the end of a text say different things.
_PUNCTUATION = ".,;:!?。，；：！？、\"'“”‘’«»「」『』`-–—*_~ "
_BETWEEN_TEXTS = "\x1f"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Repeats:
    """Rows of one split that repeat an earlier row of it.

    Args:
        split: `train`, `validation` or `test`.
        rows: rows of the split.
        equal, near: rows that equal, or else nearly equal, an earlier row.
        examples: up to `MAX_EXAMPLES` pairs, see `Search.example`.
    """

    split: str
    rows: int
    equal: int
    near: int
    examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Shared:
    """Rows of a held-out split that stand in an earlier split too.

    Args:
        split: the held-out split.
        other: the split that has them too.
        rows: rows of the held-out split.
        identical: rows whose content is in `other` character for character (blanks aside) or byte for byte.
        equal: rows whose normalised content is in `other`; the identical ones are among them.
        near: rows, beside the equal ones, that a row of `other` nearly equals.
        examples: up to `MAX_EXAMPLES` pairs, see `Search.example`.
    """

    split: str
    other: str
    rows: int
    identical: int
    equal: int
    near: int
    examples: tuple[dict[str, Any], ...]

    @property
    def share(self) -> float:
        """Share of the held-out rows that are affected."""
        return (self.equal + self.near) / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Conflict:
    """Equal content under different labels.

    Args:
        content: the beginning of the text, or the image's path.
        rows: each row with `split`, `source`, `row` and `label`.
    """

    content: str
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Duplicates:
    """What `find_text_duplicates` and `find_image_duplicates` found.

    Args:
        train: repeats within the training split.
        shared: one entry for each pair of splits.
        conflicts: up to `MAX_CONFLICTS` groups of equal content under different labels, over all splits.
        conflict_groups, conflict_rows: how many groups there are in all, and how many rows they hold.
        near_rows: training rows, equal ones counted once, that were searched for near-duplicates, of `train_rows`.
        train_rows: training rows, equal ones counted once.
        complete: False when the search stopped early, so that the near-duplicates are at least those counted.
    """

    train: Repeats
    shared: tuple[Shared, ...]
    conflicts: tuple[Conflict, ...]
    conflict_groups: int
    conflict_rows: int
    near_rows: int
    train_rows: int
    complete: bool


def normalise(text: str) -> str:
    """The form in which equal texts are the same string; a text of punctuation only keeps it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_PUNCTUATION) or folded


def find_text_duplicates(
    splits: dict[str, pd.DataFrame], *, seed: int = 0, max_train_rows: int = MAX_TRAIN_ROWS
) -> Duplicates:
    """Search the canonical frames of a text `Dataset` for repeated rows.

    Args:
        splits: frames with `text`, `label`, `row`, `source`, and `text_pair` for pairs; a pair of texts equals another
            when both texts do.
        seed: seed of the sample of training rows, where there are more than `max_train_rows`.
        max_train_rows: most training rows that are searched for near-duplicates.
    """
    search = Search(splits, {name: _joined(frame, normalise) for name, frame in splits.items()})
    identical = {name: _joined(frame, lambda text: " ".join(text.split())) for name, frame in splits.items()}
    contents = search.contents
    train = np.arange(search.first_held_out)
    rows = _within_budget(train, contents, max_train_rows, seed)
    searched = np.concatenate([rows, np.arange(search.first_held_out, len(contents))])
    pairs = near_pairs([contents[row] for row in searched])
    first, second = searched[pairs.first], searched[pairs.second]
    if any("text_pair" in frame for frame in splits.values()):
        both = [_both_near(contents[a], contents[b]) for a, b in zip(first, second, strict=True)]
        first, second = first[both], second[both]
    found = search.result(first, second, identical)
    return replace(found, near_rows=len(rows), train_rows=len(train), complete=pairs.complete)


def _joined(frame: pd.DataFrame, form: Any) -> list[str]:
    texts = [form(text) for text in frame["text"]]
    if "text_pair" not in frame:
        return texts
    return [f"{text} {_BETWEEN_TEXTS} {form(pair)}" for text, pair in zip(texts, frame["text_pair"], strict=True)]


def _both_near(first: str, second: str) -> bool:
    """Whether both texts of two pairs are nearly equal: a long first text must not hide that the second ones differ."""
    sides = zip(first.split(_BETWEEN_TEXTS), second.split(_BETWEEN_TEXTS), strict=True)
    return all(a == b or text_similarity(a.strip(), b.strip()) >= THRESHOLD for a, b in sides)


def _within_budget(rows: Ints, contents: Sequence[str], max_rows: int, seed: int) -> Ints:
    """As many rows, drawn at random, as the bounds on rows and shingles admit; in rising order."""
    order = stream(seed, "near-duplicates").permutation(rows)
    shingles = np.cumsum([shingle_estimate(contents[row]) for row in order])
    return np.sort(order[: min(max_rows, int(np.searchsorted(shingles, MAX_SHINGLES, side="right")))])


class Search:
    """Distinct contents over all splits, numbered in order of first appearance, train first.

    Args:
        splits: canonical frames by split name.
        keys: for each split, one string a row; rows with the same string are equal.
    """

    def __init__(self, splits: dict[str, pd.DataFrame], keys: dict[str, list[str]]) -> None:
        self.names = [name for name in SPLITS if name in splits]
        self.frames = {name: splits[name] for name in self.names}
        numbers: dict[str, int] = {}
        self.first_held_out = 0
        self.of_row: dict[str, Ints] = {}
        for name in self.names:
            values = [numbers.setdefault(key, len(numbers)) for key in keys[name]]
            self.of_row[name] = np.array(values, dtype=np.int64)
            if name == "train":
                self.first_held_out = len(numbers)
        self.contents = list(numbers)
        self.position = {name: _first_positions(self.of_row[name]) for name in self.names}

    def result(self, first: Ints, second: Ints, identical: dict[str, list[str]] | None = None) -> Duplicates:
        """Count what the pairs `(first, second)` of nearly equal content numbers, first < second, mean for the rows.

        Args:
            first, second: numbers of contents, `[pairs]`.
            identical: for each split, one string a row; rows with the same string are identical. Equal rows are when
                absent.
        """
        pairs = [(other, name) for index, name in enumerate(self.names) for other in self.names[:index]]
        conflicts = self._conflicts()
        return Duplicates(
            train=self._repeats("train", first, second),
            shared=tuple(self._shared(other, name, first, second, identical) for other, name in pairs),
            conflicts=tuple(conflicts[:MAX_CONFLICTS]),
            conflict_groups=len(conflicts),
            conflict_rows=sum(len(conflict.rows) for conflict in conflicts),
            near_rows=self.first_held_out,
            train_rows=self.first_held_out,
            complete=True,
        )

    def example(self, kind: str, split: str, position: int, other: str, other_position: int) -> dict[str, Any]:
        """One pair of rows for the report: `kind` (`equal` or `near`), and where both stand, with text and label."""
        here, there = self._place(split, position), self._place(other, other_position)
        return {"kind": kind, **here, **{f"other_{key}": value for key, value in there.items()}}

    def _place(self, split: str, position: int) -> dict[str, Any]:
        row = self.frames[split].iloc[position]
        return {
            "split": split,
            "source": str(row["source"]),
            "row": int(row["row"]),
            "content": _excerpt(row),
            "label": str(row["label"]),
        }

    def _repeats(self, split: str, first: Ints, second: Ints) -> Repeats:
        if split not in self.frames:
            return Repeats(split, 0, 0, 0, ())
        numbers, position = self.of_row[split], self.position[split]
        equal = [int(row) for row in range(len(numbers)) if position[int(numbers[row])] != row]
        inside = np.array([a in position and b in position for a, b in _items(first, second)], dtype=bool)
        earlier = _partners(second[inside], first[inside])
        near = list(earlier)
        shown = equal[: _shown(equal, near)]
        examples = [self.example("equal", split, row, split, position[int(numbers[row])]) for row in shown]
        for number in near[: MAX_EXAMPLES - len(examples)]:
            examples.append(self.example("near", split, position[number], split, position[earlier[number]]))
        return Repeats(split, len(numbers), len(equal), len(earlier), tuple(examples))

    def _shared(
        self, other: str, split: str, first: Ints, second: Ints, identical: dict[str, list[str]] | None
    ) -> Shared:
        numbers, there = self.of_row[split].tolist(), self.position[other]
        equal = [row for row, number in enumerate(numbers) if number in there]
        partner = _partners(np.concatenate([first, second]), np.concatenate([second, first]), there)
        near = [row for row, number in enumerate(numbers) if number not in there and number in partner]
        same = len(equal)
        if identical is not None:
            known = set(identical[other])
            same = sum(key in known for key in identical[split])
        shown = _shown(equal, near)
        examples = [self.example("equal", split, row, other, there[numbers[row]]) for row in equal[:shown]]
        for row in near[: MAX_EXAMPLES - len(examples)]:
            examples.append(self.example("near", split, row, other, there[partner[numbers[row]]]))
        return Shared(split, other, len(numbers), same, len(equal), len(near), tuple(examples))

    def _conflicts(self) -> list[Conflict]:
        numbers = np.concatenate([self.of_row[name] for name in self.names])
        labels = pd.concat([self.frames[name]["label"] for name in self.names], ignore_index=True)
        different = labels.groupby(numbers).transform("nunique").to_numpy() > 1
        places = [(name, row) for name in self.names for row in range(len(self.frames[name]))]
        groups: dict[int, list[tuple[str, int]]] = {}
        for index in np.flatnonzero(different):
            groups.setdefault(int(numbers[index]), []).append(places[index])
        return [self._conflict(group) for group in groups.values()]

    def _conflict(self, group: list[tuple[str, int]]) -> Conflict:
        rows = [self._place(*place) for place in group]
        content = rows[0]["content"]
        return Conflict(content, tuple({key: row[key] for key in ("split", "source", "row", "label")} for row in rows))


def _first_positions(numbers: Ints) -> dict[int, int]:
    """Content number -> position of the first row that has it."""
    positions: dict[int, int] = {}
    for position, number in enumerate(numbers.tolist()):
        positions.setdefault(number, position)
    return positions


def _items(first: Ints, second: Ints) -> Iterable[tuple[int, int]]:
    return zip(first.tolist(), second.tolist(), strict=True)


def _partners(numbers: Ints, partners: Ints, among: dict[int, int] | None = None) -> dict[int, int]:
    """Content number -> its first partner (among the given ones), in rising order of the number."""
    found: dict[int, int] = {}
    for number, partner in sorted(_items(numbers, partners)):
        if among is None or partner in among:
            found.setdefault(number, partner)
    return found


def _shown(equal: Sequence[int], near: Sequence[int]) -> int:
    """How many of the examples are equal rows."""
    return min(len(equal), MAX_EXAMPLES - min(len(near), NEAR_EXAMPLES))


def _excerpt(row: pd.Series) -> str:
    if "image" in row:
        return str(row["image"])
    texts = [" ".join(str(row[name]).split()) for name in ("text", "text_pair") if name in row]
    return " | ".join(text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…" for text in texts)
