"""The rows that a run was judged on, beside its predictions. pyarrow and Pillow are imported when first needed."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import RunError
from trimtab.core.runs import RunDirectory
from trimtab.dashboard.reading.findings import Findings
from trimtab.dashboard.reading.judged import Judged, read_judged, read_records
from trimtab.dashboard.reading.plain import Signature, finite, items, mapping, plain, read_json, signature, text
from trimtab.dashboard.reading.run import suspects_of
from trimtab.dashboard.reading.thumbnails import RowImages

PAGE_ROWS = 50
TEXT_CHARACTERS = 5000
MOST_PROBABILITIES = 50
"""Labels whose probabilities are told of a row; of more labels, those of the likeliest are."""
MOST_LABELS = 200
"""In a confusion matrix; of more, those with the most mistakes are shown."""
CALIBRATION_BINS = 15
"""As in our metric `ece`."""
KINDS = ("worst", "suspect", "all")


class RowReader:
    """The rows of one run.

    Args:
        path: the run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run = RunDirectory(path)
        self._images = RowImages(self._run.data)
        self._judged: tuple[Signature, Judged] | None = None
        self._lock = threading.Lock()

    def rows(
        self, kind: str = "worst", *, label: str | None = None, predicted: str | None = None, page: int = 0
    ) -> dict[str, Any]:
        """One page of rows: `rows`, `total` and `pages`.

        Args:
            kind: `worst` (the least probability of the true label first), `all` in the order of the file, or `suspect`.
            label, predicted: only rows of this label, or with this prediction.
            page: from 0; one beyond the last is empty.

        Raises:
            RunError: there is no such kind, or no predictions that can be read.
        """
        if kind not in KINDS:
            raise RunError(f"No kind of rows is called {kind!r}.", remedy=f"Known: {', '.join(KINDS)}.")
        if kind == "suspect":
            found = [row for row in self._suspects() if _fits(row, label, predicted)]
            return _paged(found[_page_slice(page)], len(found))
        judged = self._predictions()
        wanted = judged.where(label, predicted)
        if kind == "worst":
            wanted = wanted[np.argsort(np.nan_to_num(judged.true_probability[wanted], nan=-1.0), kind="stable")]
        shown = wanted[_page_slice(page)]
        records = read_records(self._run.predictions, shown)
        return _paged([_row(record, judged, index) for record, index in zip(records, shown, strict=True)], len(wanted))

    def matrix(self) -> dict[str, Any]:
        """`labels`, `counts` (row = true label), `left_out` (labels that are not shown) and `reliability`.

        Raises:
            RunError: there are neither predictions nor an evaluation.
        """
        if signature(self._run.predictions) is None:
            return self._matrix_of_evaluation()
        judged = self._predictions()
        known = (judged.label >= 0) & (judged.prediction >= 0)
        count = len(judged.labels)
        flat = judged.label[known].astype(np.int64) * count + judged.prediction[known]
        counts = np.bincount(flat, minlength=count * count).reshape(count, count)
        return {
            **_shown_matrix(list(judged.labels), counts),
            "reliability": reliability(judged.probability[known], (judged.label == judged.prediction)[known]),
        }

    def image(self, row: int, *, split: str = "test", size: int = 160, source: str | None = None) -> bytes:
        """A row's image as JPEG; see `RowImages.thumbnail`."""
        return self._images.thumbnail(row, split=split, size=size, source=source)

    def _predictions(self) -> Judged:
        with self._lock:
            found = signature(self._run.predictions)
            if found is None:
                raise RunError(
                    f"{self.path.name} has no predictions yet.", remedy="They are written when the run has finished."
                )
            kept = self._judged
            if kept is None or kept[0] != found:
                order = tuple(map(str, items(read_json(self._run.evaluation).get("labels"))))
                kept = self._judged = (found, read_judged(self._run.predictions, order))
            return kept[1]

    def _suspects(self) -> list[dict[str, Any]]:
        findings = Findings()
        findings.conclude(read_json(self._run.diagnosis))
        return [_suspect(row) for row in suspects_of(findings.all())]

    def _matrix_of_evaluation(self) -> dict[str, Any]:
        evaluation = read_json(self._run.evaluation)
        labels = [str(label) for label in items(evaluation.get("labels"))]
        try:
            counts = np.asarray(evaluation.get("confusion"), np.int64)
        except (ValueError, TypeError):
            counts = np.zeros(0, np.int64)
        if not labels or counts.shape != (len(labels), len(labels)):
            raise RunError(
                f"{self.path.name} has no predictions yet.", remedy="They are written when the run has finished."
            )
        ece = finite(mapping(mapping(evaluation.get("metrics")).get("ece")).get("value"))
        return {**_shown_matrix(labels, counts), "reliability": {"bins": [], "ece": ece}}


def reliability(confidence: NDArray[Any], is_hit: NDArray[np.bool_]) -> dict[str, Any]:
    """Confidence and accuracy by bins of confidence, and the expected calibration error.

    Bins are of equal width and open below (Guo et al. 2017, "On Calibration of Modern Neural Networks"); rows without
    a confidence are left out.

    Args:
        confidence: probability of the predicted label, `[n]`.
        is_hit: whether it is the true one, `[n]`.

    Returns:
        `bins`, each with `low`, `high`, `confidence`, `accuracy` and `rows`, empty ones too; `ece`, None without rows.
    """
    there = np.isfinite(confidence)
    confidence, hits = confidence[there].astype(np.float64), is_hit[there].astype(np.float64)
    index = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    rows = np.bincount(index, minlength=CALIBRATION_BINS)
    sums = [np.bincount(index, weights=values, minlength=CALIBRATION_BINS) for values in (confidence, hits)]
    bins = [
        {
            "low": place / CALIBRATION_BINS,
            "high": (place + 1) / CALIBRATION_BINS,
            "confidence": float(sums[0][place] / count) if count else None,
            "accuracy": float(sums[1][place] / count) if count else None,
            "rows": int(count),
        }
        for place, count in enumerate(rows)
    ]
    ece = float(np.abs(sums[1] - sums[0]).sum() / len(hits)) if len(hits) else None
    return {"bins": bins, "ece": ece}


def _shown_matrix(labels: list[str], counts: NDArray[np.int64]) -> dict[str, Any]:
    """The matrix, of the labels with the most mistakes where there are too many to show."""
    shown = np.arange(len(labels))
    if len(labels) > MOST_LABELS:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        shown = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_LABELS])
    return {
        "labels": [labels[index] for index in shown],
        "counts": counts[np.ix_(shown, shown)].tolist(),
        "left_out": len(labels) - len(shown),
    }


def _row(record: dict[str, Any], judged: Judged, index: int) -> dict[str, Any]:
    """A row as the page takes it."""
    true = float(judged.true_probability[index])
    shown = _content(record)
    return {
        **shown,
        "label": judged.name(judged.label[index]),
        "prediction": judged.name(judged.prediction[index]),
        "probability": finite(float(judged.probability[index])),
        "probabilities": _probabilities(record, judged),
        "loss": -math.log(true) if true > 0 else None,
    }


def _content(record: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"row": plain(record.get("row")), "source": plain(record.get("source"))}
    for name in ("text", "text_pair"):
        if isinstance(record.get(name), str):
            content[name] = _short(record[name])
    content["image"] = isinstance(record.get("image"), str)
    return content


def _short(value: str) -> str:
    told = text(value)
    return told if len(told) <= TEXT_CHARACTERS else told[: TEXT_CHARACTERS - 1] + "…"


def _probabilities(record: dict[str, Any], judged: Judged) -> dict[str, float | None]:
    """By label, the likeliest first where there are many."""
    if judged.places:
        pairs = [(record.get(f"top_{place}"), record.get(f"p_top_{place}")) for place in range(1, judged.places + 1)]
        return {text(str(name)): finite(value) for name, value in pairs if name is not None}
    found = {text(label): finite(record.get(f"p_{label}")) for label in judged.labels if f"p_{label}" in record}
    if len(found) <= MOST_PROBABILITIES:
        return found
    ranked = sorted(found.items(), key=lambda item: -(item[1] or 0.0))
    return dict(ranked[:MOST_PROBABILITIES])


def _suspect(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        **({"text": _short(row["text"])} if isinstance(row.get("text"), str) else {}),
        "image": isinstance(row.get("image"), str),
    }


def _fits(row: dict[str, Any], label: str | None, predicted: str | None) -> bool:
    given = row.get("prediction", row.get("predicted", row.get("suggested")))
    return label in (None, row.get("label")) and predicted in (None, given)


def _page_slice(page: int) -> slice:
    start = max(0, page) * PAGE_ROWS
    return slice(start, start + PAGE_ROWS)


def _paged(rows: list[dict[str, Any]], total: int) -> dict[str, Any]:
    return {"rows": rows, "total": total, "pages": math.ceil(total / PAGE_ROWS)}
