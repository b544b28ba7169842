"""What a task is, and what the classification tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from trimtab.config.plugins import PluginOptions
from trimtab.data.batching import Batch
from trimtab.metrics.classification import METRICS, Metric, get_metric
from trimtab.metrics.scores import Scores, as_scores, score_metrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trimtab.core.cache import DiskCache

Modality = Literal["text", "image"]


@dataclass(frozen=True)
class TaskContext:
    """What a task needs to know of the model to encode for it.

    Args:
        processor: tokenizer or image processor.
        max_length: tokens that the model can read; 0 for images.
        cache: where encoded rows are kept for later runs; None keeps none.
    """

    processor: Any
    max_length: int = 0
    cache: DiskCache | None = None


class Examples(ABC):
    """Encoded rows, ready to be collated in any order.

    Attributes:
        lengths: size of each row in tokens (image patches), `[rows]`.
        labels: class of each row, `[rows]`; None when the rows have none.
    """

    lengths: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.lengths)

    def at_epoch(self, epoch: int) -> Examples:
        """The rows as an epoch, counted from 0, sees them: changed copies where rows are augmented, else these."""
        return self

    def keys(self) -> np.ndarray | None:
        """What each row is known by, 16 bytes `[rows]`: equal for rows that the model reads alike; None without."""
        return None

    @abstractmethod
    def collate(self, rows: np.ndarray) -> Batch:
        """The rows `rows` (`[n]`) padded to one batch."""

    def outline(self, rows: np.ndarray) -> Batch:
        """The batch of `collate` where only masks and shapes of the inputs count, and costly values may be left out."""
        return self.collate(rows)


class Task(ABC):
    """A kind of thing to learn. Subclasses live one a file and register by name.

    Args:
        options: the task's own part of the recipe.
        labels: names of the classes; index = class id.
    """

    name: ClassVar[str]
    modality: ClassVar[Modality]
    auto_class: ClassVar[str]
    pipeline_name: ClassVar[str]
    metric_table: ClassVar[Mapping[str, Metric]]
    Options: ClassVar[type[PluginOptions]]

    def __init__(self, options: PluginOptions, labels: tuple[str, ...]) -> None:
        self.options = options
        self.labels = labels

    @abstractmethod
    def encode(self, frame: pd.DataFrame, context: TaskContext) -> Examples:
        """Encode the rows of a canonical frame; labels are taken along when the frame has them."""

    def max_length(self, context: TaskContext) -> int | None:
        """Tokens after which an input is cut; None where inputs are not cut (images)."""
        return None

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> tuple[torch.Tensor, int]:
        """The summed loss of a batch and its weight (examples or tokens), to be divided once an optimizer step."""

    @abstractmethod
    def predict(self, outputs: Any) -> torch.Tensor:
        """Predictions as float32 `[batch, …]`."""

    @abstractmethod
    def metrics(self, labels: np.ndarray, predictions: np.ndarray | Scores) -> dict[str, float]:
        """All metrics of predictions against labels."""

    @abstractmethod
    def primary_metric(self, wanted: str) -> str:
        """The metric that chooses the best checkpoint: `wanted`, or the task's own for `auto`."""

    @abstractmethod
    def higher_is_better(self, metric: str) -> bool:
        """Whether larger values of `metric` are better."""


class ClassificationTask(Task):
    """One label out of several for each row: cross-entropy, probabilities, classification metrics."""

    metric_table = METRICS

    def loss(self, outputs: Any, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy summed over the rows of the batch, in float32, and the number of rows."""
        import torch.nn.functional as functional

        if batch.labels is None:
            raise ValueError("a batch without labels has no loss")
        total = functional.cross_entropy(self.logits(outputs), batch.labels, reduction="sum")
        return total, len(batch.labels)

    def logits(self, outputs: Any) -> torch.Tensor:
        """Scores of the classes before the softmax, float32 `[batch, classes]`."""
        logits: torch.Tensor = outputs.logits.float()
        return logits

    def predict(self, outputs: Any) -> torch.Tensor:
        """Class probabilities, `[batch, classes]`."""
        return self.logits(outputs).softmax(dim=-1)

    def metrics(self, labels: np.ndarray, predictions: np.ndarray | Scores) -> dict[str, float]:
        """Metrics of probabilities `[rows, classes]` against class ids `[rows]`."""
        return score_metrics(labels, as_scores(predictions, labels))

    def primary_metric(self, wanted: str) -> str:
        """`macro_f1` for `auto`.

        Raises:
            UnknownNameError: no metric is called `wanted`.
        """
        return "macro_f1" if wanted == "auto" else get_metric(wanted).name

    def higher_is_better(self, metric: str) -> bool:
        """Whether larger values of `metric` are better."""
        return get_metric(metric).higher_is_better


def class_ids(frame: pd.DataFrame, labels: tuple[str, ...]) -> np.ndarray | None:
    """Class id of each row of a canonical frame, `[rows]`; None when it has no labels."""
    if "label" not in frame.columns:
        return None
    positions = {label: index for index, label in enumerate(labels)}
    return np.array([positions[label] for label in frame["label"]], dtype=np.int64)
