"""Batches: every row once an epoch, in an order that seed and epoch fix, with little padding, within the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.batching import POOL_BATCHES, cut_by_budget, plan_epoch, steps_per_epoch

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=120).map(np.array)


def flat(plan: list[list[np.ndarray]]) -> list[int]:
    return [int(row) for step in plan for batch in step for row in batch]


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 5))
def test_every_row_once_an_epoch(
    lengths: np.ndarray, batch_size: int, accumulation: int, seed: int, epoch: int
) -> None:
    plan = plan_epoch(lengths, batch_size=batch_size, accumulation=accumulation, seed=seed, epoch=epoch)

    assert sorted(flat(plan)) == list(range(len(lengths)))
    assert len(plan) == steps_per_epoch(len(lengths), batch_size, accumulation)
    assert all(1 <= len(step) <= accumulation for step in plan)
    assert all(1 <= len(batch) <= batch_size for step in plan for batch in step)
    assert all(len(step) == accumulation for step in plan[:-1])


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 500))
def test_pieces_stay_within_the_budget(lengths: np.ndarray, budget: int) -> None:
    rows = np.arange(len(lengths))

    pieces = cut_by_budget(rows, lengths, budget)

    assert sorted(int(row) for piece in pieces for row in piece) == list(rows)
    for piece in pieces:
        padded = len(piece) * int(lengths[piece].max())
        assert padded <= budget or len(piece) == 1
    longest = [int(lengths[piece].max()) for piece in pieces]
    assert longest == sorted(longest, reverse=True)
    # No piece could have taken the next row too.
    for piece in pieces[:-1]:
        assert (len(piece) + 1) * int(lengths[piece].max()) > budget


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 50), st.integers(2, 8))
def test_a_smaller_budget_never_makes_fewer_pieces(lengths: np.ndarray, budget: int, times: int) -> None:
    rows = np.arange(len(lengths))

    assert len(cut_by_budget(rows, lengths, budget)) >= len(cut_by_budget(rows, lengths, budget * times))


def test_no_rows_give_no_pieces() -> None:
    assert cut_by_budget(np.array([], dtype=np.int64), np.array([3, 4]), 10) == []


def test_only_the_rows_given_are_cut() -> None:
    lengths = np.array([5, 1, 9, 3])

    pieces = cut_by_budget(np.array([0, 3]), lengths, 5)

    assert [piece.tolist() for piece in pieces] == [[0], [3]]


def test_same_seed_and_epoch_give_the_same_plan_and_others_another() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 500)

    def plan(seed: int, epoch: int) -> list[int]:
        return flat(plan_epoch(lengths, batch_size=8, seed=seed, epoch=epoch))

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1)
    assert plan(0, 0) != plan(1, 0)
    assert plan(0, 1) != plan(1, 0)


def test_the_order_of_the_file_leaves_no_trace() -> None:
    """Rows of equal length, sorted by class in the file, must not come in that order."""
    order = np.array(flat(plan_epoch(np.full(2000, 10), batch_size=20, seed=0, epoch=0)))

    assert abs(np.corrcoef(order, np.arange(2000))[0, 1]) < 0.1


def test_short_and_long_batches_are_mixed_over_the_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 3200)
    means = [lengths[step[0]].mean() for step in plan_epoch(lengths, batch_size=32, seed=0, epoch=0)]

    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - int(lengths.sum()) / padded


@pytest.mark.parametrize("rows", [1000, 5000])
def test_little_padding_on_a_skewed_distribution(rows: int) -> None:
    """Log-normal lengths, as texts have them: batches drawn blindly would be padding for the most part."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(3, 0.8, rows), 3, 512).astype(np.int64)
    blind = np.array_split(draw.permutation(rows), rows // 32)
    batches = [batch for step in plan_epoch(lengths, batch_size=32, seed=0, epoch=0) for batch in step]

    assert padding_share(lengths, blind) > 0.5
    assert padding_share(lengths, batches) < 0.15
    pieces = [piece for batch in batches for piece in cut_by_budget(batch, lengths, 2048)]
    assert padding_share(lengths, pieces) < 0.1


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulation", "expected"),
    [(1, 32, 1, 1), (32, 32, 1, 1), (33, 32, 1, 2), (64, 32, 2, 1), (65, 32, 2, 2), (300, 8, 2, 19), (210, 8, 2, 14)],
)
def test_steps_of_an_epoch(rows: int, batch_size: int, accumulation: int, expected: int) -> None:
    assert steps_per_epoch(rows, batch_size, accumulation) == expected


def test_rows_beyond_one_pool_are_all_there() -> None:
    rows = 4 * POOL_BATCHES * 3 + 1

    assert sorted(flat(plan_epoch(np.ones(rows, dtype=int), batch_size=4, seed=0, epoch=0))) == list(range(rows))
