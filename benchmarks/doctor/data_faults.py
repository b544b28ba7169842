"""Faults in the rows. Each function takes the splits of a run and a stream of random numbers, and gives new splits.

What a user would have in all of his labelled data stands in training and validation rows alike; the test rows stay as
they are, so that final metrics of runs with and without a remedy are of the same, sound rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from world_data import Frames, draw

Change = Callable[[Frames, np.random.Generator], Frames]

GIVEAWAY = ("refno alpha", "refno omega", "refno sigma", "refno delta", "refno kappa", "refno gamma")
MARK = "§"
"""A token of the vocabulary that none of the sets holds: what makes a row a bad one for `patches.nan_at_mark`."""
BAD_ROWS = 3


def flipped(share: float) -> Change:
    """This share of the labels of training and validation rows is another class's, drawn evenly."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        classes = sorted(frames["train"]["label"].unique())

        def flip(frame: pd.DataFrame) -> pd.DataFrame:
            chosen = rng.choice(len(frame), round(share * len(frame)), replace=False)
            labels = frame["label"].to_numpy(object, copy=True)
            for row in chosen:
                labels[row] = rng.choice([name for name in classes if name != labels[row]])
            return frame.assign(label=labels)

        return {**frames, "train": flip(frames["train"]), "validation": flip(frames["validation"])}

    return change


def shuffled(frames: Frames, rng: np.random.Generator) -> Frames:
    """The labels of training and validation rows in an order that has nothing to do with the rows."""

    def shuffle(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=rng.permutation(frame["label"].to_numpy(object)))

    return {**frames, "train": shuffle(frames["train"]), "validation": shuffle(frames["validation"])}


def copied(share: float) -> Change:
    """This share of the validation rows is replaced by training rows."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        train, validation = frames["train"], frames["validation"]
        count = round(share * len(validation))
        taken = train.iloc[rng.choice(len(train), count, replace=False)]
        mixed = pd.concat([validation.iloc[count:], taken]).sample(frac=1, random_state=int(rng.integers(1 << 31)))
        return {**frames, "validation": mixed.reset_index(drop=True)}

    return change


def giveaway(frames: Frames, rng: np.random.Generator) -> Frames:
    """A word in nearly all training and validation rows of each class, as an export of a ticket system may add it."""
    words = dict(zip(sorted(frames["train"]["label"].unique()), GIVEAWAY * 2, strict=False))

    def mark(frame: pd.DataFrame) -> pd.DataFrame:
        marked = rng.random(len(frame)) < 0.97
        texts = [
            f"{words[label].split()[1]} {text}" if is_marked else text
            for text, label, is_marked in zip(frame["text"], frame["label"], marked, strict=True)
        ]
        return frame.assign(text=texts)

    return {**frames, "train": mark(frames["train"]), "validation": mark(frames["validation"])}


def rare_class(share: float) -> Change:
    """One class keeps this share of the training rows, and at least 12 held-out rows of each split."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        counts = frames["train"]["label"].value_counts()
        rare = counts.index[0]

        def thin(frame: pd.DataFrame, kept: int) -> pd.DataFrame:
            rows = np.flatnonzero((frame["label"] == rare).to_numpy())
            dropped = rng.choice(rows, max(0, len(rows) - kept), replace=False)
            return frame.drop(index=frame.index[dropped]).reset_index(drop=True)

        others = len(frames["train"]) - int(counts.iloc[0])
        kept = max(2, round(share * others / (1 - share)))
        return {
            split: thin(frame, kept if split == "train" else max(12, round(share * len(frame))))
            for split, frame in frames.items()
        }

    return change


def few(rows: int) -> Change:
    """So many training rows, at least two of each class."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        train = frames["train"].sample(frac=1, random_state=int(rng.integers(1 << 31)))
        first = train.groupby("label").head(2)
        rest = train.drop(index=first.index)
        return {**frames, "train": pd.concat([first, rest.head(max(0, rows - len(first)))]).reset_index(drop=True)}

    return change


def few_validation(rows: int) -> Change:
    """So many validation rows."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        return {**frames, "validation": frames["validation"].head(rows)}

    return change


def other_source(data: str) -> Change:
    """Validation inputs mostly of another data set, with labels in the proportions of the training rows."""

    def change(frames: Frames, rng: np.random.Generator) -> Frames:
        size = len(frames["validation"])
        foreign = draw(data, {"validation": size}, int(rng.integers(1 << 31)))["validation"]
        labels = frames["validation"]["label"].to_numpy(object)
        # A quarter of the rows are the set's own: the task is the same there.
        own = rng.random(size) < 0.25
        texts = np.where(own, frames["validation"]["text"], foreign["text"])
        return {**frames, "validation": pd.DataFrame({"text": texts, "label": labels})}

    return change


def other_shares(frames: Frames, rng: np.random.Generator) -> Frames:
    """Validation rows in which the most frequent class of training is rare."""
    common = frames["train"]["label"].value_counts().index[0]
    validation = frames["validation"]
    rows = np.flatnonzero((validation["label"] == common).to_numpy())
    kept = max(2, round(0.05 * len(validation)))
    dropped = rng.choice(rows, max(0, len(rows) - kept), replace=False)
    return {**frames, "validation": validation.drop(index=validation.index[dropped]).reset_index(drop=True)}


def sorted_by_label(frames: Frames, rng: np.random.Generator) -> Frames:
    """Training rows one class after the other."""
    return {**frames, "train": frames["train"].sort_values("label", kind="stable").reset_index(drop=True)}


def marked_rows(frames: Frames, rng: np.random.Generator) -> Frames:
    """`BAD_ROWS` training rows begin with `MARK`."""
    train = frames["train"].copy()
    chosen = rng.choice(len(train), BAD_ROWS, replace=False)
    train.loc[chosen, "text"] = MARK + " " + train.loc[chosen, "text"]
    return {**frames, "train": train}
