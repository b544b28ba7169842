"""Damage to weight files, each kind of it, is named before anything is loaded."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trimtab.core.errors import ModelError
from trimtab.models.integrity import CHECKSUM_FILE, check_weights, write_checksums

TENSORS = {"a.weight": torch.linspace(-1, 1, 600).reshape(20, 30), "b.ids": torch.arange(5), "c": torch.ones(3).half()}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def edit_header(file: Path, change: dict[str, object], name: str = "a.weight") -> None:
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header[name].update(change)
    new = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])


def place_of(file: Path, name: str) -> int:
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return int(8 + size + json.loads(content[8 : 8 + size])[name]["data_offsets"][0])


def test_whole_file_passes(weights: Path) -> None:
    assert check_weights(weights.parent) == [weights]


@pytest.mark.parametrize("keep", [0, 5, 8, 60, -1, -2000])
def test_truncated(weights: Path, keep: int) -> None:
    content = weights.read_bytes()
    weights.write_bytes(content[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors are damaged: it.* (is cut off|header is no)") as caught:
        check_weights(weights.parent)
    assert "Download" in caught.value.remedy


def test_trailing_bytes(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(ModelError, match="too long"):
        check_weights(weights.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [20, 31]}, r"tensor 'a\.weight' does not agree with its shape \[20, 31\]"),
        ({"dtype": "F64"}, "does not agree with its shape"),
        ({"dtype": "F7"}, "unknown dtype 'F7'"),
        ({"data_offsets": [4, 2404]}, "does not agree"),
        ({"data_offsets": None}, "does not describe tensors"),
    ],
)
def test_header_that_does_not_agree(weights: Path, change: dict[str, object], words: str) -> None:
    edit_header(weights, change)
    with pytest.raises(ModelError, match=words):
        check_weights(weights.parent)


@pytest.mark.parametrize("element", [0, 299, 599])
def test_flipped_exponent_bit(weights: Path, element: int) -> None:
    content = bytearray(weights.read_bytes())
    content[place_of(weights, "a.weight") + 4 * element + 3] ^= 0x40
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=rf"tensor 'a\.weight' holds NaN.* at element {element}\b"):
        check_weights(weights.parent)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_in_every_float(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    tensor = torch.ones(700_000, dtype=dtype)  # more than one chunk
    tensor[-1] = value
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="at element 699,999"):
        check_weights(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_large_values(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"w": torch.tensor([-9e7], dtype=dtype)}, tmp_path / "model.safetensors")
    check_weights(tmp_path)
    save_file({"w": torch.tensor([-1.1e8], dtype=dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="above 1e"):
        check_weights(tmp_path)


def test_largest_half_and_masks_and_empty_tensors_pass(tmp_path: Path) -> None:
    tensors = {"w": torch.tensor([65504.0]).half(), "attn.masked_bias": torch.tensor(float("-inf")), "e": torch.ones(0)}
    save_file(tensors, tmp_path / "model.safetensors")
    check_weights(tmp_path)
    # The same values pass for those reasons alone: a tensor of another name is refused.
    save_file({"w": tensors["attn.masked_bias"]}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"infinite|NaN"):
        check_weights(tmp_path)


def test_checksums_find_a_flipped_low_bit(weights: Path) -> None:
    write_checksums(weights.parent)
    assert list(json.loads((weights.parent / CHECKSUM_FILE).read_text())) == ["model.safetensors"]
    check_weights(weights.parent)
    content = bytearray(weights.read_bytes())
    content[place_of(weights, "a.weight")] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 differs") as caught:
        check_weights(weights.parent)
    assert f"delete {CHECKSUM_FILE}" in caught.value.remedy


def test_sha256sums_file(weights: Path) -> None:
    (weights.parent / "SHA256SUMS").write_text(f"{'0' * 64} *model.safetensors\n{'1' * 64}  other.bin\n")
    with pytest.raises(ModelError, match="SHA256SUMS"):
        check_weights(weights.parent)


def test_damaged_checksum_file(weights: Path) -> None:
    (weights.parent / CHECKSUM_FILE).write_text("{")
    with pytest.raises(ModelError, match="no JSON"):
        check_weights(weights.parent)


def make_shards(directory: Path) -> None:
    names = {f"w{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    for tensor, file in names.items():
        save_file({tensor: torch.ones(2)}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def test_shards(tmp_path: Path) -> None:
    make_shards(tmp_path)
    assert [file.name[:11] for file in check_weights(tmp_path)] == ["model-00001", "model-00002"]
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="1 of them are missing: model-00002-of-00002"):
        check_weights(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {"w": "../model.safetensors"}}'])
def test_damaged_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json are damaged"):
        check_weights(tmp_path)


def test_no_weights_names_the_formats_found(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").write_bytes(b"")
    with pytest.raises(ModelError, match=r"holds no weights.*found only tf_model\.h5"):
        check_weights(tmp_path)


def test_plain_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "pytorch_model.bin")
    assert check_weights(tmp_path) == [tmp_path / "pytorch_model.bin"]
    torch.save({"w": torch.tensor([float("nan")])}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="NaN"):
        check_weights(tmp_path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"w": Trap(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="could run code"):
        check_weights(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_truncated_pickle(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3000)}, tmp_path / "pytorch_model.bin")
    content = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError):
        check_weights(tmp_path)


def test_unaligned_tensor_is_read(tmp_path: Path) -> None:
    """A float32 tensor behind three bytes of another: its values start at no multiple of 4."""
    values = np.array([1.0, np.nan], dtype=np.float32).tobytes()
    header = json.dumps(
        {
            "m": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
            "w": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"abc" + values)
    with pytest.raises(ModelError, match=r"'w' holds NaN.* at element 1"):
        check_weights(tmp_path)
