"""Batches: every row once an epoch, in an order that seed and epoch fix, with little padding, within the budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.batching import (
    PIECE_OVERHEAD,
    POOL_BATCHES,
    WEIGHED_ROWS,
    cut_by_budget,
    piece_overhead,
    plan_epoch,
    steps_per_epoch,
)

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


def padded(pieces: list[np.ndarray], lengths: np.ndarray) -> int:
    """Tokens with padding."""
    return sum(len(piece) * int(lengths[piece].max()) for piece in pieces)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 500), st.integers(0, 300))
def test_pieces_stay_within_the_budget(lengths: np.ndarray, budget: int, overhead: int) -> None:
    rows = np.arange(len(lengths))

    pieces = cut_by_budget(rows, lengths, budget, overhead)

    assert sorted(int(row) for piece in pieces for row in piece) == list(rows)
    for piece in pieces:
        assert len(piece) * int(lengths[piece].max()) <= budget or len(piece) == 1
    longest = [int(lengths[piece].max()) for piece in pieces]
    assert longest == sorted(longest, reverse=True)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(np.array), st.integers(1, 150), st.sampled_from([0, 7, 90])
)
def test_no_other_cut_costs_less(lengths: np.ndarray, budget: int, overhead: int) -> None:
    """Against every way to cut the sorted rows."""
    ordered = np.argsort(-lengths, kind="stable")

    def cost(pieces: list[np.ndarray]) -> int:
        return padded(pieces, lengths) + overhead * len(pieces)

    costs = []
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        pieces = np.split(ordered, np.flatnonzero(cuts) + 1)
        if all(len(piece) == 1 or len(piece) * lengths[piece[0]] <= budget for piece in pieces):
            costs.append(cost(pieces))

    assert cost(cut_by_budget(np.arange(len(lengths)), lengths, budget, overhead)) == min(costs)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 50), st.integers(2, 8))
def test_a_smaller_budget_never_costs_less(lengths: np.ndarray, budget: int, times: int) -> None:
    rows = np.arange(len(lengths))

    def cost(budget: int) -> int:
        pieces = cut_by_budget(rows, lengths, budget, 20)
        return padded(pieces, lengths) + 20 * len(pieces)

    assert cost(budget) >= cost(budget * times)


def test_rows_of_equal_length_are_cut_by_the_budget_alone() -> None:
    for overhead in (0, 96):
        pieces = cut_by_budget(np.arange(10), np.full(10, 5), 20, overhead)
        assert sorted(map(len, pieces)) == [2, 4, 4]


def test_a_very_long_row_goes_alone() -> None:
    lengths = np.array([*[20] * 31, 500])

    assert [len(piece) for piece in cut_by_budget(np.arange(32), lengths, 100_000, 96)] == [1, 31]
    # Where a piece costs more than the padding saves, the rows stay together.
    assert [len(piece) for piece in cut_by_budget(np.arange(32), lengths, 100_000, 20_000)] == [32]


def test_many_rows_fill_every_piece() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, WEIGHED_ROWS + 1)

    pieces = cut_by_budget(np.arange(len(lengths)), lengths, 200)

    assert sorted(int(row) for piece in pieces for row in piece) == list(range(len(lengths)))
    assert all(len(piece) * lengths[piece].max() <= 200 for piece in pieces)
    # No piece could have taken the next row too.
    assert all((len(piece) + 1) * lengths[piece].max() > 200 for piece in pieces[:-1])


def test_a_piece_costs_more_on_a_gpu() -> None:
    assert piece_overhead("cpu") == PIECE_OVERHEAD["cpu"] < piece_overhead("cuda") == piece_overhead("mps")


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
    return 1 - int(lengths.sum()) / padded(batches, lengths)


@pytest.mark.parametrize(("rows", "share"), [(1000, 0.06), (5000, 0.03)])
def test_little_padding_on_a_skewed_distribution(rows: int, share: float) -> None:
    """Log-normal lengths, as texts have them: batches drawn blindly would be padding for the most part.

    A thousand rows make one batch in which the lengths go from 100 to 512, whatever the pool.
    """
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(3, 0.8, rows), 3, 512).astype(np.int64)
    blind = np.array_split(draw.permutation(rows), rows // 32)
    batches = [batch for step in plan_epoch(lengths, batch_size=32, seed=0, epoch=0) for batch in step]

    assert padding_share(lengths, blind) > 0.5
    assert padding_share(lengths, batches) < 0.15
    pieces = [piece for batch in batches for piece in cut_by_budget(batch, lengths, 8192)]
    assert padding_share(lengths, pieces) < share
    assert len(pieces) < 1.2 * len(batches)


def test_little_padding_on_heavy_tails() -> None:
    """Power-law lengths cut at 512 tokens; without the pieces, 6 % of the tokens would be padding."""
    lengths = np.clip(np.random.default_rng(1).pareto(1.2, 7000) * 12 + 4, 4, 512).astype(np.int64)
    batches = [batch for step in plan_epoch(lengths, batch_size=32, seed=0, epoch=0) for batch in step]
    pieces = [piece for batch in batches for piece in cut_by_budget(batch, lengths, 8192)]

    assert padding_share(lengths, batches) > 0.05
    assert padding_share(lengths, pieces) < 0.03


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulation", "expected"),
    [(1, 32, 1, 1), (32, 32, 1, 1), (33, 32, 1, 2), (64, 32, 2, 1), (65, 32, 2, 2), (300, 8, 2, 19), (210, 8, 2, 14)],
)
def test_steps_of_an_epoch(rows: int, batch_size: int, accumulation: int, expected: int) -> None:
    assert steps_per_epoch(rows, batch_size, accumulation) == expected


def test_rows_beyond_one_pool_are_all_there() -> None:
    rows = 4 * POOL_BATCHES * 3 + 1

    assert sorted(flat(plan_epoch(np.ones(rows, dtype=int), batch_size=4, seed=0, epoch=0))) == list(range(rows))
