"""What is noted of one model: plain arrays, so that no second model stays in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.metrics.similarity import Floats
from trimtab.models.language_heads import Kind


@dataclass(frozen=True)
class TextLosses:
    """The pretraining loss of each text.

    Args:
        kind: `masked` or `causal`.
        sums: summed over the predicted tokens, in nats, `[texts]`.
        tokens: predicted tokens, `[texts]`.
    """

    kind: Kind
    sums: Floats
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class ClassLosses:
    """How well images are told apart among the source classes.

    Args:
        losses: cross-entropy of each image in nats, `[images]`.
        right: whether the likeliest class is the true one, `[images]`.
    """

    losses: Floats
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class RetentionState:
    """One model on all rows of a probe.

    Args:
        blocks: representation of the general rows after each block, `[rows, features]`.
        similarities: cosine of every two general rows, `[rows (rows − 1) / 2]`.
        language: pretraining loss; None where the model has no language-model head.
        pairs: cosine of each scored pair, `[pairs]`; None without pairs.
        source: loss on the source classes; None without their images.
    """

    blocks: dict[str, Floats]
    similarities: Floats
    language: TextLosses | None = None
    pairs: Floats | None = None
    source: ClassLosses | None = None
