"""The precision of predictions: bfloat16 where it is native and gives the labels of float32, checked on a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trimtab.core.devices import computes_bf16
from trimtab.tasks.base import Examples
from trimtab.training.inference import SAFETY, Predictor

SAMPLE_ROWS = 64
# Below, the sample costs more than bfloat16 saves.
FEWEST_ROWS = 256
# Largest difference of a probability between the precisions.
LARGEST_DIFFERENCE = 0.02
# Rows nearer to a tie than this are computed again in float32, however small the differences on the sample.
SMALLEST_MARGIN = 0.02
# Where more of the sample than this is that near, computing these rows twice takes what bfloat16 saves.
MOST_NEAR_TIES = 0.3


@dataclass(frozen=True)
class Choice:
    """The precision of predictions.

    Args:
        precision: `fp32` or `bf16`.
        margin: of `Predictor`; 0 where no row is computed again.
        reason: why, in a few words.
    """

    precision: str
    margin: float
    reason: str

    def apply(self, predictor: Predictor) -> Predictor:
        """The predictor in this precision."""
        return replace(predictor, precision=self.precision, margin=self.margin)

    @property
    def note(self) -> str:
        """A sentence for the reader of the results; empty for float32."""
        return "" if self.precision == "fp32" else f"Probabilities were computed in bfloat16: {self.reason}."


def choose_precision(predictor: Predictor, examples: Examples, wanted: str) -> Choice:
    """The precision in which to predict.

    Args:
        predictor: the model; its own precision does not count.
        examples: the rows, or the first of many.
        wanted: `fp32`; `bf16`, for every row and unchecked; or `auto`, which takes bfloat16 where the device computes
            it natively, the rows are at least 256, and 64 of them, from the shortest to the longest, get the labels of
            float32 and probabilities within 0.02 of it.
    """
    if wanted != "auto":
        return Choice(wanted, 0.0, "as asked")
    if not computes_bf16(predictor.device):
        return Choice("fp32", 0.0, f"this {predictor.device.type} does not compute bfloat16 natively")
    if predictor.device.type == "cpu" and predictor.task.modality != "text":
        return Choice("fp32", 0.0, "on a processor, bfloat16 is taken for texts only")
    if len(examples) < FEWEST_ROWS:
        return Choice("fp32", 0.0, f"{len(examples):,} rows are too few for a check of bfloat16 to repay")
    return _compared(replace(predictor, margin=0.0, progress=None), examples)


def _compared(predictor: Predictor, examples: Examples) -> Choice:
    """Both precisions on a sample that is spread over the lengths."""
    by_length = np.argsort(examples.lengths, kind="stable")
    rows = by_length[np.unique(np.linspace(0, len(by_length) - 1, SAMPLE_ROWS).round().astype(int))]
    exact = replace(predictor, precision="fp32").predict_rows(examples, rows)
    rough = replace(predictor, precision="bf16").predict_rows(examples, rows)
    difference = float(np.abs(exact - rough).max())
    flipped = int((exact.argmax(axis=1) != rough.argmax(axis=1)).sum())
    if flipped or not difference < LARGEST_DIFFERENCE:
        return Choice(
            "fp32",
            0.0,
            f"bfloat16 changes {flipped} of {len(rows)} labels, and probabilities by up to {difference:.2g}",
        )
    margin = max(SMALLEST_MARGIN, SAFETY * difference)
    ordered = np.sort(rough, axis=1)
    near = float((ordered[:, -1] - ordered[:, -2] < margin).mean()) if rough.shape[1] > 1 else 0.0
    if near > MOST_NEAR_TIES:
        return Choice("fp32", 0.0, f"{near:.0%} of the rows are too near to a tie for bfloat16")
    return Choice(
        "bf16",
        margin,
        f"{len(rows)} rows had the labels of float32 and probabilities within {difference:.1g} of it; rows whose two "
        f"likeliest classes are less than {margin:.2g} apart were computed in float32",
    )
