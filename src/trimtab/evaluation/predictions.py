"""Predictions as a table: written to Parquet, and the rows that the model gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import DataError
from trimtab.core.files import write_atomic
from trimtab.metrics.classification import Floats

if TYPE_CHECKING:
    import pandas as pd

COPIED = ("row", "source", "text", "text_pair", "image", "label")
TEXT_SHOWN = 300


def predictions_table(frame: pd.DataFrame, probabilities: Floats, label_names: Sequence[str]) -> pd.DataFrame:
    """The rows with their prediction.

    Args:
        frame: n rows; of its columns row, source, text, text_pair, image and label are kept where present.
        probabilities: float [n, k].
        label_names: k distinct names; index = class id.

    Returns:
        The kept columns, then `prediction` (label name), `probability` (its own) and `p_<label>` for each label.

    Raises:
        DataError: the shapes do not fit together.
    """
    import pandas as pd

    if probabilities.shape != (len(frame), len(label_names)):
        raise DataError(
            f"{len(frame)} rows and {len(label_names)} labels need probabilities of shape "
            f"[{len(frame)}, {len(label_names)}]; found {list(probabilities.shape)}."
        )
    predicted = np.argmax(probabilities, axis=1)
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in COPIED if name in frame}
    columns["prediction"] = np.asarray(label_names, dtype=object)[predicted]
    columns["probability"] = probabilities[np.arange(len(frame)), predicted]
    columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(label_names)})
    return pd.DataFrame(columns)


def write_predictions(path: Path, frame: pd.DataFrame, probabilities: Floats, label_names: Sequence[str]) -> None:
    """Write `predictions_table` to a Parquet file, whole or not at all.

    Raises:
        DataError: the shapes do not fit together.
        RunError: the disk is full or the folder cannot be written.
    """
    content = predictions_table(frame, probabilities, label_names).to_parquet(None, index=False)
    write_atomic(path, content)


def worst_rows(
    frame: pd.DataFrame, probabilities: Floats, label_names: Sequence[str], count: int = 20
) -> list[dict[str, Any]]:
    """The rows predicted wrong with the greatest confidence: often mislabelled, or what the model has yet to learn.

    Args:
        frame: n rows with `label` (names), and `text` (and `text_pair`) or `image`.
        probabilities: float [n, k].
        label_names: k names; index = class id.
        count: most rows to give.

    Returns:
        Mappings with row, source (where known), text (the path for images, at most 300 characters), label, prediction
        and probability, the most confident first.
    """
    table = predictions_table(frame, probabilities, label_names)
    wrong = table[table["prediction"] != table["label"]]
    worst = wrong.sort_values("probability", ascending=False, kind="stable").head(count)
    return [
        {
            **{key: row[key] for key in ("row", "source") if key in row},
            "text": _shown(row),
            **{key: row[key] for key in ("label", "prediction", "probability")},
        }
        for row in worst.to_dict("records")
    ]


def _shown(row: dict[Any, Any]) -> str:
    text = " | ".join(str(row[key]) for key in ("text", "text_pair", "image") if key in row)
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
