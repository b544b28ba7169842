"""Rows through a trained model, chunk by chunk: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import pandas as pd

from trimtab.metrics.scores import FULL_BYTES, Scores
from trimtab.tasks.base import Task, TaskContext
from trimtab.training.faithful import Choice, choose_precision
from trimtab.training.inference import Predictor

CHUNK_ROWS = {"text": 8192, "image": 1024}
"""Rows that are read, encoded and predicted at once, by modality."""


@dataclass(frozen=True)
class Scored:
    """Rows with what the model says of them.

    Args:
        frame: canonical rows.
        scores: their scores; with the true class where the frame has labels.
        choice: the precision they were computed in.
    """

    frame: pd.DataFrame
    scores: Scores
    choice: Choice


@dataclass(frozen=True)
class Scorer:
    """A model that scores frames.

    Args:
        predictor: the model.
        task: encodes the rows.
        context: what it encodes for.
        precision: `auto`, `fp32` or `bf16`; what `auto` becomes is settled on the first frame, for all.
    """

    predictor: Predictor
    task: Task
    context: TaskContext
    precision: str

    def score(
        self,
        frames: Iterable[pd.DataFrame],
        *,
        keep_bytes: int | None = FULL_BYTES,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Scored]:
        """Score each frame in turn, and no sooner than it is asked for.

        Args:
            frames: canonical frames; `label` (names) may be among their columns.
            keep_bytes: all probabilities of a frame are kept where they take at most so many bytes; always when None.
            progress: called with the number of rows done after each batch.
        """
        predictor = replace(self.predictor, keep_bytes=keep_bytes, progress=progress)
        choice: Choice | None = None
        for frame in frames:
            if frame.empty:
                none = Scores.empty(0, len(self.task.labels), labelled="label" in frame)
                yield Scored(frame, none, choice or Choice("fp32", 0.0, "there are no rows"))
                continue
            examples = self.task.encode(frame, self.context)
            if choice is None:
                choice = choose_precision(predictor, examples, self.precision)
            yield Scored(frame, choice.apply(predictor).predict(examples).scores, choice)
