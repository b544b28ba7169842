"""Plain numbers of image files: size, mode, kind of file, and the colours of a thumbnail; nothing is learnt of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.optional import require

THUMBNAIL = 8


@dataclass(frozen=True)
class ImageFeatures:
    """What `image_features` found; images that cannot be read are left out.

    Args:
        places: positions of the images in the list that was given, `[n]`.
        sizes: width and height in pixels, `[n, 2]`.
        modes: Pillow modes (`RGB`, `L`, …), n of them.
        kinds: suffixes of the files in lower case, n of them.
        colours: thumbnails in RGB, values in [0, 1], `[n, 8 × 8 × 3]`.
    """

    places: NDArray[np.int64]
    sizes: NDArray[np.int64]
    modes: tuple[str, ...]
    kinds: tuple[str, ...]
    colours: NDArray[np.float64]

    @property
    def mean_colours(self) -> NDArray[np.float64]:
        """Mean red, green and blue of each image, in [0, 1], `[n, 3]`."""
        return np.asarray(self.colours.reshape(len(self.colours), -1, 3).mean(axis=1), np.float64)


def image_features(paths: Sequence[str]) -> ImageFeatures:
    """Open images and look at them.

    Args:
        paths: image files.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    found = [(place, look) for place, path in enumerate(paths) if (look := _look(path)) is not None]
    return ImageFeatures(
        places=np.array([place for place, _ in found], np.int64),
        sizes=np.array([look[0] for _, look in found], np.int64).reshape(-1, 2),
        modes=tuple(look[1] for _, look in found),
        kinds=tuple(Path(paths[place]).suffix.lower() for place, _ in found),
        colours=np.array([look[2] for _, look in found], np.float64).reshape(-1, 3 * THUMBNAIL**2),
    )


def _look(path: str) -> tuple[tuple[int, int], str, NDArray[np.float64]] | None:
    """Size, mode and colours of one file; None where it cannot be read, which another check reports."""
    pillow: Any = require("PIL.Image", extra="vision", purpose="read images")
    try:
        with pillow.open(path) as image:
            size, mode = image.size, image.mode
            image.draft("RGB", (THUMBNAIL * 8, THUMBNAIL * 8))  # JPEG decodes at a fraction of its size
            small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), pillow.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError):
        return None
    return size, mode, np.asarray(small, np.float64).reshape(-1) / 255
