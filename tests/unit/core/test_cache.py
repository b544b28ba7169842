"""The cache on disk: keys by content, entries whole or absent, a budget, and no error that stops a run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from trimtab.core.cache import DiskCache, cache_folder, cached_json, clear, content_key, kinds, open_cache


def _write(text: str, size: int = 10) -> object:
    return lambda folder: (folder / "data").write_bytes((text * size)[:size].encode())


def test_keys_tell_contents_apart() -> None:
    keys = {
        content_key("ab", "c"),
        content_key("a", "bc"),
        content_key(b"ab"),
        content_key({"a": 1}),
        content_key(np.array([1, 2])),
        content_key(np.array([[1, 2]])),
        content_key(np.array([1, 2], dtype=np.int32)),
    }
    assert len(keys) == 7
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    cache = DiskCache("tokens", tmp_path, 1000)
    assert cache.get("key") is None
    made = cache.put("key", _write("x"))  # type: ignore[arg-type]
    assert made == cache.get("key")
    assert (tmp_path / "tokens" / "key" / "data").read_bytes() == b"x" * 10
    cache.discard("key")
    assert cache.get("key") is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = DiskCache("tokens", tmp_path, 25)
    for age, key in ((300, "old"), (200, "older-but-used")):
        entry = cache.put(key, _write("x"))  # type: ignore[arg-type]
        assert entry is not None
        os.utime(entry, (1_000_000 - age, 1_000_000 - age))
    os.utime(tmp_path / "tokens" / "older-but-used", (1_000_000, 1_000_000))
    cache.put("new", _write("x"))  # type: ignore[arg-type]
    assert {name for name, _, _ in cache.entries()} == {"older-but-used", "new"}


def test_an_entry_above_the_budget_is_not_kept(tmp_path: Path) -> None:
    cache = DiskCache("tokens", tmp_path, 25)
    cache.put("small", _write("x"))  # type: ignore[arg-type]
    assert cache.put("large", _write("x", 100)) is None  # type: ignore[arg-type]
    assert {name for name, _, _ in cache.entries()} == {"small"}
    assert not list((tmp_path / "tokens").glob(".*"))


def test_a_disk_that_does_not_take_it_stops_nothing(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    cache = DiskCache("tokens", tmp_path, 1000)
    assert cache.put("key", full) is None
    assert cache.entries() == [] and not list((tmp_path / "tokens").glob(".*"))

    (tmp_path / "a-file").write_text("")
    nowhere = DiskCache("tokens", tmp_path / "a-file", 1000)
    assert nowhere.put("key", _write("x")) is None  # type: ignore[arg-type]
    assert nowhere.get("key") is None and nowhere.entries() == []


def test_two_processes_may_make_the_same_entry(tmp_path: Path) -> None:
    cache = DiskCache("tokens", tmp_path, 1000)

    def other_comes_first(folder: Path) -> None:
        (folder / "data").write_bytes(b"mine")
        cache.put("key", _write("theirs", 6))  # type: ignore[arg-type]

    entry = cache.put("key", other_comes_first)
    assert entry is not None and (entry / "data").read_bytes() == b"theirs"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert cache_folder(str(tmp_path / "wanted")) == tmp_path / "wanted"
    monkeypatch.delenv("TRIMTAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "trimtab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "trimtab"


def test_json_is_made_once_and_both_ways_the_same(tmp_path: Path) -> None:
    cache, made = DiskCache("reports", tmp_path, 1000), []

    def make() -> dict[str, object]:
        made.append(1)
        return {"pairs": (1, 2), "share": 0.1}

    assert [cached_json(cache, "key", make) for _ in range(2)] == [{"pairs": [1, 2], "share": 0.1}] * 2
    assert len(made) == 1
    (tmp_path / "reports" / "key" / "value.json").write_text('{"pairs": [1,')
    assert cached_json(cache, "key", make)["share"] == 0.1
    assert cached_json(cache, "key", make)["share"] == 0.1
    assert len(made) == 2
    assert cached_json(None, "key", make)["pairs"] == [1, 2]
    assert len(made) == 3


def test_a_recipe_may_want_no_cache(tmp_path: Path) -> None:
    assert open_cache("tokens", enabled=False, folder=str(tmp_path), mib=1) is None
    cache = open_cache("tokens", enabled=True, folder=str(tmp_path), mib=2)
    assert cache is not None and (cache.path, cache.budget_bytes) == (tmp_path / "tokens", 2 << 20)


def test_kinds_are_those_that_a_cache_made(tmp_path: Path) -> None:
    assert kinds(tmp_path / "nowhere") == []
    DiskCache("tokens", tmp_path, 1000).put("key", _write("x"))  # type: ignore[arg-type]
    (tmp_path / "other").mkdir()
    (found,) = kinds(tmp_path)
    assert [name for name, _, _ in found.entries()] == ["key"]
    clear(found)
    assert not (tmp_path / "tokens").exists() and (tmp_path / "other").is_dir()
