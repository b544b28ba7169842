"""Image folders: a folder a class, with or without split folders above."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from trimtab.core.errors import DataError
from trimtab.core.optional import require
from trimtab.data.tables import RawTable

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


def is_image_file(path: Path) -> bool:
    """Whether a path is named like an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def has_images(folder: Path) -> bool:
    """Whether an image lies in a folder or below it."""
    return next(_images_below(folder), None) is not None


def class_folders(folder: Path) -> list[Path]:
    """Sub-folders of `folder` that hold images, sorted by name."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if _is_plain_folder(path) and has_images(path)]


def read_class_folders(folder: Path) -> RawTable:
    """A table with `image` (absolute path) and `label` (class folder), sorted by class and path."""
    rows = [(str(image), path.name) for path in class_folders(folder) for image in _sorted_images(path)]
    return RawTable(pd.DataFrame(rows, columns=["image", "label"], dtype=object), folder.name)


def read_images(path: Path) -> RawTable:
    """A table with the column `image`: one image file, or every image in a folder and below it, sorted.

    Raises:
        DataError: there is no image.
    """
    images = [path.absolute()] if path.is_file() and is_image_file(path) else []
    if path.is_dir():
        images = _sorted_images(path)
    if not images:
        raise DataError(
            f"No image at {path}.",
            remedy=f"Give an image file, or a folder of images ({', '.join(sorted(IMAGE_SUFFIXES))}).",
        )
    return RawTable(pd.DataFrame({"image": pd.Series(map(str, images), dtype=object)}), path.name)


def broken_images(paths: list[str]) -> list[bool]:
    """For each path, whether the file is no image that can be opened. Headers are read, pixels are not.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    pillow = require("PIL.Image", extra="vision", purpose="read images")
    faults = (OSError, ValueError, SyntaxError, pillow.DecompressionBombError)

    def broken(path: str) -> bool:
        try:
            with pillow.open(path) as image:
                return bool(min(image.size) < 1)
        except faults:
            return True

    return [broken(path) for path in paths]


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))


def _images_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if is_image_file(Path(name)))


def _sorted_images(folder: Path) -> list[Path]:
    return sorted(_images_below(folder.absolute()))
