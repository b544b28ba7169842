"""Are a model's weight files whole? Checked before they are loaded, so that damage is named and not trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from trimtab.core.errors import ModelError
from trimtab.core.files import sha256_of, write_json
from trimtab.models.quiet import reason_of

CHECKSUM_FILE = "trimtab_checksums.json"
_SHA256SUMS = "SHA256SUMS"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_MOST_HEADER_BYTES = 100_000_000
# No trained weight comes near; a flipped high exponent bit of a weight below 2 gives 1e19 and more.
LARGEST_WEIGHT = 1e8
_CHUNK = 1 << 18

# dtype name -> bytes an element; and for floats the integer type that holds its bits, and the bits of LARGEST_WEIGHT.
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
_BITS: dict[str, tuple[Any, int, int]] = {
    "F16": (np.uint16, 0x7FFF, 0x7BFF),  # its largest finite number: 65504
    "BF16": (np.uint16, 0x7FFF, int(np.float32(LARGEST_WEIGHT).view(np.uint32)) >> 16),
    "F32": (np.uint32, 0x7FFFFFFF, int(np.float32(LARGEST_WEIGHT).view(np.uint32))),
    "F64": (np.uint64, 0x7FFFFFFFFFFFFFFF, int(np.float64(LARGEST_WEIGHT).view(np.uint64))),
}


def check_weights(directory: Path) -> list[Path]:
    """Check the weight files of a model directory: length, header, shards, checksums, and values.

    Args:
        directory: as `save_pretrained` writes it.

    Returns:
        The weight files that will be loaded.

    Raises:
        ModelError: weights are missing, cut off, damaged, hold NaN, infinite or absurdly large values, differ from the
            checksums beside them, or are a pickle that would run code.
    """
    files = _weight_files(directory)
    _check_checksums(directory, files)
    for file in files:
        if file.suffix == ".safetensors":
            _check_safetensors(file)
        else:
            _check_pickle(file)
    return files


def write_checksums(directory: Path) -> None:
    """Write the SHA-256 of each weight file in `directory` beside it, for `check_weights` to compare.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    sums = {file.name: sha256_of(file) for file in sorted(directory.glob("*.safetensors"))}
    write_json(directory / CHECKSUM_FILE, sums)


def _damaged(file: Path, what: str) -> NoReturn:
    raise ModelError(
        f"The weights in {file} are damaged: {what}.",
        remedy="Download or copy the model again, or choose another one with --model.",
    )


def _weight_files(directory: Path) -> list[Path]:
    """The files that transformers would load, in its order of preference."""
    if (directory / _SINGLE).is_file():
        return [directory / _SINGLE]
    if (directory / _INDEX).is_file():
        return _shards(directory / _INDEX)
    if (directory / _PICKLES[0]).is_file():
        return [directory / _PICKLES[0]]
    if (directory / _PICKLES[1]).is_file():
        return _shards(directory / _PICKLES[1])
    other = sorted(file.name for file in directory.iterdir() if file.suffix in _OTHER_FORMATS)
    found = f"; found only {', '.join(other)}, which cannot be trained" if other else ""
    raise ModelError(
        f"The model directory {directory} holds no weights ({_SINGLE}){found}.",
        remedy="Download or copy the model again, with its safetensors file.",
    )


_OTHER_FORMATS = {".h5", ".msgpack", ".onnx", ".gguf", ".ckpt", ".bin", ".pt", ".pth", ".safetensors", ".tflite"}


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        _damaged(index, f"it is no index of weight files ({error})")
    # A name with a folder in it could point anywhere on the disk.
    strange = [name for name in names if Path(name).name != name]
    if strange:
        _damaged(index, f"it names {strange[0]!r}, which is not a file beside it")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"{index} names {len(names)} weight files, and {len(missing)} of them are missing: "
            f"{', '.join(missing[:5])}.",
            remedy="Download or copy the model again.",
        )
    return [index.parent / name for name in names]


def _check_checksums(directory: Path, files: list[Path]) -> None:
    for sums_file in (CHECKSUM_FILE, _SHA256SUMS):
        expected = _read_checksums(directory / sums_file)
        for file in files:
            if file.name in expected and sha256_of(file) != expected[file.name]:
                raise ModelError(
                    f"The weights in {file} are not the ones that {sums_file} beside them was written for: the SHA-256 "
                    "differs, so the file was changed or damaged.",
                    remedy=f"Copy the model again; if the weights were changed on purpose, delete {sums_file}.",
                )


def _read_checksums(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix != ".json":
        rows = [line.split(maxsplit=1) for line in text.splitlines()]
        return {row[1].lstrip("*").removeprefix("./"): row[0].lower() for row in rows if len(row) == 2}
    try:
        sums = json.loads(text)
    except ValueError as error:
        _damaged(file, f"it is no JSON ({error})")
    if not isinstance(sums, dict):
        _damaged(file, "it holds no table of checksums")
    return sums


def _check_safetensors(file: Path) -> None:
    """Header, length, and values of one safetensors file.

    Format: 8 bytes length of the header, little-endian; the header, JSON; the tensors' bytes without gaps
    (https://github.com/huggingface/safetensors#format).
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if size < 8 or header_bytes > min(size - 8, _MOST_HEADER_BYTES):
            _damaged(file, f"it is cut off or no safetensors file ({size:,} bytes, header of {header_bytes:,} bytes)")
        try:
            header = json.loads(stream.read(header_bytes))
        except ValueError as error:
            _damaged(file, f"its header is no JSON ({error})")
    if not isinstance(header, dict):
        _damaged(file, "its header is no table of tensors")
    header.pop("__metadata__", None)
    start = 8 + header_bytes
    _check_layout(file, header, size - start)
    content = np.memmap(file, dtype=np.uint8, mode="r") if size > start else np.zeros(0, dtype=np.uint8)
    for name, entry in header.items():
        if entry["dtype"] in _BITS and "mask" not in name:
            begin, end = (start + offset for offset in entry["data_offsets"])
            _check_values(file, name, entry["dtype"], content[begin:end])


def _check_layout(file: Path, header: dict[str, Any], data_bytes: int) -> None:
    """Each tensor's dtype, shape and offsets agree, and together they fill the file exactly."""
    position = 0
    try:
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        for name, entry in entries:
            begin, end = entry["data_offsets"]
            item = _ITEM_BYTES.get(entry["dtype"])
            if item is None:
                _damaged(file, f"tensor {name!r} has the unknown dtype {entry['dtype']!r}")
            if begin != position or end - begin != item * math.prod(entry["shape"]):
                _damaged(file, f"the place of tensor {name!r} does not agree with its shape {entry['shape']}")
            position = end
    except (KeyError, TypeError, ValueError) as error:
        _damaged(file, f"its header does not describe tensors ({error!r})")
    if data_bytes != position:
        state = "cut off" if data_bytes < position else "too long"
        _damaged(file, f"it is {state}: {data_bytes:,} bytes of tensors where its header says {position:,}")


def _check_values(file: Path, name: str, dtype: str, content: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Refuse NaN, infinite and absurdly large numbers.

    Without their sign bit, the bits of IEEE floats order as integers do, with infinity and NaN above all numbers, so
    that one integer maximum finds them all without converting.
    """
    integer, mask, largest = _BITS[dtype]
    width = np.dtype(integer).itemsize
    for begin in range(0, content.size, _CHUNK * width):
        # frombuffer on a copy of the chunk: tensors need not be aligned in the file.
        bits = np.frombuffer(content[begin : begin + _CHUNK * width].tobytes(), dtype=integer) & integer(mask)
        if bits.max() > largest:
            index = begin // width + int(np.argmax(bits > largest))
            _damaged(
                file,
                f"tensor {name!r} holds NaN, an infinite number or one above {LARGEST_WEIGHT:.0e} at element {index:,}",
            )


def _check_pickle(file: Path) -> None:
    """Refuse a pickle that holds more than tensors, and bad values; read with `weights_only`, so no code runs."""
    import pickle

    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The weights in {file} are a pickle that holds more than tensors, or a damaged one: loading it could run "
            "code, so it is refused.",
            remedy="Use a copy of the model with model.safetensors, or download it again.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        _damaged(file, f"it cannot be read ({reason_of(error)})")
    for name, tensor in _tensors(state):
        if not tensor.is_floating_point() or "mask" in name or not tensor.numel():
            continue
        if not bool(torch.isfinite(tensor).all()) or float(tensor.abs().max()) > LARGEST_WEIGHT:
            _damaged(file, f"tensor {name!r} holds NaN, an infinite number or one above {LARGEST_WEIGHT:.0e}")


def _tensors(state: Any) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(state, dict):
        yield from ((str(name), value) for name, value in state.items() if isinstance(value, torch.Tensor))
