"""Training rows that no longer take part, taken out of an epoch's steps without moving the steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def without_rows(steps: list[list[np.ndarray]], left_out: Sequence[int]) -> list[list[np.ndarray]]:
    """The steps of an epoch without certain rows; there are as many steps as before, and none is empty.

    A step that would lose all its rows takes those of the next step that has some: positions in the epoch, and with
    them the learning-rate schedule, stay as they are.

    Args:
        steps: from `plan_epoch`.
        left_out: row indices.

    Raises:
        ValueError: no row would be left.
    """
    if not left_out:
        return steps
    gone = np.asarray(sorted(left_out))
    kept = [[rows for batch in step if len(rows := batch[~np.isin(batch, gone)])] for step in steps]
    if not any(kept):
        raise ValueError("all training rows are left out")
    filled = list(kept)
    following: list[np.ndarray] = next(step for step in kept if step)
    for index in range(len(kept) - 1, -1, -1):
        following = filled[index] = kept[index] or following
    return filled
