"""Results on disk that later runs take up again: each under a key that its content gives, so that none grows stale.

A cache may be lost at any time and must never stop a run: what cannot be read is made anew, and what cannot be written
is done without. An entry is a folder, written aside and renamed, so that several processes can share a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MIB = 1 << 20
DIGEST_BYTES = 16
# Tells backup programs that the folder can be made anew (https://bford.info/cachedir/), and us that we may clear it.
TAG = "CACHEDIR.TAG"
TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by Trimtab; `trimtab cache --clear` empties it.\n"
VALUE = "value.json"


def cache_folder(wanted: str | None = None) -> Path:
    """Where results are kept: `wanted`, the environment variable TRIMTAB_CACHE, or the user's cache directory."""
    if wanted:
        return Path(wanted).expanduser()
    named = os.environ.get("TRIMTAB_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trimtab"


def content_key(*parts: Any) -> str:
    """A hexadecimal digest of bytes, arrays (with type and shape), and whatever JSON can hold."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        if isinstance(part, np.ndarray):
            head, body = f"array {part.dtype.str} {part.shape}", np.ascontiguousarray(part).tobytes()
        elif isinstance(part, bytes | bytearray | memoryview):
            head, body = "bytes", bytes(part)
        else:
            head, body = "json", json.dumps(part, sort_keys=True, default=str).encode("utf-8")
        # The length keeps two parts apart from one that is their concatenation.
        digest.update(f"{head} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()


def row_keys(contents: Iterable[Any]) -> np.ndarray:
    """A digest of each content (bytes or contiguous array), 16 bytes `[rows]`."""
    digests = [hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest() for content in contents]
    return np.array(digests, dtype=f"S{DIGEST_BYTES}")


class DiskCache:
    """Entries of one kind below a folder, the least recently used removed when they outgrow a budget.

    Args:
        kind: name of the sub-folder, e.g. `tokens`.
        folder: from `cache_folder`.
        budget_bytes: most bytes that the entries of this kind take together.
    """

    def __init__(self, kind: str, folder: Path, budget_bytes: int) -> None:
        self.path = folder / kind
        self.budget_bytes = budget_bytes

    def get(self, key: str) -> Path | None:
        """The folder of an entry, marked as used now; None where there is none."""
        entry = self.path / key
        if not entry.is_dir():
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        return entry

    def put(self, key: str, write: Callable[[Path], None]) -> Path | None:
        """Make an entry, and return its folder; None where the disk does not take it.

        Args:
            key: from `content_key`.
            write: writes the entry's files into the folder that it is given; may raise OSError.
        """
        with contextlib.suppress(OSError), self.entry(key) as aside:
            write(aside)
        return self.get(key)

    @contextlib.contextmanager
    def entry(self, key: str) -> Iterator[Path]:
        """A folder to write an entry into, which takes its place when the block ends, and vanishes where it fails.

        An entry above the budget is not kept.

        Raises:
            OSError: the folder cannot be made, or what the block raised.
        """
        aside = self.path / f".{key}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
        entry = self.path / key
        try:
            aside.mkdir(parents=True)
            mark(self.path)
            yield aside
            # Another process may have made the same entry meanwhile; by its key it is the same.
            if size_of(aside) <= self.budget_bytes and not entry.is_dir():
                aside.replace(entry)
                self.trim(keep=key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def discard(self, key: str) -> None:
        """Remove an entry, as when it turns out to be damaged."""
        shutil.rmtree(self.path / key, ignore_errors=True)

    def trim(self, keep: str = "") -> None:
        """Remove the least recently used entries until the rest is within the budget; `keep` stays."""
        entries = sorted(self.entries(), key=lambda item: item[2])
        total = sum(size for _, size, _ in entries)
        for name, size, _ in entries:
            if total <= self.budget_bytes:
                return
            if name != keep:
                self.discard(name)
                total -= size

    def entries(self) -> list[tuple[str, int, float]]:
        """Key, bytes and time of last use of every entry."""
        found = []
        with contextlib.suppress(OSError):
            for entry in self.path.iterdir():
                if not entry.name.startswith(".") and entry.is_dir():
                    with contextlib.suppress(OSError):
                        found.append((entry.name, size_of(entry), entry.stat().st_mtime))
        return found


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, the folders in it included."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def mark(folder: Path) -> None:
    """Note that a folder holds nothing but what a cache may lose.

    Raises:
        OSError: the folder is not there, or cannot be written.
    """
    tag = folder / TAG
    if not tag.is_file():
        tag.write_text(TAG_TEXT, encoding="utf-8")


def open_cache(kind: str, *, enabled: bool, folder: str | None, mib: int) -> DiskCache | None:
    """The cache of a kind as a recipe wants it; None where it wants none.

    Args:
        kind: name of the sub-folder.
        enabled: the recipe's `cache.enabled`.
        folder: its `cache.folder`.
        mib: most MiB of the kind.
    """
    return DiskCache(kind, cache_folder(folder), mib * MIB) if enabled else None


def cached_json(cache: DiskCache | None, key: str, make: Callable[[], Any]) -> Any:
    """A value from the cache, or made and kept; a damaged one is made anew.

    Args:
        cache: None makes the value, and keeps nothing.
        key: from `content_key`; whatever the value depends on, the version of the code that makes it included.
        make: gives a value of JSON types. Both ways the caller gets what JSON makes of it (lists in place of tuples).
    """
    if cache is not None:
        entry = cache.get(key)
        if entry is not None:
            try:
                return json.loads((entry / VALUE).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                cache.discard(key)
    text = json.dumps(make())
    if cache is not None:
        cache.put(key, lambda folder: _write_text(folder / VALUE, text))
    return json.loads(text)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def kinds(folder: Path) -> list[DiskCache]:
    """The caches below a folder, by name; folders that no cache made are left out."""
    found = []
    with contextlib.suppress(OSError):
        found = sorted(path.name for path in folder.iterdir() if (path / TAG).is_file())
    return [DiskCache(name, folder, 0) for name in found]


def clear(cache: DiskCache) -> None:
    """Remove all that a cache holds, the remains of killed processes included."""
    shutil.rmtree(cache.path, ignore_errors=True)
