"""One file to one table: CSV, TSV, text, JSON Lines, JSON and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.delimited import read_delimited
from trimtab.data.encodings import decode
from trimtab.data.tables import RawTable

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
SUPPORTED = (*DELIMITED, *JSON_LINES, ".json", *PARQUET)
FORMATS = "CSV (.csv), TSV (.tsv), text (.txt), JSON Lines (.jsonl), JSON (.json) or Parquet (.parquet)"


def read_table(path: Path, options: DataSection, expected: Iterable[str] = ()) -> RawTable:
    """Read one file.

    Args:
        path: an existing file.
        options: encoding and separator, where the user names them.
        expected: column names that the user gave.

    Raises:
        DataError: the format is not supported, or the file cannot be read; the message says where it fails.
    """
    suffix = path.suffix.lower()
    if suffix not in SUPPORTED:
        raise DataError(
            f"{path} is of a format that is not read here ({path.suffix or 'no file extension'}).",
            remedy=f"Save the data as {FORMATS}.",
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes).", remedy="Give a file with a header line and rows.")
        if suffix in PARQUET:
            return RawTable(_parquet(path), path.name)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path and its permissions."
        ) from error
    decoded = decode(data, path.name, options.encoding)
    notes = [decoded.note] if decoded.note else []
    if suffix in DELIMITED:
        frame, guessed = read_delimited(decoded.text, path.name, suffix, options.delimiter, expected)
    elif suffix in JSON_LINES:
        frame, guessed = from_objects(_json_lines(decoded.text, path.name), path.name), []
    else:
        frame, guessed = _json(decoded.text, path.name)
    return RawTable(frame, path.name, (*notes, *guessed))


def _json_lines(text: str, name: str) -> list[dict[str, Any]]:
    """One JSON object a line; blank lines are passed over."""
    objects = []
    # Only line feeds end a JSON line: the Unicode line separators may stand inside its strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        objects.append(json_object(line, number, name))
    return mended(objects, text)


def json_object(line: str, number: int, name: str) -> dict[str, Any]:
    """The object that a line of JSON Lines holds.

    Args:
        line: not empty.
        number: of the line, from 1.
        name: the file's, for messages.

    Raises:
        DataError: it is not JSON, or no object.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name}: line {number} is not JSON: {_json_fault(error)}.", remedy="Write one JSON object a line."
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{name}: line {number} holds {_json_type(value)}; an object was expected.",
            remedy='Write one JSON object a line, for example {"text": "…", "label": "…"}.',
        )
    return value


def _json(text: str, name: str) -> tuple[pd.DataFrame, list[str]]:
    """An array of objects, an object that holds one, or (noted) JSON Lines under the name `.json`."""
    notes = []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if getattr(error, "msg", "") == "Extra data":
            return from_objects(_json_lines(text, name), name), [f"{name}: read as JSON Lines, one object a line."]
        raise DataError(
            f"{name} is not JSON: {_json_fault(error)}.",
            remedy="Give an array of objects, or JSON Lines (.jsonl).",
        ) from error
    if isinstance(value, dict):
        arrays = [key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict)]
        if len(arrays) == 1:
            notes.append(f"{name}: rows are read from its key {arrays[0]!r}.")
            value = value[arrays[0]]
        elif not arrays:
            value = [value]
    if not isinstance(value, list):
        raise DataError(
            f"{name} holds {_json_type(value)}; an array of objects was expected.",
            remedy="Give an array of objects, or JSON Lines (.jsonl).",
        )
    for position, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise DataError(
                f"{name}: item {position} of the array is {_json_type(item)}; an object was expected.",
                remedy='Write each row as an object, for example {"text": "…", "label": "…"}.',
            )
    return from_objects(mended(value, text), name), notes


def from_objects(objects: list[dict[str, Any]], name: str) -> pd.DataFrame:
    """A table of objects: a column for each key, in the order of first appearance."""
    if not objects:
        raise DataError(f"{name} has no rows.", remedy="Give a file with one JSON object a row.")
    keys = list(dict.fromkeys(key for item in objects for key in item))
    # dtype=object keeps whole numbers whole where others are missing.
    return pd.DataFrame({key: pd.Series([item.get(key) for item in objects], dtype=object) for key in keys})


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at {f'line {error.lineno}, ' if error.lineno > 1 else ''}column {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def mended(objects: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The objects with U+FFFD for half characters (a lone surrogate escape), which no encoding can write."""
    if "\\ud" not in text and "\\uD" not in text:
        return objects

    def mend(value: Any) -> Any:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value

    return [{key: mend(value) for key, value in item.items()} for item in objects]


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path.name} cannot be read as Parquet: {reason}", remedy="Write the file again; it may be truncated."
        ) from error
    if table.num_rows == 0:
        raise DataError(f"{path.name} has no rows.", remedy="Give a file with at least one row.")
    frame = table.to_pandas(integer_object_nulls=True, ignore_metadata=True)
    for column, names in _class_names(table.schema.metadata or {}).items():
        if column in frame:
            frame[column] = name_classes(frame[column], names)
    return frame


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Class names that `datasets` stores in a Parquet file's metadata, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def name_classes(values: pd.Series, names: list[str]) -> pd.Series:
    """Class ids as class names; -1, which marks an unlabelled row, and missing values as None."""
    named = dict(enumerate(names))
    return pd.Series([named.get(value) for value in values.tolist()], index=values.index, dtype=object)
