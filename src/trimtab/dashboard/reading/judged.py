"""`predictions.parquet`, as far as the order and the choice of rows needs it; whole rows a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import RunError
from trimtab.dashboard.reading.plain import open_plain, text


@dataclass(frozen=True)
class Judged:
    """Labels and predictions of all rows.

    Args:
        labels: names, in the order of the class ids.
        label, prediction: index of each row's label, int32 `[n]`; -1 where it is none of them.
        probability: of the prediction, float32 `[n]`.
        true_probability: of the label, float32 `[n]`; 0 where it is not among the likeliest that were kept, NaN where
            it is not known.
        places: how many of the likeliest classes stand beside each row; 0 where all probabilities do.
    """

    labels: tuple[str, ...]
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    probability: NDArray[np.float32]
    true_probability: NDArray[np.float32]
    places: int

    def where(self, label: str | None, predicted: str | None) -> NDArray[np.int64]:
        """Indices of the rows with a label and a prediction, in order; None stands for any."""
        keep = np.ones(len(self.label), bool)
        for name, found in ((label, self.label), (predicted, self.prediction)):
            if name is not None:
                keep &= found == (self.labels.index(name) if name in self.labels else -2)
        return np.flatnonzero(keep)

    def name(self, index: int) -> str | None:
        """The label with an index, fit to be sent; None of -1."""
        return text(self.labels[index]) if index >= 0 else None


def read_judged(path: Path, order: tuple[str, ...] = ()) -> Judged:
    """Read the labels, predictions and probabilities of a file of predictions, column by column.

    Args:
        path: the `predictions.parquet`.
        order: names of the labels in their order, as far as they are known; others follow in order of their names.

    Raises:
        RunError: it cannot be read.
    """
    with _opened(path) as file:
        names = set(file.schema_arrow.names)
        column: Callable[[str], Any] = lambda name: file.read(columns=[name]).column(0)  # noqa: E731
        label, prediction = (_texts(column(name)) for name in ("label", "prediction"))
        known = dict.fromkeys(order) | dict.fromkeys(sorted({*label[0], *prediction[0]} - set(order)))
        labels = tuple(known)
        places = {name: place for place, name in enumerate(labels)}
        codes = [_codes(values, found, places) for values, found in (label, prediction)]
        kept = sum(f"top_{place}" in names for place in range(1, len(names)))
        true = np.full(len(codes[0]), np.nan, np.float32)
        if kept:
            true[:] = 0.0
            for place in range(1, kept + 1):
                is_it = _codes(*_texts(column(f"top_{place}")), places) == codes[0]
                true[is_it] = _floats(column(f"p_top_{place}"))[is_it]
        else:
            for place, name in enumerate(labels):
                of_it = codes[0] == place
                if f"p_{name}" in names and of_it.any():
                    true[of_it] = _floats(column(f"p_{name}"))[of_it]
        return Judged(labels, codes[0], codes[1], _floats(column("probability")), true, kept)


def read_records(path: Path, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Whole rows of a Parquet file, in the order in which they are named. Only their row groups are read.

    Raises:
        RunError: it cannot be read.
    """
    found: dict[int, dict[str, Any]] = {}
    with _opened(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            inside = rows[(rows >= first) & (rows < first + count)]
            if len(inside):
                records = file.read_row_group(group).take(inside - first).to_pylist()
                found |= dict(zip(inside.tolist(), records, strict=True))
            first += count
    return [found[index] for index in rows.tolist()]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with open_plain(path) as raw, parquet.ParquetFile(raw) as file:
            yield file
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
        raise RunError(
            f"The rows in {path.name} cannot be read: {' '.join(str(error).split())[:300]}.",
            remedy="The file may be torn or of another program: judge the model again with 'trimtab evaluate'.",
        ) from error


def _texts(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values of a column as texts, and the place of each row's among them; -1 where it has none."""
    import pyarrow.compute as compute

    encoded = compute.dictionary_encode(column).combine_chunks()
    if hasattr(encoded, "chunks"):  # of no chunk, a chunked array is left
        return [], np.zeros(0, np.int64)
    values = [str(value) for value in encoded.dictionary.to_pylist()]
    return values, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _codes(values: list[str], found: NDArray[np.int64], places: dict[str, int]) -> NDArray[np.int32]:
    table = np.array([*(places.get(value, -1) for value in values), -1], np.int32)
    return table[found]


def _floats(column: Any) -> NDArray[np.float32]:
    return np.asarray(column.to_numpy(), np.float32)


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Some columns of a Parquet file, as arrays of pyarrow; those that it lacks are left out.

    Raises:
        RunError: it cannot be read.
    """
    with _opened(path) as file:
        present = [name for name in names if name in file.schema_arrow.names]
        table = file.read(columns=present)
        return {name: table.column(name) for name in present}
