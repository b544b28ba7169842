"""The report's searches are made once for the same rows, and the kept ones equal those made anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from trimtab.config.recipe import DataSection
from trimtab.core.cache import DiskCache
from trimtab.data import report_cache
from trimtab.data.dataset import Columns, Dataset
from trimtab.data.report import DataReport, data_report

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SEARCHES = ("find_text_duplicates", "find_image_duplicates", "token_statistics")


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache("reports", tmp_path / "cache", 1 << 20)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The searches that were made."""
    found: list[str] = []
    for name in SEARCHES:
        real = getattr(report_cache, name)

        def counted(*arguments: Any, real: Any = real, name: str = name, **named: Any) -> Any:
            found.append(name)
            return real(*arguments, **named)

        monkeypatch.setattr(report_cache, name, counted)
    monkeypatch.setattr(report_cache, "FEWEST_TEXTS", 2)
    monkeypatch.setattr(report_cache, "FEWEST_IMAGES", 2)
    return found


def texts(pairs: bool = False) -> Dataset:
    rows = [
        *tiny.labelled_texts(60),
        ("The router is broken, strange please!", "network"),
        ("the router is broken, strange please", "other"),
    ]
    frame = pd.DataFrame(rows, columns=["text", "label"]).assign(row=range(1, len(rows) + 1), source="data.csv")
    if pairs:
        frame["text_pair"] = frame["text"]
    splits = {"train": frame.iloc[:40], "validation": frame.iloc[30:].reset_index(drop=True)}
    return Dataset(splits, Columns(text=("text",), label="label"), "text-classification", tuple(tiny.CLASS_WORDS), "t")


def pictures(folder: Path) -> Dataset:
    paths = []
    for index in range(6):
        paths.append(str(folder / f"{index}.png"))
        noise = np.random.default_rng(index // 2).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        image.fromarray(noise).save(paths[-1])
    Path(paths[0]).write_bytes(b"no image")
    frame = pd.DataFrame({"image": paths, "label": ["ant", "bee"] * 3, "row": range(6), "source": paths})
    columns = Columns(text=(), label="label", image="image")
    splits = {"train": frame.iloc[:4], "test": frame.iloc[4:].reset_index(drop=True)}
    return Dataset(splits, columns, "image-classification", ("ant", "bee"), "p")


def report(dataset: Dataset, cache: DiskCache | None, **fields: Any) -> DataReport:
    tokenizer = None if dataset.columns.image else tiny.make_tokenizer()
    settings = {"tokenizer": tokenizer, "max_length": 8, **fields}
    return data_report(dataset, options=DataSection(), cache=cache, **settings)


@pytest.mark.parametrize("pairs", [False, True])
def test_texts_are_searched_once(cache: DiskCache, searched: list[str], pairs: bool) -> None:
    dataset = texts(pairs)
    plain = report(dataset, None)
    searched.clear()
    first, second = report(dataset, cache), report(dataset, cache)
    assert searched == ["find_text_duplicates", "token_statistics"]
    assert first == second == plain
    assert plain.duplicates.conflicts and plain.duplicates.shared[0].examples and plain.tokens.top_unknown
    assert second.to_markdown() == plain.to_markdown()


def test_images_are_searched_once(cache: DiskCache, searched: list[str], tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    plain = report(dataset, None)
    searched.clear()
    first, second = report(dataset, cache), report(dataset, cache)
    assert searched == ["find_image_duplicates"]
    assert first == second == plain
    assert plain.images.unreadable and plain.duplicates.conflicts

    Path(dataset.splits["train"]["image"][0]).unlink()
    report(dataset, cache)
    assert searched == ["find_image_duplicates"] * 2


def test_other_rows_labels_seeds_and_tokenizers_are_searched_anew(cache: DiskCache, searched: list[str]) -> None:
    dataset = texts()
    report(dataset, cache)
    report(dataset, cache, seed=1)
    train = dataset.splits["train"]
    relabelled = replace(
        dataset, splits={**dataset.splits, "train": train.assign(label=train["label"].iloc[::-1].array)}
    )
    report(relabelled, cache)
    report(dataset, cache, max_length=9)
    assert searched.count("find_text_duplicates") == 3
    assert searched.count("token_statistics") == 3


def test_few_rows_leave_no_entry(cache: DiskCache, searched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_cache, "FEWEST_TEXTS", 1000)
    report(texts(), cache)
    assert cache.entries() == [] and len(searched) == 2
