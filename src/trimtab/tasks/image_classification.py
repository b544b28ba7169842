"""One label for an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.cache import row_keys
from trimtab.core.errors import DataError
from trimtab.core.optional import require
from trimtab.core.registry import TASKS
from trimtab.data.batching import Batch
from trimtab.data.image_store import ImageStore, PixelTable, processor_identity
from trimtab.tasks.base import ClassificationTask, Examples, TaskContext, class_ids

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trimtab.core.cache import DiskCache

PATCH_PIXELS = 16 * 16
MIB = 1 << 20


class ImageClassificationOptions(PluginOptions):
    """Options of image classification."""

    cache_mib: int = Field(
        2048,
        ge=0,
        description="Memory (MiB) for decoded and resized images where the cache on disk does not take them, so that "
        "each is read once; 0 keeps none.",
    )


class ImageExamples(Examples):
    """Images on disk, decoded and resized when first asked for and then kept: on disk, or in memory while it has room.

    They are kept as bytes where the processor's last steps map bytes to numbers, and as numbers where they do not.

    Args:
        paths: image files, `[rows]`.
        labels: class ids, `[rows]`, or None.
        processor: the model's image processor.
        cache_bytes: most bytes of decoded images to keep in memory.
        cache: keeps them for later runs too; None keeps none.
    """

    def __init__(
        self,
        paths: list[str],
        labels: np.ndarray | None,
        processor: Any,
        cache_bytes: int,
        cache: DiskCache | None = None,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.processor = processor
        self._room = cache_bytes
        self._kept: dict[int, np.ndarray] = {}
        self._table = PixelTable.of(processor) if paths else None
        identity = None if self._table is None else processor_identity(processor, self._table)
        self._store = None if cache is None or identity is None else ImageStore(cache, identity, paths)
        self._shape: tuple[int, ...] = self._image(0).shape if paths else (3, 0, 0)
        height, width = self._shape[-2:]
        self.lengths = np.full(len(paths), max(1, height * width // PATCH_PIXELS), dtype=np.int64)

    def keys(self) -> np.ndarray:
        """A digest of each file's path, size and time of change, and of what the processor does with it, `[rows]`."""
        describe = getattr(self.processor, "to_json_string", lambda: type(self.processor).__qualname__)
        settings = describe()
        stats = [(path, Path(path).stat()) for path in self.paths]
        return row_keys(f"{settings}\n{path}\n{stat.st_size}\n{stat.st_mtime_ns}".encode() for path, stat in stats)

    def outline(self, rows: np.ndarray) -> Batch:
        """The batch of `rows` with 0 for every pixel: no image is read."""
        import torch

        shape = (len(rows), *self._shape)
        return self._batch(rows, torch.zeros((), dtype=torch.float32).expand(shape))

    def collate(self, rows: np.ndarray) -> Batch:
        """Stack the images, `pixel_values` `[batch, 3, height, width]`."""
        import torch

        images = [self._image(int(row)) for row in rows]
        if self._table is not None and all(image.dtype == np.uint8 for image in images):
            pixels = self._table.to_numbers(np.stack(images))
        else:
            pixels = np.stack([self._numbers(image) for image in images])
        return self._batch(rows, torch.from_numpy(pixels))

    def _batch(self, rows: np.ndarray, pixels: torch.Tensor) -> Batch:
        import torch

        patches = int(self.lengths[rows].sum())
        return Batch(
            inputs={"pixel_values": pixels},
            labels=None if self.labels is None else torch.from_numpy(self.labels[rows]),
            tokens=patches,
            padded_tokens=patches,
        )

    def _numbers(self, image: np.ndarray) -> np.ndarray:
        """An image as the model reads it, float32 `[3, height, width]`."""
        table = self._table
        return image if table is None or image.dtype != np.uint8 else table.to_numbers(image[None])[0]

    def _image(self, row: int) -> np.ndarray:
        """The image of `row` as it is kept: bytes, or the numbers that the model reads, `[3, height, width]`."""
        kept = self._kept.get(row)
        if kept is None and self._store is not None:
            kept = self._store.get(row)
        if kept is not None:
            return kept
        image = self._decode(row)
        found = None if self._table is None else self._table.to_bytes(image)
        if found is not None:
            image = found
            if self._store is not None and self._store.keep(row, found):
                return image
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._kept[row] = image
        return image

    def _decode(self, row: int) -> np.ndarray:
        """The image of `row` as the processor makes it from the file, float32 `[3, height, width]`."""
        image_module = require("PIL.Image", extra="vision", purpose="read images")
        try:
            with image_module.open(self.paths[row]) as image:
                encoded = self.processor(images=image.convert("RGB"), return_tensors="np")
        except OSError as error:
            raise DataError(
                f"The image {self.paths[row]} cannot be read: {error}.",
                remedy="Remove it or replace it, and start again.",
            ) from error
        return np.ascontiguousarray(encoded["pixel_values"][0], dtype=np.float32)


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
        paths, labels = frame["image"].tolist(), class_ids(frame, self.labels)
        return ImageExamples(paths, labels, context.processor, cache * MIB, context.cache)
