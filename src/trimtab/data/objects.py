"""Data that is in memory or comes through the `datasets` package: DataFrames, saved data sets, Hub ids."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.core.errors import DataError, nearest
from trimtab.core.optional import require
from trimtab.data.readers import name_classes
from trimtab.data.split_names import split_of
from trimtab.data.tables import RawData, RawTable


def is_object(source: Any) -> bool:
    """Whether `source` is a DataFrame, a `datasets` object, or a mapping of split names to these."""
    return isinstance(source, pd.DataFrame | Mapping) or _is_hub_object(source)


def from_object(source: Any, name: str = "data") -> RawData:
    """Tables of a DataFrame, a `datasets.Dataset`, a `DatasetDict`, or a mapping of split names to these.

    Raises:
        DataError: the object is of another type, or has no rows.
    """
    if not isinstance(source, Mapping):
        return RawData({"train": _table(source, name)}, "text", name, single=True)
    tables: dict[str, RawTable] = {}
    ignored = []
    for key, part in source.items():
        split = split_of(str(key))
        if split is None or split in tables:
            ignored.append(str(key))
        else:
            tables[split] = _table(part, str(key))
    if not tables and len(source) == 1:
        key, part = next(iter(source.items()))
        return RawData({"train": _table(part, str(key))}, "text", name, single=True)
    if not tables:
        raise DataError(
            f"None of the splits of {name} is called train, validation or test: {', '.join(map(str, source))}.",
            remedy="Rename the splits, or give one of them alone.",
        )
    notes = (f"{name}: splits that are not used: {', '.join(ignored)}.",) if ignored else ()
    return RawData(tables, "text", name, single=False, notes=notes)


def from_saved(folder: Path) -> RawData:
    """Tables of a folder that `save_to_disk` wrote.

    Raises:
        MissingDependencyError: the package `datasets` is not installed.
        DataError: the folder is damaged.
    """
    datasets = require("datasets", extra="datasets", purpose=f"read the saved data set {folder}")
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} cannot be read as a saved data set: {_first_line(error)}", remedy="Save it again."
        ) from error
    return from_object(loaded, folder.name)


def from_hub(name: str, config_name: str | None) -> RawData:
    """Tables of a Hub data set.

    Raises:
        MissingDependencyError: the package `datasets` is not installed.
        DataError: the Hub cannot be reached, or has no such data set or configuration.
    """
    datasets = require(
        "datasets", extra="datasets", purpose=f"load {name!r} from the Hub (no file or folder has that name)"
    )
    # Releases before 4.0 can run a data set's own script; from 4.0 on the argument is gone with the ability.
    scripted = "trust_remote_code" in inspect.signature(datasets.load_dataset).parameters
    arguments = {"trust_remote_code": False} if scripted else {}
    try:
        loaded = datasets.load_dataset(name, config_name, **arguments)
    except ValueError as error:
        raise DataError(
            f"The Hub data set {name!r} cannot be loaded: {' '.join(str(error).split())[:300]}",
            remedy="Name one of its configurations with --set data.config_name=NAME.",
        ) from error
    except (OSError, RuntimeError) as error:
        here = nearest(name, (path.name for path in Path.cwd().iterdir()))
        raise DataError(
            f"There is no file or folder {name!r}, and no Hub data set of that id could be loaded (no connection, "
            f"offline mode, or no such id): {_first_line(error)}{here}",
            remedy="Check the path or the id; a Hub data set needs a network connection, or to be in the local cache.",
        ) from error
    return from_object(loaded, name.rsplit("/", 1)[-1])


def _is_hub_object(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "datasets" and hasattr(source, "column_names")


def _table(source: Any, name: str) -> RawTable:
    notes: tuple[str, ...] = ()
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True)
        frame.columns = pd.Index([str(column) for column in frame.columns], dtype=object)
    elif _is_hub_object(source) and hasattr(source, "to_pandas") and hasattr(source, "num_rows"):
        frame, notes = _hub_table(source)
    else:
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        raise DataError(
            f"Data of the type {kind} cannot be used.",
            remedy="Give a path, a pandas DataFrame, a datasets.Dataset (not a streamed one) or a DatasetDict.",
        )
    if not len(frame):
        raise DataError(f"The data {name!r} has no rows.", remedy="Give data with at least one row.")
    if frame.columns.duplicated().any():
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise DataError(f"The data {name!r} has columns of the same name: {', '.join(twice)}.", remedy="Rename one.")
    return RawTable(frame, name, notes)


def _hub_table(source: Any) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A `datasets.Dataset` as a frame, class ids as names, columns of images and sounds left out."""
    media = [name for name, feature in source.features.items() if type(feature).__name__ in ("Image", "Audio", "Video")]
    frame = source.with_format(None).remove_columns(media).to_pandas()
    for name, feature in source.features.items():
        if type(feature).__name__ == "ClassLabel":
            frame[name] = name_classes(frame[name], feature.names)
    notes = tuple(
        f"column {name!r} holds media inside the data set and is not used; give images as a folder of class folders."
        for name in media
    )
    return frame, notes


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
