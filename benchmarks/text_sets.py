"""The two small English sets on which the benchmarks of strategies run, and what their runs have in common."""

from __future__ import annotations

from typing import Any

from jobs import subset

SETS = {
    "trec-6": ("trec", {"train": "trec/train.csv", "test": "trec/test.csv"}, "coarse"),
    "sst-2": (
        "sst2",
        {"train": "sst2/train.tsv", "validation": "sst2/dev.tsv", "test": "sst2/test.tsv"},
        "label",
    ),
}
COMMON: dict[str, Any] = {"evaluation.baselines": False}


def settings_of(case: str, train_rows: int = 1000, epochs: int = 2, validation_rows: int = 500) -> dict[str, Any]:
    """Recipe keys of a set: so many rows for training and for validation, the test rows whole."""
    name, files, label = SETS[case]
    folder = subset(name, files, {"validation": validation_rows, "train": train_rows}, label)
    return {"data.path": str(folder), "data.label": label, "training.num_epochs": epochs, **COMMON}
