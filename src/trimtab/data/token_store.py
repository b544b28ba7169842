"""Token ids of many texts, kept on disk by content: texts that were encoded before are read back, not encoded again."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.core.cache import DiskCache, content_key

FORMAT = 1
"""Part of every key: raised when the same texts give other arrays."""
FEWEST_ROWS = 256
"""Fewer are encoded in an instant, and would only litter the cache."""
OFFSETS = "offsets"
SUFFIX = ".npy"
# Tokenizers keep the truncation and padding of their last call before this part of their description.
_SETTINGS_END = '"added_tokens":'


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, end to end in one array.

    Args:
        ids: for each input name (`input_ids`, `token_type_ids`) the values of all rows end to end, int32 `[tokens]`.
        offsets: where each row starts, int64 `[rows + 1]`.
    """

    ids: dict[str, np.ndarray]
    offsets: np.ndarray


def stored_tokens(
    cache: DiskCache | None,
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
    make: Callable[[], Tokens],
) -> Tokens:
    """The tokens of texts from the cache, mapped into memory; or made and kept. A damaged entry is made anew.

    Args:
        cache: None makes them, and keeps nothing.
        tokenizer: the tokenizer that `make` uses.
        texts: one text a row.
        pairs: the second text of each row, when rows are pairs.
        max_length: tokens after which a row is cut.
        make: encodes the texts.
    """
    identity = tokenizer_identity(tokenizer) if cache is not None and len(texts) >= FEWEST_ROWS else None
    if cache is None or identity is None:
        return make()
    key = content_key(FORMAT, identity, max_length, list(texts), None if pairs is None else list(pairs))
    entry = cache.get(key)
    if entry is not None:
        try:
            return _read(entry, len(texts))
        except (OSError, ValueError, EOFError):
            cache.discard(key)
    made = make()
    cache.put(key, lambda folder: _write(folder, made))
    return made


def tokenizer_identity(tokenizer: Any) -> str | None:
    """A digest of all that decides what a tokenizer makes of a text; None where that cannot be known."""
    kind = type(tokenizer)
    if kind.__module__.startswith("transformers_modules"):
        return None  # code that came with the model, and may change while its files stay
    settings = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "inputs": list(tokenizer.model_input_names),
        "versions": [importlib.metadata.version(package) for package in ("tokenizers", "transformers")],
    }
    backend = getattr(tokenizer, "backend_tokenizer", None)
    try:
        if backend is None:
            return content_key(settings, *_saved_files(tokenizer))
        description = backend.to_str()
    except Exception:  # noqa: BLE001 (what parts written in Python raise here is their own affair)
        return None
    return content_key(settings, description[max(0, description.find(_SETTINGS_END)) :])


def _saved_files(tokenizer: Any) -> Iterator[bytes]:
    """The bytes of the files that a tokenizer saves, each after its name."""
    with tempfile.TemporaryDirectory(prefix="trimtab-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                yield path.name.encode()
                yield path.read_bytes()


def join_rows(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """The values of all rows end to end, int32 `[tokens]`."""
    return np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=sum(map(len, rows)))


def _write(folder: Path, tokens: Tokens) -> None:
    np.save(folder / f"{OFFSETS}{SUFFIX}", tokens.offsets)
    for name, values in tokens.ids.items():
        np.save(folder / f"{name}{SUFFIX}", values)


def _read(folder: Path, rows: int) -> Tokens:
    """The tokens of an entry.

    Raises:
        OSError, ValueError, EOFError: a file is missing, is cut off, or does not fit the others.
    """
    # As plain arrays: the type of mapped ones would spread to whatever is taken from them.
    found = {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(folder.glob(f"*{SUFFIX}"))}
    offsets = found.pop(OFFSETS, np.empty(0, dtype=np.int64))
    if len(offsets) != rows + 1 or not found or any(values.shape != (offsets[-1],) for values in found.values()):
        raise ValueError("the arrays do not fit each other")
    return Tokens(found, offsets)
