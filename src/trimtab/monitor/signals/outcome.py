"""What an evaluation tells beside its metrics: where the errors are, how sure they were, and how exact the loss is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.metrics.classification import confusion_matrix
from trimtab.metrics.scores import Scores, score_log_losses

MOST_CLASSES = 1000


def describe_scores(labels: NDArray[np.int64], scores: Scores) -> dict[str, Any]:
    """Detail of an evaluation, as plain JSON types.

    Args:
        labels: class ids, `[n]`.
        scores: made with these labels.

    Returns:
        `rows`; `loss_error`, the standard error of the mean loss; `confidence` and `error_confidence`, the mean
        probability of the predicted class over all rows and over those predicted wrong; `predicted_entropy`, the
        entropy of the predicted labels' shares over that of the true ones'; and, up to 1,000 classes, `recall` (None
        for a class without rows), `label_rows` and `predicted`, a number a class. Without rows only `rows`.
    """
    count = len(labels)
    if not count:
        return {"rows": 0}
    losses = score_log_losses(scores)
    wrong = scores.predicted != labels
    predicted = np.bincount(scores.predicted, minlength=scores.num_classes)
    present = np.bincount(labels, minlength=scores.num_classes)
    detail: dict[str, Any] = {
        "rows": count,
        "loss_error": float(np.std(losses) / math.sqrt(count)),
        "confidence": float(np.mean(scores.confidence)),
        "error_confidence": float(np.mean(scores.confidence[wrong])) if wrong.any() else None,
        "predicted_entropy": _entropy(predicted) / _entropy(present) if _entropy(present) else None,
    }
    if scores.num_classes <= MOST_CLASSES:
        hits = np.diag(confusion_matrix(labels, scores.predicted, scores.num_classes))
        detail["recall"] = [
            round(float(hit / rows), 4) if rows else None for hit, rows in zip(hits, present, strict=True)
        ]
        detail["label_rows"] = present.tolist()
        detail["predicted"] = predicted.tolist()
    return detail


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
