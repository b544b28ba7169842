"""Thumbnails of the images that a run's own data name; no other file can be asked for."""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import RunError
from trimtab.core.optional import require
from trimtab.dashboard.reading.judged import read_columns
from trimtab.dashboard.reading.plain import Signature, signature

SMALLEST, LARGEST = 16, 1024
"""Pixels of a thumbnail's longer side."""
MOST_PIXELS = 150_000_000
MOST_BYTES = 256 << 20
SPLITS_KEPT = 2
QUALITY = 85

_Split = tuple[Signature, NDArray[np.int64], Any, Any]


class RowImages:
    """The images in the splits of a run.

    Args:
        folder: the run's `data/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._splits: OrderedDict[str, _Split] = OrderedDict()
        self._lock = threading.Lock()

    def thumbnail(self, row: int, *, split: str = "test", size: int = 160, source: str | None = None) -> bytes:
        """A row's image as JPEG, its longer side at most `size` pixels.

        Args:
            row: its number in the user's file, from 1.
            split: `train`, `validation` or `test`.
            size: pixels.
            source: where the row came from, if one number stands for several rows; the first of them when None.

        Raises:
            RunError: there is no such row, or its image cannot be read.
            MissingDependencyError: Pillow is not installed.
        """
        return _jpeg(self._path(row, split, source), min(max(size, SMALLEST), LARGEST))

    def _path(self, row: int, split: str, source: str | None) -> Path:
        _, rows, images, sources = self._split(split)
        for place in np.flatnonzero(rows == row).tolist():
            if source is None or sources is None or sources[place].as_py() == source:
                path = images[place].as_py()
                if isinstance(path, str) and Path(path).is_absolute():
                    return Path(path)
        raise RunError(f"Row {row} of the {split} rows has no image.", remedy="Load the page again.")

    def _split(self, split: str) -> _Split:
        # A plain name: nothing that leads out of the folder.
        path = self._folder / f"{split}.parquet"
        found = signature(path) if re.fullmatch(r"[a-z]{1,20}", split) else None
        if found is None:
            raise RunError(f"The run has no {split!r} rows.", remedy="Choose train, validation or test.")
        with self._lock:
            kept = self._splits.get(split)
            if kept is None or kept[0] != found:
                columns = read_columns(path, ("row", "image", "source"))
                if "row" not in columns or "image" not in columns:
                    raise RunError("The rows of this run are no images.", remedy="Look at their texts.")
                rows = np.asarray(columns["row"].to_numpy(), np.int64)
                kept = self._splits[split] = (found, rows, columns["image"], columns.get("source"))
            self._splits.move_to_end(split)
            while len(self._splits) > SPLITS_KEPT:
                self._splits.popitem(last=False)
            return kept


def _jpeg(path: Path, size: int) -> bytes:
    pillow = require("PIL.Image", extra="vision", purpose="show images")
    operations = require("PIL.ImageOps", extra="vision", purpose="show images")
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise OSError("it is gone, or too large")
        with pillow.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise OSError(f"it has {image.width} × {image.height} pixels")
            image.draft("RGB", (2 * size, 2 * size))  # of a JPEG, decodes no more than is needed
            image.thumbnail((size, size))
            shown = operations.exif_transpose(image)
            if shown.mode in ("RGBA", "LA", "PA", "P"):
                shown = shown.convert("RGBA")
                ground = pillow.new("RGBA", shown.size, "white")
                shown = pillow.alpha_composite(ground, shown)
            target = io.BytesIO()
            shown.convert("RGB").save(target, "JPEG", quality=QUALITY)
            return target.getvalue()
    except (OSError, ValueError, SyntaxError, EOFError, pillow.DecompressionBombError) as error:
        raise RunError(
            f"The image {path.name} cannot be shown: {' '.join(str(error).split())[:200]}.",
            remedy="It may have been moved or changed since the run began.",
        ) from error
