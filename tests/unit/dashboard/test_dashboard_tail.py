"""The reader of growing files of events: each line once, whatever happens to the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dashboard_runs import append, step_event

from trimtab.dashboard.reading import tail as tail_module
from trimtab.dashboard.reading.tail import Tail, parse_lines


def steps_of(batch) -> list[int]:
    return [event["step"] for event in batch.events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_lines_come_once_and_bytes_are_read_once(path: Path) -> None:
    append(path, step_event(1), step_event(2))
    tail = Tail(path)
    assert steps_of(tail.poll()) == [1, 2]
    assert tail.offset == path.stat().st_size
    assert steps_of(tail.poll()) == []
    append(path, step_event(3))
    assert steps_of(tail.poll()) == [3]
    assert tail.offset == path.stat().st_size


def test_half_written_last_line_waits_for_its_end(path: Path) -> None:
    line = json.dumps(step_event(1))
    path.write_text(line[:20])
    tail = Tail(path)
    assert tail.poll().events == []
    with open(path, "a") as file:
        file.write(line[20:])
    assert tail.poll().events == []
    with open(path, "a") as file:
        file.write("\n")
    assert steps_of(tail.poll()) == [1]


def test_line_torn_by_a_kill_is_passed_over_when_the_resumed_run_ends_it(path: Path) -> None:
    path.write_text('{"type": "step", "step": 7, "lo')
    tail = Tail(path)
    tail.poll()
    with open(path, "a") as file:
        file.write("\n")
    append(path, step_event(8))
    assert steps_of(tail.poll()) == [8]


def test_a_character_cut_in_two_by_a_chunk_is_read_whole(path: Path) -> None:
    path.write_text(json.dumps({"step": 1, "name": "标签" * 50}, ensure_ascii=False) + "\n", encoding="utf-8")
    tail = Tail(path, chunk_bytes=7)
    events = []
    while (batch := tail.poll()).more or batch.events:
        events += batch.events
    assert events == [{"step": 1, "name": "标签" * 50}]


@pytest.mark.parametrize("fast", [True, False])
def test_damaged_lines_and_what_is_no_object_are_passed_over(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(tail_module, "_fast_loads", json.loads)
    lines = b"\n".join(
        [
            b"",
            b"[1, 2]",
            b'"text"',
            b"null",
            b"3",
            b"{",
            b'{"step": 1} {"step": 2}',
            b'{"step": 3}\x00',
            b'{"a": "\xff\xfe"}',
            b'{"loss": NaN, "grad_norm": -Infinity, "x": 1e999}',
            b'{"half": "\\ud800"}',
            b"[" * 100_000,
            b'{"big": 1' + b"0" * 5000 + b"}",
            b"  {}\r",
        ]
    )
    events = parse_lines(lines)
    assert events[0] == {"a": "��"}
    assert str(events[1]) == "{'loss': nan, 'grad_norm': -inf, 'x': inf}"
    assert events[2] == {"half": "\ud800"}
    assert events[-1] == {}
    assert len(events) in (4, 5)  # a number of 5,000 digits may be read or not


def test_shrunk_file_is_read_anew(path: Path) -> None:
    append(path, *(step_event(step) for step in range(1, 6)))
    tail = Tail(path)
    tail.poll()
    path.write_text(json.dumps(step_event(1, loss=9.0)) + "\n")
    batch = tail.poll()
    assert batch.replaced
    assert [event["loss"] for event in batch.events] == [9.0]


def test_replaced_file_is_read_anew_even_if_it_is_longer(path: Path) -> None:
    append(path, step_event(1))
    tail = Tail(path)
    tail.poll()
    other = path.with_name("other")
    append(other, *(step_event(step) for step in range(1, 9)))
    other.replace(path)
    batch = tail.poll()
    assert batch.replaced
    assert steps_of(batch) == list(range(1, 9))


def test_file_written_anew_in_its_place_is_noticed_by_its_content(path: Path) -> None:
    append(path, step_event(1))
    tail = Tail(path)
    tail.poll()
    content = "".join(json.dumps(step_event(step, loss=3.0)) + "\n" for step in (11, 12, 13))
    path.write_text(content)  # the same inode, and more bytes
    batch = tail.poll()
    assert batch.replaced
    assert steps_of(batch) == [11, 12, 13]


def test_deleted_file_is_told_and_its_successor_read(path: Path) -> None:
    tail = Tail(path)
    assert tail.poll().gone
    append(path, step_event(1))
    assert not tail.poll().replaced
    path.unlink()
    assert tail.poll().gone
    append(path, step_event(4))
    batch = tail.poll()
    assert (batch.gone, steps_of(batch)) == (False, [4])


def test_line_that_is_too_long_is_passed_over_without_being_kept(path: Path) -> None:
    path.write_text("x" * 5000)
    tail = Tail(path, chunk_bytes=500, most_line_bytes=1000)
    while tail.poll().more:
        pass
    assert len(tail._partial) <= 1500
    with open(path, "a") as file:
        file.write("y" * 100 + "\n")
    append(path, step_event(2))
    assert steps_of(tail.poll()) == [2]


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="no such flag here")
def test_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    append(tmp_path / "elsewhere.jsonl", step_event(1))
    path.symlink_to(tmp_path / "elsewhere.jsonl")
    assert Tail(path).poll().gone


def test_pipe_and_folder_in_place_of_the_file_do_not_hang(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert Tail(tmp_path / "folder").poll().gone
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert Tail(tmp_path / "pipe").poll().events == []
