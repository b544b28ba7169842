"""Images on disk: decoded once for all runs, given back bit for bit, anew where a file has changed."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trimtab.core.cache import DiskCache
from trimtab.data import image_store
from trimtab.data.image_store import PixelTable
from trimtab.tasks.base import TaskContext
from trimtab.tasks.image_classification import ImageClassification, ImageClassificationOptions, ImageExamples

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
ROWS = 6


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "FEWEST_IMAGES", 2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that Pillow opens."""
    found: list[str] = []
    real = image.open

    def counted(path: Any, *rest: Any, **named: Any) -> Any:
        found.append(str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(image, "open", counted)
    return found


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    paths = [str(tmp_path / f"{index}.png") for index in range(ROWS)]
    for path in paths:
        image.fromarray(draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    return pd.DataFrame({"image": paths, "label": ["ant", "bee"] * (ROWS // 2)})


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache("images", tmp_path / "cache", 1 << 20)


def processor(**fields: Any) -> Any:
    from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil

    settings = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
    return MobileNetV2ImageProcessorPil(**{**settings, **fields})


def encode(frame: pd.DataFrame, cache: DiskCache | None, made: Any = None, **options: int) -> ImageExamples:
    task = ImageClassification(ImageClassificationOptions(**options), ("ant", "bee"))
    return task.encode(frame, TaskContext(made or processor(), 0, cache))


def pixels(examples: ImageExamples) -> np.ndarray:
    found: np.ndarray = examples.collate(np.arange(len(examples))).inputs["pixel_values"].numpy()
    return found


def direct(frame: pd.DataFrame, made: Any = None) -> np.ndarray:
    made = made or processor()
    return np.concatenate([made(images=image.open(path), return_tensors="np").pixel_values for path in frame["image"]])


def test_a_table_gives_the_output_back_bit_for_bit() -> None:
    made = processor(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    picture = image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    output = made(images=picture, return_tensors="np")["pixel_values"][0]
    table = PixelTable.of(made)
    assert table is not None
    found = table.to_bytes(output)
    assert found is not None and found.dtype == np.uint8
    assert np.array_equal(table.to_numbers(found[None])[0], output)
    assert table.to_bytes(output + 1e-6) is None
    assert table.to_bytes(np.full_like(output, np.nan)) is None


def test_a_processor_with_steps_of_its_own_has_no_table() -> None:
    assert PixelTable.of(lambda images, return_tensors: {"pixel_values": np.zeros((1, 3, 4, 4))}) is None


def test_memory_holds_bytes_and_gives_the_same_numbers(frame: pd.DataFrame, opened: list[str]) -> None:
    expected = direct(frame)
    opened.clear()
    examples = encode(frame, None)
    for _ in range(2):
        assert np.array_equal(pixels(examples), expected)
    assert len(opened) == ROWS
    assert {kept.dtype for kept in examples._kept.values()} == {np.dtype(np.uint8)}


def test_the_second_run_opens_no_image(frame: pd.DataFrame, cache: DiskCache, opened: list[str]) -> None:
    expected = direct(frame)
    opened.clear()
    first = encode(frame, cache)
    assert np.array_equal(pixels(first), expected) and np.array_equal(pixels(first), expected)
    assert len(opened) == ROWS and not first._kept

    shuffled = frame.sample(frac=1, random_state=0)
    second = encode(shuffled, cache, cache_mib=0)
    assert np.array_equal(pixels(second), expected[shuffled.index])
    assert len(opened) == ROWS
    assert not list(cache.path.glob(".*"))


def test_only_changed_and_new_files_are_read(frame: pd.DataFrame, cache: DiskCache, opened: list[str]) -> None:
    pixels(encode(frame.iloc[:4], cache))
    changed = frame["image"][1]
    image.new("RGB", (40, 30), color=7).save(changed)
    os.utime(changed, ns=(1, 1))
    opened.clear()

    assert np.array_equal(pixels(encode(frame, cache)), direct(frame))
    assert sorted(set(opened[:3])) == sorted([changed, frame["image"][4], frame["image"][5]])
    opened.clear()
    pixels(encode(frame, cache))
    assert opened == []


def test_what_was_read_before_the_end_is_kept(frame: pd.DataFrame, cache: DiskCache, opened: list[str]) -> None:
    first = encode(frame, cache)
    first.collate(np.array([0, 3]))
    assert cache.entries() == []
    del first
    gc.collect()
    opened.clear()

    pixels(encode(frame, cache))
    assert sorted(opened) == [frame["image"][row] for row in (1, 2, 4, 5)]


def test_another_processor_has_images_of_its_own(frame: pd.DataFrame, cache: DiskCache) -> None:
    other = processor(size={"shortest_edge": 18})
    pixels(encode(frame, cache))
    assert np.array_equal(pixels(encode(frame, cache, other)), direct(frame, other))
    assert len(cache.entries()) == 2


@pytest.mark.parametrize("name", [image_store.FILES, image_store.PIXELS])
def test_a_damaged_entry_is_made_anew(frame: pd.DataFrame, cache: DiskCache, opened: list[str], name: str) -> None:
    pixels(encode(frame, cache))
    ((key, _, _),) = cache.entries()
    file = cache.path / key / name
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])
    opened.clear()

    assert np.array_equal(pixels(encode(frame, cache)), direct(frame))
    assert len(opened) == 2 * ROWS
    opened.clear()
    pixels(encode(frame, cache))
    assert opened == []


def test_without_room_on_disk_memory_takes_them(frame: pd.DataFrame, tmp_path: Path, opened: list[str]) -> None:
    small = DiskCache("images", tmp_path / "cache", 100)
    examples = encode(frame, small)
    for _ in range(2):
        pixels(examples)
    assert len(opened) == ROWS and len(examples._kept) == ROWS
    assert not small.path.exists() or not list(small.path.glob(".*"))


def test_a_folder_that_cannot_be_written_stops_nothing(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = DiskCache("images", tmp_path / "file", 1 << 20)
    assert np.array_equal(pixels(encode(frame, broken)), direct(frame))


def test_an_outline_reads_nothing(frame: pd.DataFrame, opened: list[str]) -> None:
    examples = encode(frame, None)
    opened.clear()
    outline, rows = examples.outline(np.array([2, 4])), np.array([2, 4])
    assert opened == []
    whole = examples.collate(rows)
    assert outline.inputs["pixel_values"].shape == whole.inputs["pixel_values"].shape
    assert outline.labels.tolist() == whole.labels.tolist() and outline.tokens == whole.tokens


def test_keys_follow_file_and_processor(frame: pd.DataFrame) -> None:
    keys = encode(frame, None).keys()
    assert len(keys) == ROWS == len(set(keys.tolist()))
    assert encode(frame, None).keys().tolist() == keys.tolist()
    os.utime(frame["image"][1], (1, 1))
    changed = encode(frame, None).keys() != keys
    assert changed.tolist() == [row == 1 for row in range(ROWS)]
    assert not set(keys.tolist()) & set(encode(frame, None, processor(size={"shortest_edge": 18})).keys().tolist())
