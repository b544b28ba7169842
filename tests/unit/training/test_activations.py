"""Activations on disk: found again bit for bit, in parts, by content; damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trimtab.core.cache import DiskCache, row_keys
from trimtab.training.activations import ActivationStore, Form

BY_TOKEN = Form(torch.bfloat16, (3,), per_token=True)


def _store(folder: Path, form: Form = BY_TOKEN, model: str = "m" * 32) -> ActivationStore:
    return ActivationStore(DiskCache("activations", folder, 1 << 20), model, form)


def _rows(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 3, generator=generator).bfloat16() for length in lengths]


def _write(store: ActivationStore, keys: np.ndarray, rows: list[torch.Tensor]) -> None:
    with store.writer(keys) as writer:
        writer.add(keys[:1], rows[:1])
        writer.add(keys[1:], rows[1:])
    store.refresh()


def test_rows_come_back_bit_for_bit_and_padded(tmp_path: Path) -> None:
    keys, rows = row_keys([b"a", b"b", b"c"]), _rows([2, 4, 1])
    _write(_store(tmp_path), keys, rows)
    located = _store(tmp_path).find(keys)
    assert not len(located.missing)
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0]], dtype=bool)
    batch = located.gather(np.array([1, 2, 0]), mask)
    assert batch.dtype == torch.bfloat16 and batch.shape == (3, 4, 3)
    assert torch.equal(batch[0], rows[1])
    assert torch.equal(batch[1, 3:], rows[2]) and not batch[1, :3].any()
    assert torch.equal(batch[2, :2], rows[0]) and not batch[2, 2:].any()


def test_rows_without_tokens(tmp_path: Path) -> None:
    form = Form(torch.float32, (2, 2, 2), per_token=False)
    keys, rows = row_keys([b"a", b"b"]), [torch.randn(1, 2, 2, 2), torch.randn(1, 2, 2, 2)]
    _write(_store(tmp_path, form), keys, rows)
    batch = _store(tmp_path, form).find(keys).gather(np.array([1, 0, 1]), None)
    assert torch.equal(batch, torch.cat([rows[1], rows[0], rows[1]]))


def test_parts_add_up_and_missing_rows_are_told(tmp_path: Path) -> None:
    store = _store(tmp_path)
    first, second = row_keys([b"a", b"b"]), row_keys([b"c"])
    _write(store, first, _rows([1, 2]))
    with store.writer(second) as writer:
        writer.add(second, _rows([3], seed=1))
    store.refresh()
    located = store.find(row_keys([b"c", b"unknown", b"a", b"a"]))
    assert located.missing.tolist() == [1]
    assert torch.equal(located.gather(np.array([0]), None), _rows([3], seed=1)[0])
    assert located.length.tolist() == [3, 0, 1, 1]


def test_keys_with_zero_bytes_are_told_apart(tmp_path: Path) -> None:
    keys = np.array([b"\0" * 15 + b"\1", b"\0" * 14 + b"\1\0", b"\1" + b"\0" * 15], dtype="S16")
    rows = _rows([1, 1, 1])
    _write(_store(tmp_path), keys, rows)
    located = _store(tmp_path).find(keys)
    assert torch.equal(located.gather(np.arange(3), None), torch.cat(rows))


def test_another_model_or_form_finds_nothing(tmp_path: Path) -> None:
    keys = row_keys([b"a"])
    with _store(tmp_path).writer(keys) as writer:
        writer.add(keys, _rows([1]))
    assert len(_store(tmp_path, model="n" * 32).find(keys).missing) == 1
    assert len(_store(tmp_path).find(keys).missing) == 0


@pytest.mark.parametrize("file", ["data.bin", "keys.npy", "lengths.npy", "form.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_is_noticed_and_removed(tmp_path: Path, file: str, damage: str) -> None:
    keys = row_keys([b"a", b"b"])
    _write(_store(tmp_path), keys, _rows([2, 3]))
    path = next((tmp_path / "activations").glob(f"*/{file}"))
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert len(_store(tmp_path).find(keys).missing) == 2
    assert not [path for path in (tmp_path / "activations").iterdir() if path.is_dir()]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store, keys = _store(tmp_path), row_keys([b"a", b"b"])
    with pytest.raises(RuntimeError, match="killed"), store.writer(keys) as writer:
        writer.add(keys[:1], _rows([1]))
        raise RuntimeError("killed")
    store.refresh()
    assert len(store.find(keys).missing) == 2
    assert not [path for path in (tmp_path / "activations").iterdir() if path.is_dir()]
