"""Whole data sets: folders, objects, cleaning, checks, and the frames that come out."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.dataset import Columns, fingerprint, label_order
from trimtab.data.loading import load_dataset, load_labelled, load_unlabelled

WORDS = ["parcel", "refund", "invoice", "login", "password", "delivery", "screen", "order", "price", "account"]
TEXT = Columns(text=("text",), label="label")


def rows(count, labels=("a", "b", "c"), seed=0):
    draw = random.Random(seed)
    return [(f"{' '.join(draw.choices(WORDS, k=5))} {seed}-{i}", labels[i % len(labels)]) for i in range(count)]


def csv_text(pairs):
    return "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in pairs)


def write(path, pairs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(pairs), encoding="utf-8")
    return path


def load(source, seed=0, task="auto", **options):
    return load_dataset(source, DataSection(**options), seed=seed, task=task)


def test_one_file_is_split_in_three(tmp_path):
    data = load(write(tmp_path / "my tickets.csv", rows(100)))
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 70, "validation": 15, "test": 15}
    assert (data.task, data.labels, data.name) == ("text-classification", ("a", "b", "c"), "my-tickets")
    assert data.held_out == ("validation", "test")
    assert list(data.splits["train"]) == ["text", "label", "row", "source"]
    assert set(data.splits["test"]["source"]) == {"my tickets.csv"}
    texts = dict(enumerate((text for text, _ in rows(100)), start=1))
    for frame in data.splits.values():
        assert [texts[row] for row in frame["row"]] == frame["text"].tolist()
    assert any(note.startswith("validation: 15 rows held out of the 100") for note in data.notes)


def test_folder_with_splits_ignores_other_files(tmp_path):
    write(tmp_path / "train.csv", rows(40))
    write(tmp_path / "dev.csv", rows(20, seed=1))
    write(tmp_path / "test.csv", rows(20, seed=2))
    (tmp_path / "LICENSE.txt").write_text("free")
    data = load(tmp_path)
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 40, "validation": 20, "test": 20}
    assert data.held_out == ()


def test_parts_of_a_split_are_joined_and_named_splits_found(tmp_path):
    for part in range(2):
        write(tmp_path / f"train-0000{part}-of-00002.csv", rows(20, seed=part))
    write(tmp_path / "news_valid.csv", rows(12, seed=5))
    data = load(tmp_path, test_fraction=0)
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 40, "validation": 12}


def test_the_one_data_file_of_a_folder_is_used_and_noted(tmp_path):
    write(tmp_path / "reviews.csv", rows(40))
    (tmp_path / "SOURCE.txt").write_text("the web")
    data = load(tmp_path)
    assert data.name == "reviews"
    assert any("the one data file in it is used, reviews.csv" in note for note in data.notes)


def test_files_named_by_the_recipe(tmp_path):
    train = write(tmp_path / "x.csv", rows(40))
    valid, test = write(tmp_path / "y.csv", rows(12, seed=1)), write(tmp_path / "z.csv", rows(15, seed=2))
    data = load(train, validation=str(valid), test=str(test))
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [40, 12, 15]
    assert data.held_out == ()
    data = load(train, validation=str(valid))
    assert data.held_out == ("test",)
    assert len(data.splits["train"]) == 34
    assert load(train, validation=str(valid), test_fraction=0).splits.keys() == {"train", "validation"}


def test_max_rows_samples_training_rows_only(tmp_path):
    data = load(write(tmp_path / "a.csv", rows(100)), max_rows=30)
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [30, 15, 15]
    assert "train: 30 of 70 rows used (data.max_rows, drawn at random by class)" in data.notes


def test_data_frames_and_mappings():
    frame = pd.DataFrame(rows(60), columns=["text", "label"])
    data = load(frame)
    assert (data.name, len(data.splits["train"])) == ("data", 42)
    assert list(frame) == ["text", "label"]
    data = load({"train": frame, "val": frame.head(9), "unsupervised": frame})
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [51, 9, 9]
    assert any("unsupervised" in note for note in data.notes)


def test_hub_objects_and_saved_directories(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    pairs = rows(40, labels=(0, 1))
    columns = {"text": [text for text, _ in pairs], "label": [label for _, label in pairs]}
    part = datasets.Dataset.from_dict(columns, features=features)
    hidden = datasets.Dataset.from_dict({**columns, "label": [-1] * 40}, features=features)
    assert load(part).labels == ("neg", "pos")
    both = datasets.DatasetDict({"train": part, "test": hidden})
    both.save_to_disk(tmp_path / "saved")
    for source in (both, tmp_path / "saved"):
        data = load(source)
        assert data.held_out == ("validation", "test")
        assert "test: the test split has no labels and is not used" in data.notes


def test_missing_path_offers_near_names(tmp_path):
    write(tmp_path / "tickets.csv", rows(10))
    with pytest.raises(DataError, match=r"no file or folder 'tikets.csv' in .*Near names there: tickets.csv"):
        load(tmp_path / "tikets.csv")


def test_hub_ids_say_that_nothing_can_be_reached():
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="no file or folder 'no-owner/no-data', and no Hub data set"):
        load("no-owner/no-data")


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, "has no data that can be used: it is empty"),
        ({"notes.md": 1}, "it holds notes.md"),
        ({"a.csv": 1, "b.csv": 1}, "holds 2 data files, and none is called train: a.csv, b.csv"),
        ({"dev.csv": 1, "test.csv": 1}, "has no train split; found: validation .dev.csv., test .test.csv."),
        ({"train.csv": 1, "train.tsv": 1}, "several files for the train split: train.csv, train.tsv"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, files, fault):
    for name in files:
        write(tmp_path / name, rows(20))
    with pytest.raises(DataError, match=fault):
        load(tmp_path)


def test_other_objects_are_refused():
    with pytest.raises(DataError, match=r"Data of the type builtins.list cannot be used"):
        load([1, 2])


def test_empty_rows_are_dropped_counted_and_shown(tmp_path):
    pairs = rows(60)
    pairs[4], pairs[10], pairs[11] = ("  ", "a"), (pairs[10][0], ""), ("nan", "b")
    data = load(write(tmp_path / "a.csv", pairs))
    assert sum(map(len, data.splits.values())) == 57
    assert "a.csv: 2 of 60 rows dropped: empty text (rows 5, 12)" in data.notes
    assert "a.csv: 1 of 60 rows dropped: empty label (row 11)" in data.notes


def test_too_many_empty_rows_are_refused_unless_forced(tmp_path):
    pairs = [(text if i % 3 else "", label) for i, (text, label) in enumerate(rows(60, labels=("a", "b")))]
    path = write(tmp_path / "a.csv", pairs)
    with pytest.raises(DataError, match=r"20 of 60 rows \(33%\) cannot be used, more than the 20%") as caught:
        load(path)
    assert "--force" in caught.value.remedy and "data.max_dropped_share" in caught.value.remedy
    assert sum(map(len, load(path, force=True).splits.values())) == 40
    assert sum(map(len, load(path, max_dropped_share=0.5).splits.values())) == 40


def test_nothing_left_is_refused_even_when_forced(tmp_path):
    with pytest.raises(DataError, match="none of its 20 rows can be used: empty label: 20"):
        load(write(tmp_path / "a.csv", rows(20, labels=("",))), force=True)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (["only"] * 40, "every row of the label column 'label' is 'only': nothing to learn"),
        ([f"id-{i}x" for i in range(40)], "has 40 different values in 40 rows.*nearly every row is its own class"),
        ([f"{i / 7:.3f}" for i in range(40)], "holds 40 different numbers in 40 rows.*regression"),
        ([str(i) for i in range(40)], "holds 40 different numbers in 40 rows.*like an id"),
        (["a", "b"] * 19 + ["c", "d"], r"2 classes have a single row: 'c' \(row 39\), 'd' \(row 40\)"),
    ],
)
def test_labels_that_cannot_be_learned(labels, fault):
    frame = pd.DataFrame({"text": [text for text, _ in rows(40)], "label": labels})
    with pytest.raises(DataError, match=fault) as caught:
        load(frame)
    assert caught.value.remedy


def test_problems_of_several_splits_come_together(tmp_path):
    train = write(tmp_path / "train.csv", [*rows(40), ("one of its kind", "single")])
    write(tmp_path / "dev.csv", [*rows(20, seed=1), ("a text", "unseen"), ("b text", "unseen")])
    write(tmp_path / "test.csv", [*rows(20, seed=2), ("c text", "strange")])
    with pytest.raises(DataError) as caught:
        load(train.parent)
    assert len(caught.value.problems) == 3
    message = str(caught.value)
    assert "train.csv: 1 class has a single row: 'single' (row 41)" in message
    assert "dev.csv: the label 'unseen' of 2 validation rows (rows 21, 22) never occurs in the training" in message
    assert "test.csv: the label 'strange' of 1 test row (row 21) never occurs" in message


def test_nested_values_matter_only_in_a_used_column():
    frame = pd.DataFrame(rows(40), columns=["text", "label"])
    frame["meta"] = [{"a": [1]}] * 40
    assert len(load(frame).splits["train"]) == 28
    frame["label"] = [[label] for label in frame["label"]]
    with pytest.raises(DataError, match="Column 'label' holds list values"):
        load(frame)


def test_groups_are_kept_in_the_frames():
    frame = pd.DataFrame(rows(60), columns=["text", "label"]).assign(customer=[i // 3 for i in range(60)])
    data = load(frame, group="customer")
    groups = [set(part["group"]) for part in data.splits.values()]
    assert sum(map(len, groups)) == 20 == len(set.union(*groups))
    assert data.columns.group == "customer"


def test_fingerprints_follow_content_and_order_alone(tmp_path):
    first = load(write(tmp_path / "a.csv", rows(40)))
    moved = load(write(tmp_path / "b.csv", rows(40)))
    changed = load(write(tmp_path / "c.csv", [*rows(39), ("changed", "a")]))
    assert first.fingerprint == moved.fingerprint
    assert first.fingerprint != changed.fingerprint
    assert set(first.fingerprint) == {"train", "validation", "test"}
    frame = first.splits["train"]
    assert fingerprint(frame.iloc[::-1]) != fingerprint(frame)
    assert fingerprint(frame.assign(text=frame["label"], label=frame["text"])) != fingerprint(frame)


def test_labels_are_ordered_by_value_or_name():
    assert label_order(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert label_order(["b", "10", "B"]) == ("10", "B", "b")


def test_task_and_data_must_fit(tmp_path):
    path = write(tmp_path / "a.csv", rows(40))
    with pytest.raises(DataError, match="image-classification needs a folder of images a class"):
        load(path, task="image-classification")


def test_labelled_rows_for_evaluation(tmp_path):
    path = write(tmp_path / "a.csv", [*rows(12), ("", "a")])
    frame = load_labelled(path, DataSection(), TEXT, "text-classification", ("a", "b", "c"))
    assert list(frame) == ["text", "label", "row", "source"]
    assert len(frame) == 12
    assert frame.attrs["notes"] == ("a.csv: 1 of 13 rows dropped: empty text (row 13)",)
    with pytest.raises(DataError, match=r"the label 'c' of 4 rows \(rows 3, 6, 9, 12\) never occurs in the model's"):
        load_labelled(path, DataSection(), TEXT, "text-classification", ("a", "b"))


def test_evaluation_takes_test_then_validation(tmp_path):
    known = ("a", "b", "c")
    write(tmp_path / "train.csv", rows(40))
    with pytest.raises(DataError, match=r"no test or validation split; found: train \(train.csv\)"):
        load_labelled(tmp_path, DataSection(), TEXT, "text-classification", known)
    write(tmp_path / "dev.csv", rows(20))
    assert len(load_labelled(tmp_path, DataSection(), TEXT, "text-classification", known)) == 20
    write(tmp_path / "test.csv", rows(30))
    assert len(load_labelled(tmp_path, DataSection(), TEXT, "text-classification", known)) == 30


def test_evaluation_with_other_column_names(tmp_path):
    frame = pd.DataFrame(rows(12), columns=["words", "kind"])
    with pytest.raises(DataError) as caught:
        load_labelled(frame, DataSection(), TEXT, "text-classification", ("a", "b", "c"))
    assert len(caught.value.problems) == 2
    options = DataSection(text="words", label="kind")
    assert len(load_labelled(frame, options, TEXT, "text-classification", ("a", "b", "c"))) == 12


def test_rows_to_predict_need_no_label(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": null}\n{"text": 3}\n')
    frame = load_unlabelled(path, DataSection(), TEXT, "text-classification")
    assert frame.to_dict("list") == {"text": ["one", "3"], "row": [1, 3], "source": ["a.jsonl"] * 2}
    assert "empty text (row 2)" in frame.attrs["notes"][0]
    lines = tmp_path / "a.txt"
    lines.write_text("first line\nsecond, line\n")
    assert load_unlabelled(lines, DataSection(), TEXT, "text-classification")["text"].tolist() == [
        "first line",
        "second, line",
    ]
    with pytest.raises(DataError, match=r"no column 'text'\. Did you mean 'texts'"):
        load_unlabelled(pd.DataFrame({"texts": ["a"], "n": [1]}), DataSection(), TEXT, "text-classification")
