"""Values of any type as strings: texts and labels in one form, whichever format they came from."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from trimtab.core.errors import DataError

MISSING_WORDS = frozenset({"", "nan", "<na>"})
LONGEST_PADDED = 20
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?")


def to_strings(values: pd.Series, name: str = "") -> pd.Series:
    """The values as `str`, None where one is missing: None, NaN, white space only, or the written word NaN.

    Whole numbers have no decimal point. `name` is the column, for messages.

    Raises:
        DataError: a value is a list, an object or bytes.
    """
    values = values.astype(object)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "string":
        strings = values
    elif kind in ("floating", "mixed-integer-float", "integer", "decimal"):
        strings = _numbers(values)
    else:
        strings = pd.Series([_string(value, name) for value in values.tolist()], index=values.index, dtype=object)
    present = [value if isinstance(value, str) and not _says_missing(value) else None for value in strings.tolist()]
    return pd.Series(present, index=values.index, dtype=object)


def to_labels(values: pd.Series, name: str = "") -> pd.Series:
    """Labels as stripped strings, None where missing; `1.0` becomes `1` when every label is a whole number."""
    labels = to_strings(values, name)
    if not labels.notna().any():
        return labels
    labels = labels.str.strip()
    distinct = labels.dropna().unique().tolist()
    if any("." in label for label in distinct) and all(_WHOLE.fullmatch(label) for label in distinct):
        labels = labels.map({label: label.split(".")[0] for label in distinct}, na_action="ignore")
    return labels.astype(object).where(labels.notna(), None)


def is_number(word: str) -> bool:
    """Whether a string is a finite number."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def is_fraction(word: str) -> bool:
    """Whether a string is a number that is not whole."""
    return is_number(word) and not float(word).is_integer()


def _numbers(values: pd.Series) -> pd.Series:
    """Numbers as strings: without a decimal point when all are whole."""
    present = [value for value in values.tolist() if not _is_missing(value)]
    whole = all(math.isfinite(value) and float(value).is_integer() for value in present)
    converted = [None if _is_missing(value) else str(int(value) if whole else value) for value in values.tolist()]
    return pd.Series(converted, index=values.index, dtype=object)


def _string(value: Any, name: str) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | dict | set | bytes | np.ndarray):
        raise DataError(
            f"Column {name!r} holds {type(value).__name__} values, for example {str(value)[:60]}; a text or a single "
            "label was expected.",
            remedy="Name another column with --text or --label, or flatten this one.",
        )
    if _is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _says_missing(text: str) -> bool:
    return text.isspace() or (len(text) <= LONGEST_PADDED and text.strip().lower() in MISSING_WORDS)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value
