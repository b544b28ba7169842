"""Names of splits: which of train, validation and test a file or folder name stands for."""

from __future__ import annotations

import re

SPLITS = ("train", "validation", "test")
ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "devel": "validation",
    "test": "test",
    "testing": "test",
}


def split_of(stem: str) -> str | None:
    """The split of a name without its extension; None when it is no split's.

    `train`, `train-00000-of-00002` (one part of several) and `tickets_train` are all `train`.
    """
    words = re.split(r"[-_.]", stem.lower())
    if words[0] in ALIASES and all(word.isdigit() or word == "of" for word in words[1:]):
        return ALIASES[words[0]]
    return ALIASES.get(words[-1])


def is_plain(stem: str) -> bool:
    """Whether a name is that of a split and nothing else, as in `dev`."""
    return stem.lower() in ALIASES
