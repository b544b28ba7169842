"""Batches made ahead: the same in the same order, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from trimtab.data.batching import Batch
from trimtab.data.prefetch import AHEAD, TRIAL_STEPS, Prefetch, WaitingWatch, prefetch

PIECES = [np.array([index, index + 1]) for index in range(8)]


class Maker:
    """Collates, and notes what and in which thread."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.fails_at = fails_at
        self.factor = 1
        self.running = 0

    def collate(self, rows: np.ndarray) -> Batch:
        self.running += 1
        assert self.running == 1, "two at a time"
        first = int(rows[0])
        self.made.append(first)
        self.threads.add(threading.current_thread().name.split("_")[0])
        self.running -= 1
        if first == self.fails_at:
            raise ValueError(f"row {first}")
        return Batch({"rows": torch.from_numpy(rows * self.factor)}, None, len(rows), len(rows))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("trimtab-prefetch")]


def firsts(batches: Iterator[Batch]) -> list[int]:
    return [int(batch.inputs["rows"][0]) for batch in batches]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


@pytest.mark.parametrize("ahead", [0, 1, 2, 20])
def test_the_same_batches_in_the_same_order(ahead: int) -> None:
    maker = Maker()
    assert firsts(prefetch(maker.collate, PIECES, ahead=ahead)) == list(range(8))
    assert maker.made == list(range(8))
    assert maker.threads == ({"trimtab-prefetch"} if ahead else {threading.current_thread().name.split("_")[0]})


def test_the_next_steps_pieces_are_made_while_this_one_is_used() -> None:
    maker = Maker()
    with Prefetch(ahead=2) as feed:
        assert firsts(feed.batches(maker.collate, PIECES[:2], iter(PIECES[2:]))) == [0, 1]
        feed._executor.submit(lambda: None).result()  # the thread has done what it was given
        assert maker.made == [0, 1, 2, 3]
        assert firsts(feed.batches(maker.collate, PIECES[2:5], PIECES[5:])) == [2, 3, 4]
    assert sorted(maker.made) == sorted(set(maker.made))


def test_what_is_not_asked_for_is_thrown_away() -> None:
    maker = Maker()
    with Prefetch(ahead=2) as feed:
        firsts(feed.batches(maker.collate, PIECES[:1], PIECES[1:]))
        halves = [np.array([10]), np.array([11])]
        assert firsts(feed.batches(maker.collate, halves, PIECES[1:])) == [10, 11]
        other = Maker()
        assert firsts(feed.batches(other.collate, PIECES[1:3])) == [1, 2]
        assert other.made == [1, 2]


def test_what_follows_may_change_its_mind() -> None:
    maker = Maker()
    with Prefetch(ahead=3) as feed:
        firsts(feed.batches(maker.collate, PIECES[:1], [PIECES[1], PIECES[2], PIECES[3]]))
        assert firsts(feed.batches(maker.collate, [PIECES[1]], [PIECES[5], PIECES[6]])) == [1]
        assert firsts(feed.batches(maker.collate, PIECES[5:7])) == [5, 6]


def test_after_a_reset_batches_are_made_anew() -> None:
    maker = Maker()
    with Prefetch(ahead=2) as feed:
        list(feed.batches(maker.collate, PIECES[:1], PIECES[1:]))
        maker.factor = 100
        feed.reset()
        assert firsts(feed.batches(maker.collate, PIECES[1:3])) == [100, 200]


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_comes_with_its_own_batch(ahead: int) -> None:
    maker = Maker(fails_at=3)
    seen = []
    with pytest.raises(ValueError, match="row 3"):
        for batch in prefetch(maker.collate, PIECES, ahead=ahead):
            seen.append(int(batch.inputs["rows"][0]))
    assert seen == [0, 1, 2]


def test_it_goes_on_after_an_error_and_after_closing() -> None:
    maker = Maker(fails_at=1)
    with Prefetch(ahead=2) as feed:
        with pytest.raises(ValueError, match="row 1"):
            list(feed.batches(maker.collate, PIECES))
        assert firsts(feed.batches(maker.collate, PIECES[2:4])) == [2, 3]
        feed.close()
        assert threads() == []
        assert firsts(feed.batches(maker.collate, PIECES[4:6])) == [4, 5]


def test_leaving_early_ends_the_thread() -> None:
    made = prefetch(Maker().collate, PIECES)
    next(made)
    assert threads()
    made.close()


def test_waiting_is_counted_once() -> None:
    feed = Prefetch()
    list(feed.batches(Maker().collate, PIECES))
    assert feed.take_waited() > 0
    assert feed.take_waited() == 0


def test_batches_are_moved_to_the_device() -> None:
    (batch,) = Prefetch(device="meta").batches(Maker().collate, PIECES[:1])
    assert batch.inputs["rows"].device.type == "meta"


@pytest.mark.parametrize(("waited", "ahead"), [(0.06, AHEAD), (0.04, 0)])
def test_a_cpu_decides_once_from_its_first_steps(waited: float, ahead: int) -> None:
    feed = Prefetch()
    watch = WaitingWatch(feed, "cpu")
    for _ in range(TRIAL_STEPS - 1):
        watch.note(1.0, waited)
    assert feed.ahead == 0 and not watch.settled
    for _ in range(TRIAL_STEPS):
        watch.note(1.0, waited)
        watch.note(1.0, 0.05)
    assert feed.ahead == ahead and watch.settled


def test_an_accelerator_always_makes_them_ahead() -> None:
    feed = Prefetch()
    assert WaitingWatch(feed, "cuda").settled
    assert feed.ahead == AHEAD and feed.pin
    other = Prefetch()
    WaitingWatch(other, "mps")
    assert other.ahead == AHEAD and not other.pin
