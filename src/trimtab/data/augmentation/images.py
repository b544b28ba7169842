"""Changed images: mirrored, cropped and resized, with other colours. Needs Pillow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.optional import require

if TYPE_CHECKING:
    from trimtab.config.augmentation import AugmentationSection

_SIDES = (3 / 4, 4 / 3)
_ATTEMPTS = 10


def augment_image(image: Any, section: AugmentationSection, rng: np.random.Generator) -> Any:
    """An image after every operation of the section that is on.

    Args:
        image: a Pillow image in mode RGB.
        section: with the strengths.
        rng: where the choices come from.

    Returns:
        A Pillow image of the same size.
    """
    if section.random_resized_crop > 0:
        image = _crop(image, 1 - section.random_resized_crop, rng)
    if section.horizontal_flip > 0 and rng.random() < section.horizontal_flip:
        image = image.transpose(require("PIL.Image", extra="vision", purpose="mirror images").Transpose.FLIP_LEFT_RIGHT)
    return _jitter(image, section.color_jitter, rng) if section.color_jitter > 0 else image


def _crop(image: Any, smallest: float, rng: np.random.Generator) -> Any:
    """A random part of the image at the image's own size (Szegedy et al. 2015, arXiv 1409.4842, section 6).

    The part's area is uniform between `smallest` of the image's and all of it, the logarithm of its width by its height
    uniform between 3:4 and 4:3. Where ten draws give none that fits in, the image stays.
    """
    resampling = require("PIL.Image", extra="vision", purpose="crop images").Resampling.BILINEAR
    width, height = image.size
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(_SIDES[0]), math.log(_SIDES[1])))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
            return image.resize((width, height), resampling, box=(left, top, left + across, top + down))
    return image


def _jitter(image: Any, strength: float, rng: np.random.Generator) -> Any:
    """Brightness, contrast and saturation, in an order drawn at random, each times 1 ± `strength`."""
    enhance = require("PIL.ImageEnhance", extra="vision", purpose="change the colours of images")
    changes = (enhance.Brightness, enhance.Contrast, enhance.Color)
    for index in rng.permutation(len(changes)).tolist():
        image = changes[index](image).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return image
