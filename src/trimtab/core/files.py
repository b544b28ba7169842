"""Files written whole or not at all, and checksums of files."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from trimtab.core.errors import RunError

CHUNK_BYTES = 1 << 20

_FREE_SPACE = (
    "Free some space or choose another place; a run that has a checkpoint goes on from it with 'trimtab resume RUN'."
)
_REMEDIES = {
    errno.ENOENT: "Make the folder first, or choose another place.",
    errno.ENOTDIR: "A part of this path is a file; choose another place.",
    errno.EISDIR: "A directory has this name; choose another.",
    errno.EACCES: "Ask for the permission to write there, or choose another place.",
    errno.EPERM: "Ask for the permission to write there, or choose another place.",
    errno.EROFS: "Nothing can be written to this disk; choose another place.",
}


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write `content` to `path` through a temporary sibling that is fsynced and renamed.

    Args:
        path: the file.
        content: all of it; text is written as UTF-8.
        durable: whether it must be on the disk when this returns. A file that is written anew every few seconds need
            not: readers see a whole file either way.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. Non-finite floats become null: JSON has no NaN."""
    write_atomic(path, json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def jsonable(value: Any) -> Any:
    """Return `value` in plain JSON types: NumPy scalars and arrays, paths and tuples too; non-finite floats as None."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file's or a directory's own entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(path: Path, error: OSError) -> RunError:
    """A `RunError` that says what could not be written, why (full disk, permissions, no folder), and what to do."""
    number, reason = error.errno, error.strerror or str(error)
    wrapped = re.search(r"\(os error (\d+)\)", reason)  # the words of safetensors
    if number is None and wrapped:
        number = int(wrapped[1])
        reason = os.strerror(number)
    return RunError(f"Cannot write {path}: {reason}.", remedy=_REMEDIES.get(number or 0, _FREE_SPACE))
