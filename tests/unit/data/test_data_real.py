"""Inference and splits on real data, where the folder of real data sets is present."""

from __future__ import annotations

import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.loading import load_dataset


def sizes(data):
    return {split: len(frame) for split, frame in data.splits.items()}


def test_sst2(shared_data):
    data = load_dataset(shared_data / "sst2", DataSection(max_rows=1000), seed=0)
    assert sizes(data) == {"train": 1000, "validation": 6735, "test": 872}
    assert (data.columns.text, data.columns.label, data.labels) == (("sentence",), "label", ("0", "1"))
    assert data.splits["test"]["label"].value_counts().to_dict() == {"1": 444, "0": 428}


def test_trec_needs_a_label_name(shared_data):
    with pytest.raises(DataError, match=r"'coarse' \(6 classes.*'fine' \(47 classes"):
        load_dataset(shared_data / "trec", DataSection(), seed=0)
    data = load_dataset(shared_data / "trec", DataSection(label="coarse"), seed=0)
    assert sizes(data) == {"train": 4634, "validation": 818, "test": 500}
    assert data.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def test_mr_is_the_one_file_of_its_folder(shared_data):
    data = load_dataset(shared_data / "mr", DataSection(), seed=0)
    assert sizes(data) == {"train": 7464, "validation": 1599, "test": 1599}
    assert data.labels == ("neg", "pos")


def test_chinese_titles_without_header(shared_data):
    folder = shared_data / "thucnews_titles_zh"
    options = DataSection(test=str(folder / "test.txt"))
    data = load_dataset(folder / "dev.txt", options, seed=0)
    assert sizes(data) == {"train": 8500, "validation": 1500, "test": 10_000}
    assert data.labels == tuple(str(i) for i in range(10))


def test_hymenoptera(shared_data):
    data = load_dataset(shared_data / "hymenoptera", DataSection(), seed=0)
    assert sizes(data) == {"train": 207, "validation": 153, "test": 37}
    assert (data.task, data.labels) == ("image-classification", ("ants", "bees"))


def test_ragged_lines_among_unpaired_quotes(shared_data):
    with pytest.raises(DataError, match=r"line 1479 has 9 columns, the first line has 7; separator: tab\. 22 lines"):
        load_dataset(shared_data / "stsb" / "sts-dev.csv", DataSection(), seed=0)
