"""Requests to a run: how they are left, in which order they are taken, and who is refused at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.control import (
    COMMANDS,
    answer_to,
    ask,
    clear_requests,
    fault_of,
    refuse_unless_training,
    send,
    take_requests,
)
from trimtab.core.errors import RunError
from trimtab.core.events import EventLog
from trimtab.core.heartbeat import Heartbeat
from trimtab.core.runs import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run that goes on in this process."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.recipe.write_text("seed: 0\n")
    with Heartbeat(run.heartbeat, seconds=3600) as heart:
        heart.hear({"type": "step", "step": 3})
        yield run


def answering(run: RunDirectory, **fields: Any) -> threading.Thread:
    """A thread that answers the next request as a run does."""

    def answer() -> None:
        log = EventLog(run.events)
        while not (taken := take_requests(run)):
            pass
        log.write("step", 4)
        log.write("control", 4, id=taken[0].id, command=taken[0].command, **fields)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_requests_are_taken_once_and_in_their_order(run: RunDirectory) -> None:
    sent = [
        send(run, "pause", "cli"),
        send(run, "learning_rate", "python", factor=0.5, other=None),
        send(run, "resume", "x"),
    ]

    taken = take_requests(run)

    assert [request.id for request in taken] == sent
    assert [(request.command, request.by, request.fields) for request in taken] == [
        ("pause", "cli", {}), ("learning_rate", "python", {"factor": 0.5}), ("resume", "x", {}),
    ]  # fmt: skip
    assert take_requests(run) == [] and list(run.control.iterdir()) == []


def test_what_was_left_is_removed_unread(run: RunDirectory) -> None:
    send(run, "stop", "cli")
    (run.control / ".half.json.1.tmp").write_text("{")
    clear_requests(run)
    clear_requests(run)
    assert take_requests(run) == [] and not run.control.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "cannot be read"), ("{", "cannot be read"), ("[1]", "no JSON object"), ("\x00\x01", "cannot be read"),
     ('{"command": 3}', "no command '3'"), ('{"command": "learning_rate", "factor": NaN}', "needs a factor"),
     ('{"command": "learning_rate", "factor": true}', "needs a factor"),
     ('{"command": "remedy", "finding": ["x"]}', "name of a finding")],
)  # fmt: skip
def test_damaged_requests_are_taken_with_their_fault(run: RunDirectory, text: str, words: str) -> None:
    run.control.mkdir()
    (run.control / "1-a.json").write_text(text)
    (run.control / ".2-b.json.77.tmp").write_text('{"command": "stop"}')

    (request,) = take_requests(run)

    assert request.id == "1-a" and words in request.fault
    assert [path.name for path in run.control.iterdir()] == [".2-b.json.77.tmp"]


def test_faults_of_commands() -> None:
    good = {"learning_rate": {"factor": 2}, "remedy": {"finding": "overfitting"}}
    assert all(not fault_of(name, good.get(name, {})) for name in COMMANDS)
    assert not fault_of("remedy", {"finding": "overfitting", "remedy": "stop_early"})
    for factor in (0, -1, 1e9, float("nan"), float("inf"), "2", None, True):
        assert "factor" in fault_of("learning_rate", {"factor": factor})
    assert "Did you mean 'checkpoint'" in fault_of("checkpint", {})
    assert "takes no 'now'" in fault_of("stop", {"now": True})


def test_a_faulty_request_is_not_sent(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="learning_rate needs a factor"):
        send(run, "learning_rate", "cli", factor=-1)
    with pytest.raises(RunError, match="no command") as caught:
        send(run, "explode", "cli")
    assert "checkpoint" in caught.value.remedy
    assert not run.control.exists()


@pytest.mark.parametrize(
    ("beat", "words"),
    [
        ({"state": "stopped"}, "was stopped"),
        ({"state": "failed"}, "has failed"),
        ({"state": "running", "pid": 1 << 40}, "its process is gone"),
        ({"state": "finishing"}, "has taken its last step"),
        (None, "has no heartbeat"),
        ("finished", "is finished"),
    ],
)
def test_a_run_that_does_not_go_on_is_asked_nothing(run: RunDirectory, beat: Any, words: str) -> None:
    if beat == "finished":
        run.evaluation.write_text("{}")
    elif beat is None:
        run.heartbeat.unlink()
    else:
        run.heartbeat.write_text(json.dumps({**json.loads(run.heartbeat.read_text()), **beat}))
    with pytest.raises(RunError, match=words) as caught:
        send(run, "pause", "cli")
    assert caught.value.remedy
    assert not run.control.exists()


def test_the_answer_is_waited_for(run: RunDirectory) -> None:
    EventLog(run.events).write("control", 1, id="older", command="pause", accepted=False, reason="no")
    thread = answering(run, accepted=True, reason="it waits")
    event = ask(run, "pause", "cli", wait=60)
    thread.join()
    assert (event["step"], event["accepted"], event["reason"]) == (4, True, "it waits")


def test_a_refusal_is_an_error_with_the_reason(run: RunDirectory) -> None:
    thread = answering(run, accepted=False, reason="it is paused already")
    with pytest.raises(RunError, match="refused 'pause': it is paused already"):
        ask(run, "pause", "cli", wait=60)
    thread.join()


def test_no_answer_in_time_is_told_as_such(run: RunDirectory) -> None:
    event = ask(run, "pause", "cli", wait=0)
    assert event["accepted"] is None and "running" in event["reason"]
    assert len(take_requests(run)) == 1


def test_a_run_that_ends_meanwhile_is_not_waited_for(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.core.control.is_going_on", lambda path: False)
    with pytest.raises(RunError, match="ended before it came to 'pause'"):
        ask(run, "pause", "cli", wait=3600)


def test_a_torn_line_is_read_when_it_is_whole(run: RunDirectory) -> None:
    line = json.dumps({"type": "control", "id": "7", "accepted": True}) + "\n"
    run.events.write_text(line[:20])
    assert answer_to(run, "7", 0, 0) is None
    run.events.write_text(line)
    assert answer_to(run, "7", 0, 0) == {"type": "control", "id": "7", "accepted": True}


def test_a_folder_that_cannot_be_written_is_told(run: RunDirectory) -> None:
    run.control.write_text("a file")
    with pytest.raises(RunError, match="Cannot write"):
        send(run, "pause", "cli")
    assert take_requests(run) == []
    refuse_unless_training(run)
