"""Rules of one feature that may give a label away, and how they are found: see `giveaway`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.core.said import say
from trimtab.data.image_features import image_features
from trimtab.data.lexical import is_unspaced, units

MIN_ROWS = 20
"""Fewest rows of a class, and of the others together, of which anything is said."""
MIN_J = 0.8
MIN_J_OF_A_NUMBER = 0.9
"""Lengths and colours differ between classes by nature: titles of one kind of news reached 0.86."""
MIN_PRECISION = 0.95
MIN_REPEATED = 0.9
"""Share of the rows whose value occurs in another row too, from which a table of values is looked at."""
MIN_TABLE_GAIN = 0.8
PER_CLASS = 3

SHOWN = 60
"""Characters of a value that are shown."""

NAMES = {
    str(name): name
    for name in (
        say("length of the text"),
        say("length of the second text"),
        say("whole second text"),
        say("width in pixels"),
        say("height in pixels"),
        say("mean brightness"),
        say("mean red"),
        say("mean green"),
        say("mean blue"),
        say("size"),
        say("colour mode"),
        say("kind of file"),
    )
}
"""What is measured or named of a row, for people."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """A feature that stands for a label.

    Args:
        kind: `word`, `characters`, `number` or `value`; `table` for all values of a feature, each with its own label.
        column: what it looks at, e.g. `text`.
        label: the label that it stands for; empty for a table.
        rows: rows of the label that it holds for, `of` how many.
        elsewhere: other rows that it holds for, `others` being all of them.
        right: share of all rows that a table puts right when each row is judged by the others; 0 for other kinds.
        value: the word or the value.
        low, high: bounds of a number, both included.
    """

    kind: str
    column: str
    label: str = ""
    rows: int = 0
    of: int = 0
    elsewhere: int = 0
    others: int = 0
    right: float = 0.0
    value: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def what(self) -> str:
        """The rule in words, as a sentence about it begins; of a table, the name of what it looks at."""
        name = NAMES.get(self.column, self.column)
        if self.kind == "word":
            return say("The word “{word}” in the {column}", word=self.value, column=_named(self.column))
        if self.kind == "characters":
            return say("The characters “{word}” in the {column}", word=self.value, column=_named(self.column))
        if self.kind == "value":
            return say("The {name} “{value}”", name=name, value=self.value[:SHOWN])
        if self.kind == "number" and self.high is not None:
            return say("A {name} of at most {high:.4g}", name=name, high=self.high)
        if self.kind == "number":
            return say("A {name} of at least {low:.4g}", name=name, low=self.low)
        return name

    @property
    def youden(self) -> float:
        """Youden's J: share of the label's rows that it holds for, less the share of the others."""
        return self.rows / self.of - self.elsewhere / self.others if self.of and self.others else self.right


@dataclass(frozen=True)
class Part:
    """The rows of a split, as the rules see them.

    Args:
        frame: the rows, n of them.
        texts: column -> n texts.
        numbers: what is measured -> values `[n]`.
        values: what is named -> n values.
    """

    frame: pd.DataFrame
    texts: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)


def read_texts(frame: pd.DataFrame, characters: int) -> Part:
    """Texts and their lengths; of pairs, the second text as a value too."""
    names = [name for name in ("text", "text_pair") if name in frame]
    numbers = {f"length of the {_named(name)}": np.array([len(text) for text in frame[name]], float) for name in names}
    values = {f"whole {_named('text_pair')}": frame["text_pair"].tolist()} if "text_pair" in frame else {}
    return Part(frame, {name: [str(text)[:characters] for text in frame[name]] for name in names}, numbers, values)


def read_images(frame: pd.DataFrame) -> Part:
    """Size, mode, kind of file and mean colours of the images that can be read.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    seen = image_features(frame["image"].tolist())
    sizes, means = seen.sizes.astype(np.float64), seen.mean_colours
    numbers = {"width in pixels": sizes[:, 0], "height in pixels": sizes[:, 1], "mean brightness": means.mean(axis=1)}
    numbers |= {f"mean {name}": means[:, place] for place, name in enumerate(("red", "green", "blue"))}
    values = {
        "size": [f"{width}×{height}" for width, height in seen.sizes.tolist()],
        "colour mode": list(seen.modes),
        "kind of file": list(seen.kinds),
    }
    return Part(frame.iloc[seen.places].reset_index(drop=True), {}, numbers, values)


def best_rules(part: Part) -> list[Rule]:
    """The rules that reach the limits, the strongest first; at most `PER_CLASS` of one class."""
    found = sorted([*_word_rules(part), *_number_rules(part), *_value_rules(part)], key=lambda rule: -rule.youden)
    kept: list[Rule] = []
    for rule in found:
        if sum(other.label == rule.label for other in kept) < PER_CLASS:
            kept.append(rule)
    return kept


def holds(rule: Rule, part: Part) -> Bools:
    """For which rows a rule holds, `[n]`."""
    if rule.kind == "number":
        numbers = part.numbers[rule.column]
        return (numbers >= (-np.inf if rule.low is None else rule.low)) & (
            numbers <= (np.inf if rule.high is None else rule.high)
        )
    if rule.kind == "value":
        return np.asarray([value == rule.value for value in part.values[rule.column]], bool)
    counts, _ = _counted(part.texts[rule.column], rule.kind == "characters", vocabulary=[rule.value])
    return np.asarray(counts.toarray()[:, 0] > 0, bool)


def value_table(part: Part, name: str) -> Rule | None:
    """Whether the values of a feature tell the label: each row is judged by the other rows of the same value."""
    labels, values = part.frame["label"].astype(str), pd.Series(part.values[name], dtype=object)
    counts = pd.crosstab(values, labels)
    own = counts.loc[values.tolist()].to_numpy() - pd.get_dummies(labels)[counts.columns].to_numpy(np.int64)
    repeated = own.sum(axis=1) > 0
    if len(labels) < MIN_ROWS or repeated.mean() < MIN_REPEATED or len(counts) < 2:
        return None
    named = counts.columns.to_numpy()[own.argmax(axis=1)]
    right = float(((named == labels.to_numpy()) & repeated).mean())
    majority = float(labels.value_counts(normalize=True).iloc[0])
    if right - majority < MIN_TABLE_GAIN * (1 - majority):
        return None
    return Rule("table", name, right=right)


def _word_rules(part: Part) -> Iterator[Rule]:
    for column, texts in part.texts.items():
        characters = is_unspaced(texts)
        counts, words = _counted(texts, characters)
        if not words:
            continue
        kind = "characters" if characters else "word"
        for place, label, numbers in _strong(counts, part.frame["label"], MIN_J):
            yield Rule(kind, column, label, *numbers, value=words[place])


def _value_rules(part: Part) -> Iterator[Rule]:
    for name, values in part.values.items():
        dummies = pd.get_dummies(pd.Series(values, dtype=object), sparse=False)
        frequent = dummies.loc[:, dummies.sum() >= MIN_ROWS * MIN_J]
        if not frequent.shape[1]:
            continue
        for place, label, numbers in _strong(frequent.to_numpy(np.int64), part.frame["label"], MIN_J):
            value = str(frequent.columns[place])
            yield Rule("value", name, label, *numbers, value=value)


def _number_rules(part: Part) -> Iterator[Rule]:
    labels = part.frame["label"].to_numpy()
    for name, numbers in part.numbers.items():
        distinct, place = np.unique(numbers, return_inverse=True)
        for label, count in part.frame["label"].value_counts().items():
            if count < MIN_ROWS or len(labels) - count < MIN_ROWS or len(distinct) < 2:
                continue
            own = np.cumsum(np.bincount(place[labels == label], minlength=len(distinct)))
            other = np.cumsum(np.bincount(place[labels != label], minlength=len(distinct)))
            youden = own / count - other / (len(labels) - count)
            low, high = int(youden[:-1].argmax()), int(youden[:-1].argmin())
            # At most the value at `low`, or above the one at `high`: whichever tells more.
            below = youden[low] >= -youden[high]
            rule = Rule(
                "number",
                name,
                str(label),
                int(own[low] if below else count - own[high]),
                int(count),
                int(other[low] if below else len(labels) - count - other[high]),
                int(len(labels) - count),
                low=None if below else float(distinct[high + 1]),
                high=float(distinct[low]) if below else None,
            )
            if rule.youden >= MIN_J_OF_A_NUMBER and rule.rows >= MIN_PRECISION * (rule.rows + rule.elsewhere):
                yield rule


def _strong(counts: Any, labels: pd.Series, limit: float) -> Iterator[tuple[int, str, tuple[int, int, int, int]]]:
    """Features `[n, features]` (0 or 1) that stand for a label: (feature, label, (rows, of, elsewhere, others))."""
    for label, size in labels.value_counts().items():
        others = len(labels) - int(size)
        if size < MIN_ROWS or others < MIN_ROWS:
            continue
        own = (labels == label).to_numpy()
        held, total = (np.asarray(part.sum(axis=0)).ravel() for part in (counts[own], counts))
        youden = held / size - (total - held) / others
        good = np.flatnonzero((youden >= limit) & (held >= MIN_PRECISION * total))
        for place in good[np.argsort(-youden[good], kind="stable")][:PER_CLASS].tolist():
            yield place, str(label), (int(held[place]), int(size), int(total[place] - held[place]), others)


def _counted(texts: list[str], characters: bool, vocabulary: list[str] | None = None) -> tuple[Any, list[str]]:
    """Which words stand in which texts: a sparse matrix of 0 and 1 `[n, words]`, and the words."""
    from sklearn.feature_extraction.text import CountVectorizer

    settings: dict[str, Any] = units(["退"] if characters else ["a"], 2)
    least = min(int(MIN_ROWS * MIN_J), max(1, len(texts)))
    vectorizer = CountVectorizer(**settings, binary=True, min_df=1 if vocabulary else least, vocabulary=vocabulary)
    try:
        counts = vectorizer.fit_transform(texts).tocsr()
    except ValueError:  # no word is frequent enough
        return None, []
    return counts, [str(word) for word in vectorizer.get_feature_names_out()]


def _named(column: str) -> str:
    return say("second text") if column == "text_pair" else say("text")
