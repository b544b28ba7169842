"""Rows taken out of an epoch's steps, and the progress that remembers what was changed."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from trimtab.data.batching import plan_epoch
from trimtab.training.left_out import without_rows
from trimtab.training.records import Progress, Steered


def test_steps_keep_their_number_and_lose_the_rows() -> None:
    steps = plan_epoch(np.full(40, 5), batch_size=4, accumulation=2, seed=0, epoch=0)
    left = without_rows(steps, [0, 1, 2, 17])

    assert len(left) == len(steps)
    assert sorted(np.concatenate([batch for step in left for batch in step])) == sorted(set(range(40)) - {0, 1, 2, 17})
    for before, after in zip(steps, left, strict=True):
        assert set(np.concatenate(after)) <= set(np.concatenate(before))


def test_a_step_without_rows_takes_those_of_the_next() -> None:
    steps = [[np.array([0, 1])], [np.array([2, 3])], [np.array([4]), np.array([5])]]

    left = without_rows(steps, [2, 3, 4, 5])
    assert [np.concatenate(step).tolist() for step in left] == [[0, 1], [0, 1], [0, 1]]
    left = without_rows(steps, [0, 1, 5])
    assert [np.concatenate(step).tolist() for step in left] == [[2, 3], [2, 3], [4]]
    with pytest.raises(ValueError, match="all training rows"):
        without_rows(steps, range(6))


def test_without_rows_to_leave_out_nothing_is_copied() -> None:
    steps = [[np.array([0, 1])]]
    assert without_rows(steps, []) is steps


def test_progress_remembers_what_was_changed_and_reads_an_older_one() -> None:
    progress = Progress(step=4, steered=Steered(rate_scale=0.1, left_out=[3], frozen=["block 0"]), pilot={"a": [1]})
    values = json.loads(json.dumps(asdict(progress)))
    assert Progress.from_dict(values) == progress
    del values["steered"], values["pilot"]
    assert Progress.from_dict(values).steered == Steered()
