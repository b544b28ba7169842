"""Images as a model reads them, decoded and resized once: as bytes where that loses nothing, in files for later runs.

Most image processors end by mapping each byte of the resized image to a number (rescaling, normalising). The bytes are
a quarter of the size, and a table of the 256 numbers of each channel gives the processor's output back bit for bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import threading
import uuid
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import write_array_header_1_0

from trimtab.core.cache import DIGEST_BYTES, DiskCache, content_key, mark
from trimtab.core.optional import require

FORMAT = 1
"""Part of every identity: raised when entries are laid out differently."""
FEWEST_IMAGES = 32
"""Fewer are decoded in an instant, and would only litter the cache."""
LEVELS = 256
KEY_TYPE = f"V{DIGEST_BYTES}"
FILES, PIXELS = "files.npy", "pixels.npy"
_PREFIX = 16
Pixels = np.ndarray


class PixelTable:
    """The number that a processor makes of each byte.

    Args:
        values: float32 `[channels, 256]`.
    """

    def __init__(self, values: Pixels) -> None:
        self.values = values
        with np.errstate(divide="ignore", invalid="ignore"):
            self._steps = (LEVELS - 1) / (values[:, -1] - values[:, 0])

    @classmethod
    def of(cls, processor: Any) -> PixelTable | None:
        """The table of an image processor; None where it does not take its steps one by one."""
        pillow = require("PIL.Image", extra="vision", purpose="read images")
        ramp = np.arange(LEVELS, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
        try:
            made = processor(
                images=pillow.fromarray(ramp), do_resize=False, do_center_crop=False, do_pad=False, return_tensors="np"
            )
            values = np.asarray(made["pixel_values"][0], dtype=np.float32)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            return None
        return cls(values.reshape(3, LEVELS)) if values.shape == (3, 16, 16) else None

    def to_bytes(self, pixels: Pixels) -> Pixels | None:
        """The bytes `[3, height, width]` that the table turns into just these numbers; None where there are none."""
        if pixels.shape[:1] != (3,):
            return None
        with np.errstate(invalid="ignore"):
            levels = np.rint((pixels - self.values[:, :1, None]) * self._steps[:, None, None])
            found: Pixels = np.clip(levels, 0, LEVELS - 1).astype(np.uint8)
        return found if np.array_equal(self.to_numbers(found[None])[0], pixels) else None

    def to_numbers(self, found: Pixels) -> Pixels:
        """The processor's output for bytes `[batch, 3, height, width]`, float32."""
        numbers = np.empty(found.shape, dtype=np.float32)
        for channel, table in enumerate(self.values):
            numbers[:, channel] = table[found[:, channel]]
        return numbers


def processor_identity(processor: Any, table: PixelTable) -> str | None:
    """A digest of all that decides what a processor makes of an image; None where that cannot be known."""
    kind = type(processor)
    if kind.__module__.startswith("transformers_modules") or not hasattr(processor, "to_json_string"):
        return None
    versions = [importlib.metadata.version(package) for package in ("transformers", "pillow")]
    name = f"{kind.__module__}.{kind.__qualname__}"
    return content_key(FORMAT, name, processor.to_json_string(), versions, table.values)


def file_key(path: str) -> bytes | None:
    """A digest of a file's place, size and time of change; None where it cannot be seen."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    text = f"{Path(path).absolute()}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=DIGEST_BYTES).digest()


class ImageStore:
    """The images of a data set on disk: those of earlier runs, and those of this one as they are decoded.

    New images become an entry once all of them are there, or what there is of them when the store goes out of use.

    Args:
        cache: holds entries of many processors and data sets.
        identity: from `processor_identity`.
        paths: image files, `[rows]`.
    """

    def __init__(self, cache: DiskCache, identity: str, paths: list[str]) -> None:
        self.cache = cache
        self._keys = [file_key(path) for path in paths]
        wanted = {key for key in self._keys if key is not None}
        self._places: dict[bytes, Pixels] = {}
        for name in sorted(name for name, _, _ in cache.entries() if name.startswith(identity[:_PREFIX])):
            self._open(name, wanted)
        missing = sorted(wanted - set(self._places)) if len(paths) >= FEWEST_IMAGES else []
        self._filling = _Filling(cache, identity, missing)
        self._finalizer = weakref.finalize(self, self._filling.close)

    def get(self, row: int) -> Pixels | None:
        """The image of a row, uint8 `[3, height, width]`; None where it is not there yet."""
        key = self._keys[row]
        return None if key is None else self._places.get(key, self._filling.get(key))

    def keep(self, row: int, pixels: Pixels) -> bool:
        """Take the image of a row; False where it is not kept (too little room, or another shape)."""
        key = self._keys[row]
        return key is not None and self._filling.put(key, pixels)

    def close(self) -> None:
        """Make an entry of what is there."""
        self._finalizer()

    def _open(self, name: str, wanted: set[bytes]) -> None:
        folder = self.cache.path / name
        try:
            keys = np.load(folder / FILES)
            pixels = np.asarray(np.load(folder / PIXELS, mmap_mode="r"))
            if keys.dtype != KEY_TYPE or len(keys) != len(pixels) or pixels.dtype != np.uint8:
                raise ValueError("the arrays do not fit each other")
        except (OSError, ValueError, EOFError):
            self.cache.discard(name)
            return
        found = {key: pixels[place] for place, raw in enumerate(keys) if (key := raw.tobytes()) in wanted}
        if found:
            self.cache.get(name)  # marks it as used
            self._places |= found


class _Filling:
    """The file that new images go into, beside the cache's entries until it becomes one.

    It is written by calls, which say when the disk is full, and read as mapped memory.

    Args:
        cache: where it becomes an entry.
        identity: of the processor.
        keys: from `file_key`, of the images that are missing.
    """

    def __init__(self, cache: DiskCache, identity: str, keys: list[bytes]) -> None:
        self.cache = cache
        self.identity = identity
        self.keys = keys
        self._place = {key: place for place, key in enumerate(keys)}
        self._filled = np.zeros(len(keys), dtype=bool)
        self._aside = cache.path / f".images.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
        self._file: BinaryIO | None = None
        self._pixels = np.empty(0, dtype=np.uint8)
        self._start = 0
        self._lock = threading.Lock()
        self._over = not keys

    def get(self, key: bytes) -> Pixels | None:
        place = self._place.get(key)
        return None if place is None or not self._filled[place] else self._pixels[place]

    def put(self, key: bytes, pixels: Pixels) -> bool:
        place = self._place.get(key)
        if place is None:
            return False
        with self._lock:
            try:
                kept = not self._over and self._write(place, pixels)
            except OSError:
                self._over = True
                self._remove()
                return False
        if kept and self._filled.all():
            self.close()
        return kept

    def close(self) -> None:
        """Make an entry of the images that are there; later ones are not taken."""
        with self._lock:
            if self._over:
                return
            self._over = True
            if self._filled.any():
                keys = [key for key, filled in zip(self.keys, self._filled, strict=True) if filled]
                name = f"{self.identity[:_PREFIX]}-{content_key(b''.join(keys))[:_PREFIX]}"
                with contextlib.suppress(OSError), self.cache.entry(name) as folder:
                    np.save(folder / FILES, np.frombuffer(b"".join(keys), dtype=KEY_TYPE))
                    self._move(folder / PIXELS)
            self._remove()

    def _write(self, place: int, pixels: Pixels) -> bool:
        file = self._file or self._begin(pixels)
        if file is None or self._pixels.shape[1:] != pixels.shape:
            return False
        file.seek(self._start + place * pixels.nbytes)
        file.write(np.ascontiguousarray(pixels).tobytes())
        self._filled[place] = True
        return True

    def _begin(self, pixels: Pixels) -> BinaryIO | None:
        """Open the file, as large as it will be; None where the cache has no room for it."""
        size = len(self.keys) * pixels.nbytes
        if size > self.cache.budget_bytes:
            self._over = True
            return None
        self._aside.mkdir(parents=True)
        mark(self.cache.path)
        if shutil.disk_usage(self._aside).free < size:
            raise OSError("the disk has too little room")
        path = self._aside / PIXELS
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (it stays open while images come)
        _write_header(self._file, (len(self.keys), *pixels.shape))
        self._start = self._file.tell()
        self._file.truncate(self._start + size)
        self._pixels = np.asarray(np.load(path, mmap_mode="r"))
        return self._file

    def _move(self, target: Path) -> None:
        """The filled images as a file of the entry: the file itself where all are."""
        if self._filled.all():
            (self._aside / PIXELS).replace(target)
            return
        rows = np.flatnonzero(self._filled)
        with open(target, "wb") as file:
            _write_header(file, (len(rows), *self._pixels.shape[1:]))
            for row in rows:
                file.write(self._pixels[row].tobytes())

    def _remove(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        shutil.rmtree(self._aside, ignore_errors=True)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of a `.npy` file of bytes."""
    write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
