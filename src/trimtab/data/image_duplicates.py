"""Images that repeat, and what their files are like: sizes and modes.

Equal: the same bytes (SHA-256). Nearly equal: difference hashes (Krawetz 2013, "Kind of like that": the signs of the
horizontal brightness differences of a 9 × 8 thumbnail, 64 bits) that differ in at most 4 bits, and 16 × 16 grey
thumbnails that differ by at most 8 of 255 levels on average, and of which one explains all but 1.5 % of the other's
variance. The latter conditions keep apart plain pictures, whose differences are all noise, and pictures of one make,
such as spectrograms, which share their large dark areas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trimtab.core.files import sha256_of
from trimtab.core.optional import require
from trimtab.core.seeds import stream
from trimtab.data.duplicates import Duplicates, Search

MAX_TRAIN_IMAGES = 10_000
"""Most training images that are opened; held-out images all are."""
MAX_BITS = 4
MAX_LEVELS = 8.0
MAX_UNEXPLAINED = 0.015
"""1 - r² of two thumbnails. On photos of 100 pixels or more, copies saved anew as JPEG of quality 40, brightened or
scaled to 60 % stay below 0.01; pairs of different spectrograms that pass the other conditions have 0.06 at the median,
and 0.007 for the nearest hundredth."""
CHUNK_ROWS = 512

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageStatistics:
    """What the opened images are like.

    Args:
        images: images that were opened, each distinct file once, of `files`.
        files: distinct files.
        width, height: min, median and max, in pixels.
        modes: images by Pillow mode (`RGB`, `L`, `RGBA`, …).
        unreadable: files that cannot be decoded, with the reason.
    """

    images: int
    files: int
    width: tuple[int, int, int]
    height: tuple[int, int, int]
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Look:
    size: tuple[int, int]
    mode: str
    bits: int
    thumbnail: npt.NDArray[np.int16]


def find_image_duplicates(
    splits: dict[str, pd.DataFrame], *, seed: int = 0, max_train_images: int = MAX_TRAIN_IMAGES
) -> tuple[Duplicates, ImageStatistics]:
    """Search the canonical frames of an image `Dataset` for repeated images, and open them for their statistics.

    Args:
        splits: frames with `image` (paths), `label`, `row`, `source`.
        seed: seed of the sample of training images, where there are more than `max_train_images`.
        max_train_images: most training images that are opened.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    keys = _byte_keys(sorted({path for frame in splits.values() for path in frame["image"]}))
    search = Search(splits, {name: [keys[path] for path in frame["image"]] for name, frame in splits.items()})
    path_of = {keys[path]: path for frame in splits.values() for path in frame["image"]}

    train = np.arange(search.first_held_out)
    rows = np.sort(stream(seed, "image duplicates").permutation(train)[:max_train_images])
    rows = np.concatenate([rows, np.arange(search.first_held_out, len(search.contents))])
    looks: dict[int, _Look] = {}
    unreadable: list[tuple[str, str]] = []
    for row in rows.tolist():
        path = path_of[search.contents[row]]
        try:
            looks[row] = _look(path)
        except (OSError, SyntaxError, ValueError) as error:
            unreadable.append((path, str(error)))
    first, second = _near(looks)
    found = replace(search.result(first, second), near_rows=min(len(train), max_train_images))
    return found, _statistics(list(looks.values()), len(search.contents), unreadable)


def _byte_keys(paths: Sequence[str]) -> dict[str, str]:
    """A string for each file that only files with the same bytes share. Files of a size of their own are not read."""
    sizes = {path: Path(path).stat().st_size if Path(path).is_file() else -1 for path in paths}
    frequency = Counter(sizes.values())
    alone = {path for path in paths if sizes[path] < 0 or frequency[sizes[path]] == 1}
    return {path: path if path in alone else sha256_of(Path(path)) for path in paths}


def _look(path: str) -> _Look:
    pillow: Any = require("PIL.Image", extra="vision", purpose="read images")
    try:
        with pillow.open(path) as image:
            size, mode = image.size, image.mode
            image.draft("L", (64, 64))  # JPEG decodes at a fraction of its size, many times faster
            grey = image.convert("L")
    except pillow.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    small = np.asarray(grey.resize((9, 8), pillow.Resampling.BOX), dtype=np.int16)
    bits = int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")
    return _Look(size, mode, bits, np.asarray(grey.resize((16, 16), pillow.Resampling.BOX), dtype=np.int16))


def _near(looks: dict[int, _Look]) -> tuple[Ints, Ints]:
    """All pairs of nearly equal images: content numbers `[pairs]`, first < second."""
    rows = np.array(sorted(looks), dtype=np.int64)
    if len(rows) < 2:
        return rows[:0], rows[:0]
    hashes = np.array([looks[row].bits for row in rows.tolist()], dtype=np.uint64)
    thumbnails = np.stack([looks[row].thumbnail.reshape(-1) for row in rows.tolist()])
    first: list[Ints] = []
    second: list[Ints] = []
    for begin in range(0, len(rows), CHUNK_ROWS):
        distance = np.bitwise_count(hashes[begin : begin + CHUNK_ROWS, None] ^ hashes[None, begin:])
        a, b = np.nonzero(distance <= MAX_BITS)
        a, b = a[a < b] + begin, b[a < b] + begin
        close = np.abs(thumbnails[a] - thumbnails[b]).mean(axis=1) <= MAX_LEVELS
        close[close] = _unexplained(thumbnails[a[close]], thumbnails[b[close]]) <= MAX_UNEXPLAINED
        first.append(rows[a[close]])
        second.append(rows[b[close]])
    return np.concatenate(first), np.concatenate(second)


def _unexplained(first: Ints, second: Ints) -> npt.NDArray[np.float64]:
    """1 - r² of the grey levels of each pair, `[pairs, pixels]` to `[pairs]`; 0 for two that are plain."""
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    product = (a * a).sum(axis=1) * (b * b).sum(axis=1)
    explained = (a * b).sum(axis=1) ** 2
    return np.where(product > 0, 1 - explained / np.maximum(product, 1e-12), (a != b).any(axis=1).astype(float))


def _statistics(looks: list[_Look], files: int, unreadable: list[tuple[str, str]]) -> ImageStatistics:
    def spread(values: list[int]) -> tuple[int, int, int]:
        return (min(values), int(np.median(values)), max(values)) if values else (0, 0, 0)

    modes = dict(Counter(look.mode for look in looks).most_common())
    widths, heights = [look.size[0] for look in looks], [look.size[1] for look in looks]
    return ImageStatistics(len(looks), files, spread(widths), spread(heights), modes, tuple(unreadable))
