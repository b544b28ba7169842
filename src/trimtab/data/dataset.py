"""`Dataset`: labelled rows in canonical columns, one frame a split, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

FINGERPRINT_CHUNK_ROWS = 50_000
IMAGE_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Columns:
    """Names of the columns in the user's data.

    Args:
        text: the text column; two for pairs of texts; none for images.
        image: the image column; for a folder of classes, `image`.
        label: the label column.
        group: the column whose equal values stay in one split.
    """

    text: tuple[str, ...] = ()
    image: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled data, read, cleaned and split.

    Frames have the columns `text` (and `text_pair`) or `image` (absolute path), `label` (label name), `group` where a
    group column is used, `row` (1-based data row in the user's file, header not counted) and `source` (file or split
    it came from), and a `RangeIndex`.

    Args:
        splits: frames by split name, among `train`, `validation`, `test`.
        columns: names in the user's data.
        task: `text-classification` or `image-classification`.
        labels: label names; the index is the class id.
        name: short name for the run directory.
        notes: what was inferred, how to override it, and what was dropped: sentences for the user.
        held_out: which of validation and test were cut from the training rows.
        fingerprint: SHA-256 of each split's content.
    """

    splits: dict[str, pd.DataFrame]
    columns: Columns
    task: str
    labels: tuple[str, ...]
    name: str
    notes: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    fingerprint: dict[str, str] = field(default_factory=dict)


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256 of a canonical frame's content and row order, as 64 hexadecimal digits.

    Texts, labels and groups count; where the rows came from does not, so that a moved file keeps its fingerprint. Of
    an image, its file name, size and first 64 KiB count.
    """
    digest = hashlib.sha256()
    names = [name for name in ("text", "text_pair", "label", "group") if name in frame]
    digest.update(json.dumps([*names, "image" in frame, len(frame)]).encode())
    for name in names:
        values = frame[name].tolist()
        for start in range(0, len(values), FINGERPRINT_CHUNK_ROWS):
            chunk = values[start : start + FINGERPRINT_CHUNK_ROWS]
            digest.update(json.dumps(chunk, ensure_ascii=True).encode())
    if "image" in frame:
        for path in map(Path, frame["image"].tolist()):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with open(path, "rb") as file:
                digest.update(file.read(IMAGE_HEAD_BYTES))
    return digest.hexdigest()


def label_order(labels: list[str]) -> tuple[str, ...]:
    """Label names in the order of their class ids: by value when all are numbers, else by code point."""
    distinct = sorted(set(labels))
    try:
        return tuple(sorted(distinct, key=float))
    except ValueError:
        return tuple(distinct)
