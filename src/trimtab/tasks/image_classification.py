"""One label for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import DataError
from trimtab.core.optional import require
from trimtab.core.registry import TASKS
from trimtab.data.batching import Batch
from trimtab.tasks.base import ClassificationTask, Examples, TaskContext, class_ids

if TYPE_CHECKING:
    import pandas as pd

PATCH_PIXELS = 16 * 16
MIB = 1 << 20


class ImageClassificationOptions(PluginOptions):
    """Options of image classification."""

    cache_mib: int = Field(
        2048, ge=0, description="Memory (MiB) for decoded and resized images, so that each is read once; 0 keeps none."
    )


class ImageExamples(Examples):
    """Images on disk, decoded and resized when first asked for and then kept while the cache has room.

    Args:
        paths: image files, `[rows]`.
        labels: class ids, `[rows]`, or None.
        processor: the model's image processor.
        cache_bytes: most bytes of decoded images to keep.
    """

    def __init__(self, paths: list[str], labels: np.ndarray | None, processor: Any, cache_bytes: int) -> None:
        self.paths = paths
        self.labels = labels
        self.processor = processor
        self._room = cache_bytes
        self._cache: dict[int, np.ndarray] = {}
        patches = self._pixels(0).shape[-1] * self._pixels(0).shape[-2] // PATCH_PIXELS if paths else 1
        self.lengths = np.full(len(paths), max(1, patches), dtype=np.int64)

    def collate(self, rows: np.ndarray) -> Batch:
        """Stack the images, `pixel_values` `[batch, 3, height, width]`."""
        import torch

        pixels = np.stack([self._pixels(int(row)) for row in rows])
        patches = int(self.lengths[rows].sum())
        return Batch(
            inputs={"pixel_values": torch.from_numpy(pixels)},
            labels=None if self.labels is None else torch.from_numpy(self.labels[rows]),
            tokens=patches,
            padded_tokens=patches,
        )

    def _pixels(self, row: int) -> np.ndarray:
        """The image of `row` as the model reads it, float32 `[3, height, width]`."""
        kept = self._cache.get(row)
        if kept is not None:
            return kept
        image_module = require("PIL.Image", extra="vision", purpose="read images")
        try:
            with image_module.open(self.paths[row]) as image:
                encoded = self.processor(images=image.convert("RGB"), return_tensors="np")
        except OSError as error:
            raise DataError(
                f"The image {self.paths[row]} cannot be read: {error}.",
                remedy="Remove it or replace it, and start again.",
            ) from error
        pixels = np.ascontiguousarray(encoded["pixel_values"][0], dtype=np.float32)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._cache[row] = pixels
        return pixels


@TASKS.register("image-classification")
class ImageClassification(ClassificationTask):
    """Classification of images, from a folder of classes."""

    modality = "image"
    auto_class = "AutoModelForImageClassification"
    pipeline_name = "image-classification"
    Options: ClassVar[type[PluginOptions]] = ImageClassificationOptions

    def encode(self, frame: pd.DataFrame, context: TaskContext) -> ImageExamples:
        """Note the files; decoding happens when a batch needs an image."""
        options = self.options
        cache = options.cache_mib if isinstance(options, ImageClassificationOptions) else 0
        return ImageExamples(frame["image"].tolist(), class_ids(frame, self.labels), context.processor, cache * MIB)
