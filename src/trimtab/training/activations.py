"""Rows' activations on disk: written once, memory-mapped, found again by what the row holds and what made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trimtab.core.cache import DiskCache, content_key

KEY_BYTES = 16
_DATA, _KEYS, _LENGTHS, _FORM = "data.bin", "keys.npy", "lengths.npy", "form.json"
# How a tensor's bytes are read by NumPy, which has no bfloat16.
_CARRIERS = {torch.bfloat16: np.int16, torch.float16: np.float16, torch.float32: np.float32}
_DTYPES = {str(dtype): dtype for dtype in _CARRIERS}


@dataclass(frozen=True)
class Form:
    """What all rows have in common.

    Args:
        dtype: of the activations.
        tail: shape of one position's activations; a row has the shape `[positions, *tail]`.
        per_token: whether a position is a token; else each row is one position.
    """

    dtype: torch.dtype
    tail: tuple[int, ...]
    per_token: bool

    @property
    def bytes_per_position(self) -> int:
        """Bytes of one position of a row."""
        return int(np.prod(self.tail, dtype=np.int64)) * self.dtype.itemsize


class ActivationStore:
    """The activations of one cut of one model.

    Args:
        cache: where its parts are kept.
        model_key: from `Cut.fingerprint`.
        form: of the rows.
    """

    def __init__(self, cache: DiskCache, model_key: str, form: Form) -> None:
        self.cache = cache
        self.model_key = model_key
        self.form = form
        self._parts: dict[str, _Part] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take note of parts that were added meanwhile; damaged ones are removed."""
        for name, _, _ in self.cache.entries():
            if name.startswith(self.model_key) and name not in self._parts:
                folder = self.cache.get(name)
                part = None if folder is None else _open(folder, self.form)
                if part is None:
                    self.cache.discard(name)
                else:
                    self._parts[name] = part

    def find(self, keys: np.ndarray) -> Located:
        """Where the rows with these keys (`[rows]`, 16 bytes each) are."""
        parts = list(self._parts.values())
        which = np.full(len(keys), -1, dtype=np.int64)
        start = np.zeros(len(keys), dtype=np.int64)
        length = np.zeros(len(keys), dtype=np.int64)
        for index, part in enumerate(parts):
            open_rows = np.flatnonzero(which < 0)
            if not len(open_rows) or not len(part.keys):
                continue
            place = np.searchsorted(part.keys, keys[open_rows]).clip(max=len(part.keys) - 1)
            hit = part.keys[place] == keys[open_rows]
            rows, place = open_rows[hit], place[hit]
            which[rows], start[rows], length[rows] = index, part.starts[place], part.lengths[place]
        return Located(parts, which, start, length, self.form)

    @contextmanager
    def writer(self, keys: np.ndarray) -> Iterator[Writer]:
        """A part to write rows into; it is there when the block has ended and `refresh` was called.

        Args:
            keys: of all the rows, in any order: they name the part.

        Raises:
            OSError: the disk does not take it.
        """
        name = f"{self.model_key}-{content_key(np.sort(keys))}"
        with self.cache.entry(name) as folder, Writer(folder, self.form) as writer:
            yield writer


class Writer:
    """Writes rows one after another.

    Args:
        folder: of the part.
        form: of the rows.
    """

    def __init__(self, folder: Path, form: Form) -> None:
        self.folder = folder
        self.form = form
        self._keys: list[np.ndarray] = []
        self._lengths: list[int] = []

    def __enter__(self) -> Writer:
        self._file = open(self.folder / _DATA, "wb")
        return self

    def add(self, keys: np.ndarray, rows: list[torch.Tensor]) -> None:
        """Write the activations of some rows, `[positions, *tail]` each, on the CPU."""
        self._keys.append(keys)
        for row in rows:
            self._lengths.append(len(row))
            self._file.write(row.contiguous().view(torch.uint8).numpy().data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._file.close()
        if kind is not None:
            return
        np.save(self.folder / _KEYS, np.concatenate(self._keys) if self._keys else np.zeros(0, dtype=f"S{KEY_BYTES}"))
        np.save(self.folder / _LENGTHS, np.array(self._lengths, dtype=np.int64))
        content = {"dtype": str(self.form.dtype), "tail": self.form.tail, "per_token": self.form.per_token}
        (self.folder / _FORM).write_text(json.dumps(content), encoding="utf-8")


@dataclass(frozen=True)
class Located:
    """Rows found in a store.

    Args:
        parts: the parts of the store.
        which: index of each row's part, `[rows]`; -1 where it is in none.
        start: first position of each row in it, `[rows]`.
        length: positions of each row, `[rows]`.
        form: of the rows.
    """

    parts: list[_Part]
    which: np.ndarray
    start: np.ndarray
    length: np.ndarray
    form: Form

    @property
    def missing(self) -> np.ndarray:
        """Indices of the rows that are in no part."""
        return np.flatnonzero(self.which < 0)

    def read(self, row: int) -> np.ndarray:
        """A row's activations in NumPy's stand-in for their type, `[positions, *tail]`, not copied."""
        begin = self.start[row]
        return self.parts[self.which[row]].data[begin : begin + self.length[row]]

    def gather(self, rows: np.ndarray, mask: np.ndarray | None) -> torch.Tensor:
        """Activations of rows as one batch: `[n, *tail]`, or with a mask `[n, width, *tail]` and 0 outside of it.

        Args:
            rows: row indices, `[n]`.
            mask: which positions of the batch each row fills, boolean `[n, width]`.
        """
        found = np.concatenate([self.read(int(row)) for row in rows])
        if mask is None:
            return torch.from_numpy(found).view(self.form.dtype)
        batch = np.zeros((*mask.shape, *self.form.tail), dtype=_CARRIERS[self.form.dtype])
        batch[mask] = found
        return torch.from_numpy(batch).view(self.form.dtype)


@dataclass(frozen=True)
class _Part:
    keys: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    data: np.ndarray


def _open(folder: Path, form: Form) -> _Part | None:
    """A part with its rows sorted by key; None where it is damaged or of another form."""
    try:
        content: dict[str, Any] = json.loads((folder / _FORM).read_text(encoding="utf-8"))
        keys, lengths = np.load(folder / _KEYS), np.load(folder / _LENGTHS)
        size = (folder / _DATA).stat().st_size
        own = Form(_DTYPES[content["dtype"]], tuple(content["tail"]), content["per_token"])
        fits = own == form and len(keys) == len(lengths)
        if not fits or size != int(lengths.sum()) * form.bytes_per_position:
            return None
        shape = (int(lengths.sum()), *form.tail)
        carrier = _CARRIERS[form.dtype]
        data = np.memmap(folder / _DATA, dtype=carrier, mode="r", shape=shape) if size else np.zeros(shape, carrier)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    order = np.argsort(keys, kind="stable")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return _Part(keys[order], starts[order], lengths[order], data)
