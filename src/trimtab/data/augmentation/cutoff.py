"""Token cutoff: tokens cut out of encoded rows (Shen et al. 2020, arXiv 2009.13818).

The paper zeroes the embeddings of the tokens and masks them; here they leave the row, so that the tokens after them
move up and the batch gets shorter. Its consistency loss between several views of a row is not part of this.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from trimtab.core.seeds import stream
from trimtab.data.augmentation.edits import count_of


def cut_row(
    ids: np.ndarray, special: np.ndarray, rate: float, kind: Literal["span", "tokens"], rng: np.random.Generator
) -> np.ndarray:
    """Which tokens of a row stay, `[tokens]` of bool.

    Each stretch of tokens between special ones (each text of a pair) loses `rate` of its tokens, at least one; one
    token of each stretch always stays, and special tokens do.

    Args:
        ids: token ids of one row, `[tokens]`.
        special: ids that are never cut, sorted, `[n]`.
        rate: share of a stretch to cut.
        kind: `span` cuts neighbours, `tokens` single ones.
        rng: where the choices come from.
    """
    stays = np.ones(len(ids), dtype=bool)
    content = np.flatnonzero(~np.isin(ids, special))
    for stretch in np.split(content, np.flatnonzero(np.diff(content) > 1) + 1):
        count = min(len(stretch) - 1, count_of(len(stretch), rate, rng))
        if count < 1:
            continue
        if kind == "span":
            start = int(rng.integers(len(stretch) - count + 1))
            stays[stretch[start : start + count]] = False
        else:
            stays[rng.choice(stretch, size=count, replace=False)] = False
    return stays


def cut_rows(
    ids: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    special: np.ndarray,
    rate: float,
    kind: Literal["span", "tokens"],
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Which tokens of many rows, end to end, stay: `[tokens]` of bool.

    Args:
        ids: token ids of all rows end to end, `[tokens]`.
        offsets: where each row starts, `[rows + 1]`.
        rows: the rows to cut.
        special: ids that are never cut.
        rate: share of a text's tokens to cut.
        kind: `span` or `tokens`.
        seed: the run's seed.
        epoch: number of the epoch, from 0.
    """
    stays = np.ones(len(ids), dtype=bool)
    for row in rows.tolist():
        part = slice(int(offsets[row]), int(offsets[row + 1]))
        stays[part] = cut_row(ids[part], special, rate, kind, stream(seed, "augmentation", "cutoff", epoch, row))
    return stays
