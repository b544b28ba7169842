"""A trained model, read back from a run or a model directory: predict and evaluate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from trimtab.config.plugins import PluginSection, parse_options
from trimtab.config.recipe import DataSection, EvaluationSection, ModelSection
from trimtab.core.errors import RunError
from trimtab.core.files import write_json
from trimtab.core.registry import TASKS
from trimtab.core.runs import RunDirectory
from trimtab.data.dataset import Columns
from trimtab.data.duplicates import normalise
from trimtab.data.findings import long_texts, unknown_tokens
from trimtab.data.loading import load_labelled
from trimtab.data.tokens import token_statistics
from trimtab.evaluation.baselines import baseline_predictions
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.result import EvalResult
from trimtab.models.loading import LoadedModel
from trimtab.models.processors import max_length_of
from trimtab.pipeline.delivered import read_delivered
from trimtab.pipeline.resolve import TOKEN_BUDGET, choose_device
from trimtab.pipeline.scoring import Scorer
from trimtab.tasks.base import Task, TaskContext
from trimtab.training.inference import Predictor

DESCRIPTION_FILE = "trimtab.json"


def describe_model(folder: Path, task: Task, columns: Columns, metric: str, seed: int, max_length: int) -> None:
    """Write beside a saved model what Trimtab needs to use it again: task, options, labels, columns, metric, room."""
    write_json(
        folder / DESCRIPTION_FILE,
        {
            "task": {"name": task.name, **task.options.model_dump()},
            "labels": task.labels,
            "columns": {"text": columns.text, "image": columns.image, "label": columns.label, "group": columns.group},
            "metric": metric,
            "seed": seed,
            "max_length": max_length,
        },
    )


@dataclass(frozen=True)
class Prediction:
    """What the model says of one input.

    Args:
        label: the likeliest class.
        probability: its probability.
        probabilities: probability of every class.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


class TrainedModel:
    """A model that Trimtab trained.

    Args:
        folder: the model directory: `save_pretrained` layout with `trimtab.json`.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: `fp32`; `bf16`; or `auto`, which takes bfloat16 for many rows where that is native and keeps the
            labels of float32 (see `choose_precision`).
    """

    def __init__(self, folder: Path, device: str = "auto", precision: str = "auto") -> None:
        self.folder = folder
        self.precision = precision
        self._description = _read_description(folder)
        self._device = choose_device(device)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; index = class id."""
        return tuple(self._description["labels"])

    @property
    def columns(self) -> Columns:
        """Columns of the data that it was trained on."""
        columns = self._description["columns"]
        return Columns(**{**columns, "text": tuple(columns["text"])})

    @cached_property
    def task(self) -> Task:
        """The task with its options and labels."""
        section = PluginSection.model_validate(self._description["task"])
        task: Task = TASKS.get(section.name)(parse_options("task", section), self.labels)
        return task

    @cached_property
    def loaded(self) -> LoadedModel:
        """Model and processor, read when first needed."""
        loaded = read_delivered(self.folder, self.task, ModelSection(name=str(self.folder)))
        _to_device(loaded.model, self._device)
        return loaded

    def training_rows(self) -> pd.DataFrame | None:
        """The rows that the model was trained on, or None for a model directory outside of its run."""
        path = RunDirectory(self.folder.parent).data / "train.parquet"
        return pd.read_parquet(path) if path.is_file() else None

    @cached_property
    def scorer(self) -> Scorer:
        """What scores frames, chunk by chunk where they are many."""
        predictor = Predictor(
            model=self.loaded.model,
            task=self.task,
            device=self._device,
            precision="fp32",
            token_budget=TOKEN_BUDGET.get(self._device.type, TOKEN_BUDGET["cpu"]),
        )
        return Scorer(predictor, self.task, self._context, self.precision)

    def probabilities(self, frame: pd.DataFrame) -> np.ndarray:
        """Class probabilities of the rows of a canonical frame, float32 `[rows, classes]`."""
        unlabelled = frame.drop(columns="label", errors="ignore")
        (scored,) = self.scorer.score([unlabelled], keep_bytes=None)
        return np.asarray(scored.scores.probabilities)

    def reading_notes(self, frame: pd.DataFrame) -> list[str]:
        """What the model cannot read of the rows: unknown tokens, texts that are cut."""
        if self.task.modality != "text" or frame.empty:
            return []
        pairs = frame["text_pair"].tolist() if "text_pair" in frame.columns else None
        tokens = token_statistics(
            frame["text"].tolist(), self.loaded.processor, self.task.max_length(self._context), pairs=pairs
        )
        found = (*unknown_tokens(tokens, DataSection(), "this model"), *long_texts(tokens))
        return [finding.message for finding in found]

    @cached_property
    def _context(self) -> TaskContext:
        processor, config = self.loaded.processor, self.loaded.model.config
        if self.task.modality != "text":
            return TaskContext(processor)
        # Virtual tokens leave less room to the text than the model has.
        longest = max_length_of(processor, config)
        return TaskContext(processor, min(longest, int(self._description.get("max_length", longest))))

    def predictions(self, frame: pd.DataFrame) -> list[Prediction]:
        """One `Prediction` for each row of a canonical frame."""
        return [
            Prediction(
                label=self.labels[int(row.argmax())],
                probability=float(row.max()),
                probabilities={label: float(value) for label, value in zip(self.labels, row, strict=True)},
            )
            for row in self.probabilities(frame)
        ]

    def evaluate(self, source: Any, data: DataSection, section: EvaluationSection) -> tuple[EvalResult, pd.DataFrame]:
        """Judge the model on labelled data, beside the baselines where the run still has its training rows.

        Args:
            source: path, id, DataFrame or `datasets` object with the label column.
            data: how to read it; column names default to those of the training data.
            section: metric, target, intervals.

        Returns:
            The result, and the rows it was judged on.

        Raises:
            DataError: the data cannot be read, or hold labels that the model does not know.
        """
        frame = load_labelled(source, data, self.columns, self.task.name, self.labels)
        labels = np.array([self.labels.index(label) for label in frame["label"]], dtype=np.int64)
        metric = self._description["metric"] if section.metric == "auto" else section.metric
        (scored,) = self.scorer.score([frame])
        training = self.training_rows()
        baselines = (
            baseline_predictions(self.task.name, training, frame, self.labels)
            if section.baselines and training is not None
            else {}
        )
        result = evaluate_classification(
            labels,
            scored.scores,
            self.labels,
            split="given",
            section=section,
            primary_metric=self.task.primary_metric(metric),
            seed=int(self._description["seed"]),
            baseline_predictions=baselines,
            notes=(
                *frame.attrs.get("notes", ()),
                *_overlap_notes(training, frame),
                *self.reading_notes(frame),
                *filter(None, (scored.choice.note,)),
            ),
            precision=scored.choice.precision,
        )
        return result, frame


def _to_device(model: nn.Module, device: torch.device) -> None:
    model.to(device)


def _overlap_notes(training: pd.DataFrame | None, frame: pd.DataFrame) -> list[str]:
    """A warning when rows that are judged stand in the training data too (equal texts, or the same image file)."""
    if training is None:
        return []
    columns = [name for name in ("text", "text_pair", "image") if name in frame.columns]
    known = {tuple(map(normalise, row)) for row in training[columns].itertuples(index=False)}
    shared = sum(tuple(map(normalise, row)) in known for row in frame[columns].itertuples(index=False))
    if not shared:
        return []
    return [
        f"{shared:,} of these {len(frame):,} rows stand in the training data of the model too: the figures flatter it. "
        "Judge it on rows that it has not seen."
    ]


def find_model(path: Path) -> Path:
    """The model directory of a run, or `path` itself when it is one.

    Raises:
        RunError: nothing is there, or the run has not finished.
    """
    if (path / DESCRIPTION_FILE).is_file():
        return path
    run = RunDirectory(path)
    if (run.model / DESCRIPTION_FILE).is_file():
        return run.model
    if run.recipe.is_file():
        raise RunError(
            f"The run {path} has no model yet: it is not finished.", remedy=f"Go on with: trimtab resume {path}"
        )
    raise RunError(
        f"{path} is neither a run directory nor a model that Trimtab trained."
        if path.exists()
        else f"There is no run at {path}.",
        remedy="Name the directory that 'trimtab train' printed, or list the runs with: trimtab runs [FOLDER]",
    )


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        description["task"], description["labels"], description["columns"], description["metric"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder / DESCRIPTION_FILE} cannot be read: {type(error).__name__}: {error}.",
            remedy="The model directory is damaged; train again, or copy it again from where it came.",
        ) from error
    return description
