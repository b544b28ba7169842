from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.core.errors import RunError
from trimtab.core.events import EventLog, read_events
from trimtab.core.files import disk_error, jsonable, sha256_of, write_atomic, write_json

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_write_atomic_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "first, and long")
    write_atomic(path, "标签".encode())
    assert path.read_text(encoding="utf-8") == "标签"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_write_atomic_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device") as caught:
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert "Free some space" in caught.value.remedy


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOENT, "Make the folder first"),
        (errno.ENOTDIR, "is a file"),
        (errno.EISDIR, "A directory has this name"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "Nothing can be written to this disk"),
        (errno.ENOSPC, "trimtab resume"),
    ],
)
def test_the_remedy_fits_the_reason(number: int, remedy: str) -> None:
    error = disk_error(Path("x/y"), OSError(number, os.strerror(number)))
    assert error.message == f"Cannot write x/y: {os.strerror(number)}."
    assert remedy in error.remedy
    assert error.exit_code == 2


def test_the_words_of_safetensors_for_a_full_disk() -> None:
    wrapped = OSError(None, "Error while serializing: I/O error: No space left on device (os error 28)")
    error = disk_error(Path("x"), wrapped)
    assert error.message == "Cannot write x: No space left on device."
    assert "Free some space" in error.remedy


def test_jsonable_and_write_json(tmp_path: Path) -> None:
    value = {1: np.float32(0.5), "a": (np.int64(2), float("nan")), "b": np.arange(3), "p": Path("x"), "s": {"one"}}
    plain = {"1": 0.5, "a": [2, None], "b": [0, 1, 2], "p": "x", "s": ["one"]}
    assert jsonable(value) == plain
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text()) == plain


def test_sha256_of(tmp_path: Path) -> None:
    content = b"x" * (3 << 20)
    (tmp_path / "f").write_bytes(content)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_every_event_has_type_time_and_step(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    log = EventLog(tmp_path / "events.jsonl")
    log.listen(heard.append)
    log.write("step", 3, loss=np.float32(0.5), name="标签", odd=float("inf"))
    log.write("end", 4)
    events = list(read_events(tmp_path / "events.jsonl"))
    assert events == heard
    assert [(event["type"], event["step"]) for event in events] == [("step", 3), ("end", 4)]
    assert all(event["time"] > 1.6e9 for event in events)
    assert (events[0]["loss"], events[0]["name"], events[0]["odd"]) == (0.5, "标签", None)


def test_a_torn_line_is_passed_over_and_the_next_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).write("step", 1)
    with open(path, "ab") as file:
        file.write(b'{"type": "step", "ti')
    assert [event["step"] for event in read_events(path)] == [1]
    EventLog(path).write("step", 2)
    assert [event["step"] for event in read_events(path)] == [1, 2]
    assert list(read_events(tmp_path / "none")) == []


@needs_full
def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    log = EventLog(None)
    log.path = FULL
    with pytest.raises(RunError, match="No space left on device"):
        log.write("step", 1)


def test_a_line_that_fits_only_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    log = EventLog(tmp_path / "events.jsonl")
    log.listen(heard.append)

    class Short:
        def __enter__(self) -> Short:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, line: bytes) -> int:
            return len(line) - 1

    monkeypatch.setattr("builtins.open", lambda *_, **__: Short())
    with pytest.raises(RunError, match="No space left on device"):
        log.write("step", 1)
    assert heard == []


def test_without_a_path_events_reach_the_listeners_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    heard: list[Any] = []
    log = EventLog(None)
    log.listen(heard.append)
    assert log.write("phase", 0, phase="data") == heard[0]
    assert list(tmp_path.iterdir()) == []
