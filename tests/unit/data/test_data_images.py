"""Folders of classes: with and without splits, broken files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.loading import IMAGE_COLUMNS, load_dataset, load_labelled, load_unlabelled

Image = pytest.importorskip("PIL.Image")


def draw(folder, count, shade=0, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (4 + i % 3, 4), (shade, i % 256, i // 256)).save(folder / f"{i:03d}{suffix}")


def load(folder, **options):
    return load_dataset(folder, DataSection(**options), seed=0)


def test_class_folders_are_split(tmp_path):
    draw(tmp_path / "ants", 20)
    draw(tmp_path / "bees" / "close", 20, 9, ".jpg")
    (tmp_path / "README.txt").write_text("photos")
    data = load(tmp_path)
    assert (data.task, data.labels, data.columns) == ("image-classification", ("ants", "bees"), IMAGE_COLUMNS)
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 28, "validation": 6, "test": 6}
    assert list(data.splits["train"]) == ["image", "label", "row", "source"]
    for path, label in zip(data.splits["train"]["image"], data.splits["train"]["label"], strict=True):
        assert Path(path).is_absolute() and label in Path(path).parts


def test_split_folders_are_taken(tmp_path):
    for split, count in (("train", 12), ("val", 5)):
        draw(tmp_path / split / "ants", count)
        draw(tmp_path / split / "bees", count, 9)
    data = load(tmp_path, test_fraction=0)
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 24, "validation": 10}
    assert set(data.splits["validation"]["source"]) == {"val"}


def test_equal_images_stay_in_one_split(tmp_path):
    draw(tmp_path / "ants", 15)
    draw(tmp_path / "bees", 15, 9)
    for i in range(15):
        (tmp_path / "ants" / f"copy{i}.png").write_bytes((tmp_path / "ants" / f"{i:03d}.png").read_bytes())
    data = load(tmp_path)
    contents = [{Path(path).read_bytes() for path in frame["image"]} for frame in data.splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 30


def test_broken_images_are_dropped_counted_or_refused(tmp_path):
    draw(tmp_path / "ants", 20)
    draw(tmp_path / "bees", 20, 9)
    (tmp_path / "bees" / "999.jpg").write_bytes(b"no image")
    data = load(tmp_path)
    assert sum(map(len, data.splits.values())) == 40
    assert f"{tmp_path.name}: 1 of 41 rows dropped: broken image file (row 41)" in data.notes
    with pytest.raises(DataError, match="broken image file: 1"):
        load(tmp_path, max_dropped_share=0.01)


def test_one_class_or_no_class_folder_is_refused(tmp_path):
    draw(tmp_path / "ants", 20)
    with pytest.raises(DataError, match="every image is in the one class folder 'ants'"):
        load(tmp_path)
    draw(tmp_path / "loose", 3)
    with pytest.raises(DataError, match="holds images, but not in one folder a class"):
        load(tmp_path / "loose")


def test_columns_cannot_be_named(tmp_path):
    draw(tmp_path / "ants", 20)
    draw(tmp_path / "bees", 20, 9)
    with pytest.raises(DataError, match="no columns to name with --label"):
        load(tmp_path, label="kind")


def test_one_folder_of_images_beside_a_table_is_no_class(tmp_path):
    draw(tmp_path / "figures", 3)
    lines = "".join(f"text number {i} is here,{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "reviews.csv").write_text("text,label\n" + lines)
    assert load(tmp_path).task == "text-classification"


def test_images_to_evaluate_and_to_predict(tmp_path):
    draw(tmp_path / "ants", 3)
    draw(tmp_path / "bees", 2, 9)
    task = "image-classification"
    frame = load_labelled(tmp_path, DataSection(), IMAGE_COLUMNS, task, ("ants", "bees"))
    assert frame["label"].tolist() == ["ants"] * 3 + ["bees"] * 2
    frame = load_unlabelled(tmp_path, DataSection(), IMAGE_COLUMNS, task)
    assert (list(frame), len(frame)) == (["image", "row", "source"], 5)
    one = tmp_path / "ants" / "000.png"
    assert load_unlabelled(one, DataSection(), IMAGE_COLUMNS, task)["image"].tolist() == [str(one)]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="No image at"):
        load_unlabelled(empty, DataSection(), IMAGE_COLUMNS, task)
    with pytest.raises(DataError, match=r"no file or folder 'nothing\.png'"):
        load_unlabelled(tmp_path / "nothing.png", DataSection(), IMAGE_COLUMNS, task)
