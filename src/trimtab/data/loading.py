"""The doors of this room: a data set for training, labelled rows to evaluate on, rows to predict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.clean import Cleaned, clean, dropped_problem, label_problems, unseen_problems
from trimtab.data.dataset import Columns, Dataset, fingerprint, label_order
from trimtab.data.images import is_image_file, read_images
from trimtab.data.infer import infer_columns, infer_task, unknown_column
from trimtab.data.objects import is_object
from trimtab.data.problems import Problem, raise_together
from trimtab.data.sources import resolve, resolve_alone
from trimtab.data.splits import hold_out, sample_rows
from trimtab.data.tables import RawData, RawTable

IMAGE_COLUMNS = Columns(image="image", label="label")
IMAGE_TASK = "image-classification"


def load_dataset(source: Any, options: DataSection, *, seed: int, task: str = "auto") -> Dataset:
    """Read, check, clean and split labelled data for training.

    Args:
        source: a path, a Hub id, a pandas DataFrame, a `datasets.Dataset` or `DatasetDict`, or a mapping of split
            names to these.
        options: the recipe's data section; its `path` is not used.
        seed: the run's seed, for the held-out splits.
        task: a task name, or `auto`.

    Raises:
        DataError: the data cannot be read or learned from; faults that can be found together are raised together.
    """
    raw = resolve(source, options)
    if "train" not in raw.tables:
        raise DataError(
            f"{raw.name} has no train split; found: {_found(raw)}.",
            remedy="Add a file called train, or name the file to train on and the others with --validation FILE and "
            "--test FILE.",
        )
    task, task_note = infer_task(raw, task)
    columns, notes = _columns(raw, options)
    notes = [*raw.notes, *(note for table in raw.tables.values() for note in table.notes), task_note, *notes]
    raw, unlabelled = _without_unlabelled_test(raw, columns)
    cleaned = _clean_all(raw, columns, options)
    for part in cleaned.values():
        notes += part.notes()
    frames = {split: part.frame for split, part in cleaned.items()}
    splits = _split(frames, options, seed)
    return Dataset(
        splits=splits.frames,
        columns=columns,
        task=task,
        labels=label_order(splits.frames["train"]["label"].tolist()),
        name=raw.name,
        notes=tuple(note for note in (*notes, *unlabelled, *splits.notes) if note),
        held_out=tuple(splits.held_out),
        fingerprint={split: fingerprint(frame) for split, frame in splits.frames.items()},
    )


def load_labelled(
    source: Any, options: DataSection, columns: Columns, task: str, labels: tuple[str, ...]
) -> pd.DataFrame:
    """One split of labelled rows, to evaluate a model on.

    Args:
        source: as for `load_dataset`; of data with splits, `test` is used, else `validation`.
        options: the recipe's data section; `text` and `label` take the place of the names in `columns`.
        columns: the columns that the model was trained on.
        task: the model's task.
        labels: the labels that the model knows.

    Returns:
        A canonical frame; `attrs["notes"]` holds sentences on what was chosen and dropped.

    Raises:
        DataError: there is no such split or column, or a label is unknown to the model.
    """
    raw = resolve_alone(source, options, expected_names(options, columns))
    infer_task(raw, task)
    if raw.single:
        split = "train"
    elif "test" in raw.tables or "validation" in raw.tables:
        split = "test" if "test" in raw.tables else "validation"
    else:
        raise DataError(
            f"{raw.name} has no test or validation split; found: {_found(raw)}.",
            remedy="Name the file to evaluate on.",
        )
    table = raw.tables[split]
    columns = renamed(columns, options)
    raise_together(f"{table.source}: columns are missing", _missing_columns(table, columns, labelled=True))
    cleaned = clean(table, columns, labelled=True)
    problems = dropped_problem(cleaned, options)
    problems += unseen_problems(cleaned.frame, set(labels), "", table.source, "the model's training data")
    raise_together(f"{table.source} cannot be evaluated on", problems)
    chosen = "" if raw.single else f"{raw.name}: the {split} split is evaluated"
    cleaned.frame.attrs["notes"] = tuple(note for note in (*raw.notes, *table.notes, chosen, *cleaned.notes()) if note)
    return cleaned.frame


def load_unlabelled(source: Any, options: DataSection, columns: Columns, task: str) -> pd.DataFrame:
    """Rows to predict; a label column is not needed, and not read.

    Args:
        source: a file, a folder of images, an image, a Hub id, a DataFrame, or a `datasets.Dataset`.
        options: the recipe's data section; `text` takes the place of the names in `columns`.
        columns: the columns that the model was trained on.
        task: the model's task.

    Returns:
        A canonical frame without `label`. Rows with an empty text or a broken image are left out: `row` tells which,
        and `attrs["notes"]` says so.

    Raises:
        DataError: nothing can be read, or the text column is missing.
    """
    notes: list[str] = []
    if task == IMAGE_TASK:
        table, columns = _images_to_predict(source, options), replace(IMAGE_COLUMNS, label=None)
    else:
        raw = resolve_alone(source, options, expected_names(options, columns))
        infer_task(raw, task)
        if not raw.single and list(raw.tables) != ["test"]:
            raise DataError(f"{raw.name} has several splits: {_found(raw)}.", remedy="Name the one file to predict.")
        table = next(iter(raw.tables.values()))
        columns, note = texts_to_predict(table, renamed(columns, options))
        notes += [*raw.notes, note]
    cleaned = clean(table, replace(columns, group=None), labelled=False)
    if not len(cleaned.frame):
        raise_together(table.source, dropped_problem(cleaned, options))
    cleaned.frame.attrs["notes"] = tuple(note for note in (*notes, *table.notes, *cleaned.notes()) if note)
    return cleaned.frame


def _found(raw: RawData) -> str:
    return ", ".join(f"{split} ({table.source})" for split, table in raw.tables.items())


def expected_names(options: DataSection, columns: Columns) -> tuple[str, ...]:
    """Names that the columns of the data should have."""
    return (*columns.text, *(options.text or ()), *filter(None, (columns.label, options.label)))


def renamed(columns: Columns, options: DataSection) -> Columns:
    """The training columns with the names that the user gives for this data."""
    if columns.image is not None:
        return replace(IMAGE_COLUMNS, group=None)
    return Columns(text=tuple(options.text or columns.text), label=options.label or columns.label)


def _columns(raw: RawData, options: DataSection) -> tuple[Columns, list[str]]:
    if raw.modality == "text":
        return infer_columns(raw.tables["train"].frame, options, raw.tables["train"].source)
    named = [key for key in ("text", "label", "group") if getattr(options, key)]
    if named:
        raise DataError(
            f"{raw.name} is a folder of images, which has no columns to name with --{' or --'.join(named)}.",
            remedy="Leave these options out: the folder names are the labels.",
        )
    return IMAGE_COLUMNS, ["label: the name of each image's class folder"]


def _missing_columns(table: RawTable, columns: Columns, *, labelled: bool) -> list[Problem]:
    present = [str(name) for name in table.frame.columns]
    named = [("--text", name) for name in columns.text]
    if labelled and columns.label is not None:
        named.append(("--label", columns.label))
    return [unknown_column(key, name, present, table.source) for key, name in named if name not in present]


def _without_unlabelled_test(raw: RawData, columns: Columns) -> tuple[RawData, list[str]]:
    """Leave out a test split that comes without labels, as those of public contests do."""
    table = raw.tables.get("test")
    if table is None or columns.label is None or "test" in raw.explicit:
        return raw, []
    if columns.label in table.frame and table.frame[columns.label].notna().any():
        return raw, []
    note = f"{table.source}: the test split has no labels and is not used"
    return replace(raw, tables={split: other for split, other in raw.tables.items() if split != "test"}), [note]


def _clean_all(raw: RawData, columns: Columns, options: DataSection) -> dict[str, Cleaned]:
    """Clean every split, and raise what is wrong with them together."""
    missing = [problem for table in raw.tables.values() for problem in _missing_columns(table, columns, labelled=True)]
    raise_together(f"{raw.name}: columns are missing", missing)
    cleaned = {split: clean(table, columns, labelled=True) for split, table in raw.tables.items()}
    problems = [problem for part in cleaned.values() for problem in dropped_problem(part, options)]
    train = cleaned["train"]
    if len(train.frame):
        problems += label_problems(train.frame, None if columns.image else columns.label, train.source)
        known = set(train.frame["label"])
        for split, part in cleaned.items():
            if split != "train" and len(part.frame):
                problems += unseen_problems(part.frame, known, split, part.source, "the training rows")
    raise_together(f"{raw.name} cannot be learned from", problems)
    return cleaned


@dataclass
class _Splits:
    frames: dict[str, pd.DataFrame]
    held_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _split(frames: dict[str, pd.DataFrame], options: DataSection, seed: int) -> _Splits:
    """Hold out what is missing: first test, then validation, both as shares of all training rows."""
    result = _Splits(dict(frames))
    fractions = {"test": options.test_fraction, "validation": options.validation_fraction}
    missing = {split: share for split, share in fractions.items() if split not in frames and share > 0}
    if missing:
        train, parts = hold_out(frames["train"], missing, max_rows=options.max_holdout_rows, seed=seed)
        result.frames.update({"train": train, **parts})
    for split in missing:
        groups = f", whole groups of {options.group!r}" if options.group else ""
        result.notes.append(
            f"{split}: {len(result.frames[split])} rows held out of the {len(frames['train'])} training rows "
            f"(stratified{groups}, seed {seed}; override with --{split} FILE)"
        )
    result.held_out = [split for split in ("validation", "test") if split in missing]
    if options.max_rows is not None and options.max_rows < len(result.frames["train"]):
        rows = len(result.frames["train"])
        result.frames["train"] = sample_rows(result.frames["train"], options.max_rows, seed)
        result.notes.append(f"train: {options.max_rows} of {rows} rows used (data.max_rows, drawn at random by class)")
    result.frames = {split: result.frames[split] for split in ("train", "validation", "test") if split in result.frames}
    return result


def _images_to_predict(source: Any, options: DataSection) -> RawTable:
    from pathlib import Path

    if is_object(source):
        raise DataError("Images cannot be read from this object.", remedy="Give an image file or a folder of images.")
    path = Path(source).expanduser()
    if not path.exists():
        resolve_alone(source, options, ())  # raises: the path does not exist
    if path.is_file() and not is_image_file(path):
        raise DataError(f"{path} is not an image file.", remedy="Give an image file or a folder of images.")
    return read_images(path)


def texts_to_predict(table: RawTable, columns: Columns) -> tuple[Columns, str]:
    """The text columns of a table; its only column where the model reads one text."""
    missing = _missing_columns(table, columns, labelled=False)
    names = [str(name) for name in table.frame.columns]
    if missing and len(names) == 1 and len(columns.text) == 1:
        return replace(columns, text=(names[0],)), f"text: column {names[0]!r} (the only one)"
    raise_together(f"{table.source}: columns are missing", missing)
    return columns, ""
