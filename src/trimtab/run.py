"""A finished run: its figures, its model, and predictions with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from trimtab.config.load import build_recipe
from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError, RunError
from trimtab.core.events import read_events
from trimtab.core.runs import RunDirectory
from trimtab.data.loading import load_unlabelled
from trimtab.evaluation.result import EvalResult
from trimtab.pipeline.trained import Prediction, TrainedModel, find_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

StrPath = str | os.PathLike[str]


class Run:
    """A finished run: its figures, its model, and what can be done with them.

    Args:
        path: the run directory, or a model directory that Trimtab wrote.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self._trained = TrainedModel(find_model(self.path))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def evaluation(self) -> EvalResult:
        """The judgement at the end of the run: metrics with intervals, baselines, verdict.

        Raises:
            RunError: `path` is a bare model directory, or the run has not finished.
        """
        import json

        try:
            written = json.loads(RunDirectory(self.path).evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path} has no evaluation ({error}).", remedy="Judge the model on data with run.evaluate(data)."
            ) from error
        fields = EvalResult.__dataclass_fields__
        return EvalResult.from_dict({key: value for key, value in written.items() if key in fields})

    @property
    def metrics(self) -> dict[str, float]:
        """Value of each metric on the held-out rows; their intervals are in `evaluation.metrics`."""
        return {name: interval.value for name, interval in self.evaluation.metrics.items()}

    @property
    def verdict(self) -> str:
        """One sentence: does fine-tuning beat the trivial baselines, and by how much."""
        return self.evaluation.verdict

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._trained.labels

    @property
    def model(self) -> PreTrainedModel:
        """The fine-tuned model of transformers."""
        return self._trained.loaded.model

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event of the run, in order."""
        return list(read_events(RunDirectory(self.path).events))

    @overload
    def predict(self, inputs: str) -> Prediction: ...
    @overload
    def predict(self, inputs: list[str] | list[tuple[str, str]] | list[Path] | pd.DataFrame) -> list[Prediction]: ...
    def predict(
        self, inputs: str | list[str] | list[tuple[str, str]] | list[Path] | pd.DataFrame
    ) -> Prediction | list[Prediction]:
        """Predict one input or many.

        Args:
            inputs: a text; or a list of texts, of (text, text) pairs, or of image paths; or a DataFrame with the
                columns of the training data.

        Returns:
            A `Prediction` for one text, a list of them otherwise; an empty list for no inputs.

        Raises:
            DataError: an input is of the wrong kind, or an image cannot be read.
        """
        if not isinstance(inputs, str | pd.DataFrame | Iterable):
            raise DataError(
                f"Nothing can be predicted for a {type(inputs).__name__}.",
                remedy="Give a text, a list, or a DataFrame.",
            )
        if isinstance(inputs, str):
            return self._trained.predictions(frame_of_inputs(self._trained, [inputs]))[0]
        if isinstance(inputs, pd.DataFrame):
            return self._trained.predictions(self.read(inputs))
        return self._trained.predictions(frame_of_inputs(self._trained, list(inputs)))

    def evaluate(
        self, data: Any, *, metric: str = "auto", target: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> EvalResult:
        """Judge the model on labelled data.

        Args:
            data: path, DataFrame or `datasets` object with the columns of the training data.
            metric: metric of the verdict; that of the run when `auto`.
            target: goal such as `macro_f1=0.9`.
            settings: further recipe keys, such as `data.label`.

        Raises:
            RecipeError: there is no such metric, or the target cannot be read.
            DataError: the data cannot be read or hold unknown labels.
        """
        named = {"evaluation.metric": metric, **({} if target is None else {"evaluation.target": target})}
        recipe = build_recipe(overrides={**(settings or {}), **named}, override_origin="python").recipe
        return self._trained.evaluate(data, recipe.data, recipe.evaluation)[0]

    def read(self, source: Any, data: DataSection | None = None) -> pd.DataFrame:
        """Rows to predict, from a file or a DataFrame, as a canonical frame; labels are not needed."""
        return load_unlabelled(source, data or DataSection(), self._trained.columns, self._trained.task.name)

    @property
    def trained(self) -> TrainedModel:
        """The model with its task, for frames and custom evaluation."""
        return self._trained


def frame_of_inputs(trained: TrainedModel, inputs: list[Any]) -> pd.DataFrame:
    """A canonical frame of texts, pairs of texts, or image paths.

    Raises:
        DataError: an input is not of the kind that the model takes, or is an empty text.
    """
    if trained.task.modality == "image":
        folders = [str(item) for item in inputs if Path(item).is_dir()]
        if folders:
            raise DataError(
                f"{folders[0]} is a folder, and an image file is wanted.",
                remedy=f"Predict all its images with: trimtab predict RUN --file {folders[0]}",
            )
        return pd.DataFrame({"image": [str(item) for item in inputs]})
    wants_pairs = len(trained.columns.text) == 2
    wrong = [item for item in inputs if not (_is_pair(item) if wants_pairs else isinstance(item, str))]
    if wrong:
        raise DataError(
            f"This model takes {'pairs of texts' if wants_pairs else 'texts'}; found {type(wrong[0]).__name__}: "
            f"{wrong[0]!r}.",
            remedy="Give (text, text) tuples, or a file with both columns."
            if wants_pairs
            else "Give strings, or a file with a text column.",
        )
    empty = [number for number, item in enumerate(inputs, start=1) if not all(map(str.strip, _texts(item)))]
    if empty:
        raise DataError(
            f"Input {empty[0]} of {len(inputs)} is an empty text.", remedy="Leave it out: there is nothing to judge."
        )
    if wants_pairs:
        return pd.DataFrame({"text": [item[0] for item in inputs], "text_pair": [item[1] for item in inputs]})
    return pd.DataFrame({"text": inputs}, dtype=object)


def _texts(item: Any) -> Sequence[str]:
    return [item] if isinstance(item, str) else item


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)
