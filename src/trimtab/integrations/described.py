"""What a foreign run's model and data tell of themselves, as fields of a `start` event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

LABEL_COLUMNS = ("labels", "label")
MOST_ROWS = 1_000_000


def model_fields(model: Any) -> dict[str, Any]:
    """Name, sizes, and the labels of a classifier.

    Args:
        model: a `torch.nn.Module`; one of transformers tells more.
    """
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    config = getattr(model, "config", None)
    fields: dict[str, Any] = {
        "model": str(getattr(config, "_name_or_path", "") or type(model).__name__),
        "parameters": sum(size for size, _ in sizes),
        "trained_parameters": sum(size for size, trains in sizes if trains),
    }
    names = getattr(config, "id2label", None)
    # Every configuration of transformers has labels, those of models that classify nothing too.
    if isinstance(names, dict) and "Classification" in type(model).__name__:
        fields["labels"] = [str(names[index]) for index in sorted(names)]
    return fields


def split_fields(split: str, loader: Any) -> dict[str, Any]:
    """Rows of a data loader's data set, and the number of rows of each class where it has a column of labels."""
    rows = rows_of(loader)
    if not rows:
        return {}
    counts = _label_counts(loader.dataset, rows)
    return {"rows": {split: rows}, **({"label_counts": {split: counts}} if counts else {})}


def rows_of(loader: Any) -> int:
    """Rows of a data loader's data set; 0 where they are not known, as of a stream or of several loaders."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError, NotImplementedError):
        return 0


def _label_counts(dataset: Any, rows: int) -> list[int]:
    """Rows of each class; none where the data set has no column of class numbers that is read at once."""
    if rows > MOST_ROWS:
        return []
    labels: Sequence[Any] = ()
    columns = getattr(dataset, "column_names", None)
    for name in LABEL_COLUMNS:
        if isinstance(columns, list) and name in columns:
            labels = dataset[name][:]
        elif isinstance(dataset, list) and isinstance(dataset[0], dict) and name in dataset[0]:
            labels = [row.get(name) for row in dataset]
        if len(labels):
            break
    numbers = [label.item() if hasattr(label, "item") and getattr(label, "ndim", 1) == 0 else label for label in labels]
    if not numbers or not all(isinstance(number, int) and number >= 0 for number in numbers):
        return []
    counted = Counter(numbers)
    return [counted.get(index, 0) for index in range(max(counted) + 1)] if max(counted) < 1000 else []
