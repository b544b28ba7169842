"""Predictions as a table: written to Parquet, and the rows that the model gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import DataError
from trimtab.evaluation.tables import TableWriter
from trimtab.metrics.classification import Floats
from trimtab.metrics.scores import Scores, as_scores

if TYPE_CHECKING:
    import pandas as pd

COPIED = ("row", "source", "text", "text_pair", "image", "label")
TEXT_SHOWN = 300
# Rows that are made into a table at once when writing.
PART_ROWS = 65_536


def predictions_table(frame: pd.DataFrame, given: Scores | Floats, label_names: Sequence[str]) -> pd.DataFrame:
    """The rows with their prediction.

    Args:
        frame: n rows; of its columns row, source, text, text_pair, image and label are kept where present.
        given: scores of n rows and k classes, or probabilities, float [n, k].
        label_names: k distinct names; index = class id.

    Returns:
        The kept columns, then `prediction` (label name), `probability` (its own) and `p_<label>` for each label. Where
        the scores do not hold all probabilities, `top_1`, `p_top_1`, … for the likeliest classes in their place.

    Raises:
        DataError: the shapes do not fit together.
    """
    import pandas as pd

    scores = as_scores(given)
    if (len(scores), scores.num_classes) != (len(frame), len(label_names)):
        raise DataError(
            f"{len(frame)} rows and {len(label_names)} labels need probabilities of shape "
            f"[{len(frame)}, {len(label_names)}]; found [{len(scores)}, {scores.num_classes}]."
        )
    names = np.asarray(label_names, dtype=object)
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in COPIED if name in frame}
    columns["prediction"] = names[scores.predicted]
    columns["probability"] = scores.confidence
    if scores.probabilities is not None:
        columns.update({f"p_{name}": scores.probabilities[:, index] for index, name in enumerate(label_names)})
    else:
        for place in range(scores.top_ids.shape[1]):
            columns[f"top_{place + 1}"] = names[scores.top_ids[:, place]]
            columns[f"p_top_{place + 1}"] = scores.top_probabilities[:, place]
    return pd.DataFrame(columns)


def write_predictions(path: Path, frame: pd.DataFrame, given: Scores | Floats, label_names: Sequence[str]) -> None:
    """Write `predictions_table` to a Parquet file, part by part, whole or not at all.

    Raises:
        DataError: the shapes do not fit together.
        RunError: the disk is full or the folder cannot be written.
    """
    scores = as_scores(given)
    if len(scores) != len(frame):
        predictions_table(frame, scores, label_names)  # raises, naming the shapes
    with TableWriter(path, keep_partial=False) as writer:
        for start in range(0, max(1, len(frame)), PART_ROWS):
            rows = np.arange(start, min(len(frame), start + PART_ROWS))
            writer.write(predictions_table(frame.iloc[rows], scores.take(rows), label_names))


def worst_rows(
    frame: pd.DataFrame, given: Scores | Floats, label_names: Sequence[str], count: int = 20
) -> list[dict[str, Any]]:
    """The rows predicted wrong with the greatest confidence: often mislabelled, or what the model has yet to learn.

    Args:
        frame: n rows with `label` (names), and `text` (and `text_pair`) or `image`.
        given: scores of n rows and k classes, or probabilities, float [n, k].
        label_names: k names; index = class id.
        count: most rows to give.

    Returns:
        Mappings with row, source (where known), text (the path for images, at most 300 characters), label, prediction
        and probability, the most confident first.
    """
    scores = as_scores(given)
    wrong = np.flatnonzero(np.asarray(label_names, dtype=object)[scores.predicted] != frame["label"].to_numpy())
    worst = wrong[np.argsort(-scores.confidence[wrong], kind="stable")][:count]
    table = predictions_table(frame.iloc[worst], scores.take(worst).reduced(), label_names)
    return [
        {
            **{key: row[key] for key in ("row", "source") if key in row},
            "text": _shown(row),
            **{key: row[key] for key in ("label", "prediction", "probability")},
        }
        for row in table.to_dict("records")
    ]


def _shown(row: dict[Any, Any]) -> str:
    text = " | ".join(str(row[key]) for key in ("text", "text_pair", "image") if key in row)
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
