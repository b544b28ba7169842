"""Image classification: files are read once, and a damaged one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trimtab.core.errors import DataError
from trimtab.tasks.base import TaskContext
from trimtab.tasks.image_classification import ImageClassification, ImageClassificationOptions, ImageExamples

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


class Processor:
    """Halves an image's size and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *, images: Any, return_tensors: str) -> dict[str, np.ndarray]:
        self.calls += 1
        pixels = np.asarray(images, dtype=np.float64).transpose(2, 0, 1)[None, :, ::2, ::2]
        return {"pixel_values": pixels}


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    paths = []
    for index, mode in enumerate(["RGB", "L", "RGBA"]):
        paths.append(str(tmp_path / f"{index}.png"))
        image.new(mode, (64, 32), color=index * 10).save(paths[-1])
    return pd.DataFrame({"image": paths, "label": ["ant", "bee", "ant"]})


def encode(frame: pd.DataFrame, processor: Processor, **options: int) -> ImageExamples:
    return ImageClassification(ImageClassificationOptions(**options), ("ant", "bee")).encode(
        frame, TaskContext(processor)
    )


def test_shapes_labels_and_patches(frame: pd.DataFrame) -> None:
    batch = encode(frame, Processor()).collate(np.array([2, 1]))

    assert batch.inputs["pixel_values"].shape == (2, 3, 16, 32)
    assert str(batch.inputs["pixel_values"].dtype) == "torch.float32"
    assert batch.labels.tolist() == [0, 1]
    assert (batch.tokens, batch.padded_tokens) == (4, 4)


def test_grey_images_have_three_equal_channels(frame: pd.DataFrame) -> None:
    pixels = encode(frame, Processor()).collate(np.array([1])).inputs["pixel_values"][0]

    assert (pixels == 10).all()


def test_each_image_is_read_once_while_the_cache_has_room(frame: pd.DataFrame) -> None:
    processor = Processor()
    examples = encode(frame, processor)
    for _ in range(3):
        examples.collate(np.arange(3))

    assert processor.calls == 3


def test_without_a_cache_they_are_read_again(frame: pd.DataFrame) -> None:
    processor = Processor()
    examples = encode(frame, processor, cache_mib=0)
    before = processor.calls
    for _ in range(2):
        examples.collate(np.arange(3))

    assert processor.calls == before + 6


def test_a_damaged_image_is_named(frame: pd.DataFrame) -> None:
    damaged = Path(frame["image"][1])
    damaged.write_bytes(damaged.read_bytes()[:40])

    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        encode(frame, Processor()).collate(np.array([1]))


def test_no_images() -> None:
    examples = encode(pd.DataFrame({"image": [], "label": []}), Processor())

    assert len(examples) == 0
