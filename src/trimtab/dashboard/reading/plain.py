"""Reading without trust: files that may be torn, gone or large, and values of any type made into plain ones."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

MOST_JSON_BYTES = 64 << 20
"""A larger JSON file is none of ours."""
MOST_STEP = 1 << 53
"""Beyond it a browser's numbers have no whole steps any more."""

Signature = tuple[int, int, int]
"""Of a file: inode, size in bytes, time of the last change in ns."""


def number(value: Any) -> float:
    """`value` as a float; NaN where it is none. A whole number beyond all floats is infinite."""
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is not int:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def finite(value: Any) -> float | None:
    """`value` as a finite float; None where it is none."""
    found = number(value)
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """`value` as a number of steps, from 0; None where it is none."""
    return value if type(value) is int and 0 <= value < MOST_STEP else None


def text(value: Any, default: str = "") -> str:
    """`value` where it is a text that can be sent; else `default`."""
    return _sendable(value) if isinstance(value, str) else default


def mapping(value: Any) -> dict[Any, Any]:
    """`value` where it is a mapping; else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """`value` where it is a list; else an empty one."""
    return value if isinstance(value, list) else []


def plain(value: Any, depth: int = 40) -> Any:
    """`value` in JSON types that any reader takes: numbers that are not finite as None, halves of characters as `?`.

    Args:
        value: what `json` or `yaml` gave.
        depth: levels of nesting that are kept; what lies deeper becomes None.
    """
    if isinstance(value, str):
        return _sendable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < MOST_STEP else finite(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth <= 0:
        return None
    if isinstance(value, dict):
        return {_sendable(str(key)): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in value]
    return _sendable(str(value))


def _sendable(value: str) -> str:
    """JSON's escapes can make halves of surrogate pairs, which UTF-8 does not know."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def open_plain(path: Path) -> IO[bytes]:
    """Open a file of a run for reading, unbuffered. A symbolic link in its place is refused: it may lead anywhere.

    Raises:
        OSError: it is not there, is no plain file, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        return open(handle, "rb", buffering=0)
    except BaseException:
        os.close(handle)
        raise


def signature(path: Path) -> Signature | None:
    """What changes when the file does; None where there is no plain file."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if (found.st_mode & 0o170000) == 0o100000 else None


def read_bytes(path: Path, most: int = MOST_JSON_BYTES) -> bytes | None:
    """The content of a file of a run; None where it cannot be read or is larger than `most` bytes."""
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > most:
                return None
            parts = []
            while part := file.read(1 << 20):
                parts.append(part)
            return b"".join(parts)
    except (OSError, ValueError):
        return None


def read_raw_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where it cannot be read or is none. Its values are not yet `plain`."""
    content = read_bytes(path)
    if content is None:
        return {}
    try:
        value = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, as `plain` makes it; empty where it cannot be read or is none."""
    content: dict[str, Any] = plain(read_raw_json(path))
    return content
