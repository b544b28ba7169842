"""Which steps hold after a run went back, tried something, and returned or not."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.core.way import Way


class Recorder:
    """Keeps a row a step: the step and the attempt in which it was taken."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.way = Way(self.take_out, self.put_back)

    def take_out(self, above: int) -> list[tuple[int, str]]:
        later = [row for row in self.rows if row[0] > above]
        self.rows = [row for row in self.rows if row[0] <= above]
        return later

    def put_back(self, rows: list[tuple[int, str]]) -> None:
        self.rows += rows

    def train(self, first: int, last: int, attempt: str) -> None:
        self.rows += [(step, attempt) for step in range(first, last + 1)]

    def tell(self, action: str, step: int, **fields: Any) -> None:
        self.way.follow({"type": "action", "action": action, "step": step, **fields})

    @property
    def stretches(self) -> list[tuple[int, int, str]]:
        """First and last step of each attempt that holds, in order."""
        assert [step for step, _ in self.rows] == list(range(1, len(self.rows) + 1))
        found: list[tuple[int, int, str]] = []
        for step, attempt in self.rows:
            if found and found[-1][2] == attempt:
                found[-1] = (found[-1][0], step, attempt)
            else:
                found.append((step, step, attempt))
        return found


@pytest.fixture
def recorder() -> Recorder:
    """A run of ten steps."""
    recorder = Recorder()
    recorder.train(1, 10, "first")
    return recorder


def test_what_an_undone_action_left_holds_again(recorder: Recorder) -> None:
    recorder.tell("autopilot", 10, back_to=4)
    recorder.train(5, 12, "tried")
    assert recorder.stretches == [(1, 4, "first"), (5, 12, "tried")]
    recorder.tell("autopilot_effect", 12, undone=True, back_to=10)
    assert recorder.stretches == [(1, 10, "first")]


def test_what_an_action_that_helped_left_is_gone(recorder: Recorder) -> None:
    recorder.tell("autopilot", 10, back_to=4)
    recorder.train(5, 12, "tried")
    recorder.tell("autopilot_effect", 12, undone=False, back_to=None)
    recorder.tell("autopilot", 12, back_to=None)
    recorder.train(13, 15, "again")
    recorder.tell("autopilot_effect", 15, undone=True, back_to=12)
    assert recorder.stretches == [(1, 4, "first"), (5, 12, "tried")]


def test_an_action_that_goes_on_is_cut_where_it_began(recorder: Recorder) -> None:
    recorder.tell("autopilot", 10, back_to=None)
    recorder.train(11, 14, "tried")
    recorder.tell("autopilot_effect", 14, undone=True, back_to=10)
    assert recorder.stretches == [(1, 10, "first")]


def test_a_second_action_on_trial_returns_to_before_the_first(recorder: Recorder) -> None:
    recorder.tell("autopilot", 10, back_to=None)
    recorder.train(11, 13, "tried")
    recorder.tell("autopilot", 13, back_to=6)
    recorder.train(7, 12, "tried twice")
    recorder.tell("autopilot", 12, back_to=3)
    recorder.train(4, 8, "tried thrice")
    recorder.tell("autopilot", 8, back_to=5)
    recorder.train(6, 9, "tried again")
    assert recorder.stretches == [(1, 3, "first"), (4, 5, "tried thrice"), (6, 9, "tried again")]
    recorder.tell("autopilot_effect", 9, undone=True, back_to=10)
    assert recorder.stretches == [(1, 10, "first")]


def test_a_resumed_run_takes_steps_again_and_may_still_return(recorder: Recorder) -> None:
    recorder.tell("autopilot", 10, back_to=4)
    recorder.train(5, 9, "tried")
    recorder.tell("resume", 6)
    recorder.train(7, 9, "resumed")
    assert recorder.stretches == [(1, 4, "first"), (5, 6, "tried"), (7, 9, "resumed")]
    recorder.tell("autopilot_effect", 9, undone=True, back_to=10)
    assert recorder.stretches == [(1, 10, "first")]


def test_a_person_sends_the_run_back(recorder: Recorder) -> None:
    recorder.way.follow({"type": "control", "command": "remedy", "step": 10, "back_to": 7})
    recorder.train(8, 9, "asked")
    assert recorder.stretches == [(1, 7, "first"), (8, 9, "asked")]


@pytest.mark.parametrize("value", [None, "4", 4.0, True, -1, [], float("nan")])
def test_nonsense_changes_nothing(recorder: Recorder, value: object) -> None:
    for action in ("resume", "autopilot", "stage", 3):
        recorder.way.follow({"type": "action", "action": action, "step": value, "back_to": value})
    recorder.way.follow({"action": "autopilot_effect", "undone": value, "back_to": value})
    assert recorder.stretches == [(1, 10, "first")]
