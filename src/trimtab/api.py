"""The public Python API: `train`, `load`, `resume`, `control`, `check`, `diagnose`, `compare`, … and `Run`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.config.load import build_recipe
from trimtab.config.origins import Origin, ResolvedRecipe
from trimtab.core.control import WAIT_SECONDS, ask
from trimtab.core.errors import DataError
from trimtab.core.events import Listener
from trimtab.core.runs import open_run
from trimtab.data.report import DataReport
from trimtab.evaluation.comparison import Comparison, compare_runs
from trimtab.monitor import diagnose as monitor_diagnose
from trimtab.monitor.findings import Finding
from trimtab.monitor.reading import open_trace
from trimtab.pipeline import lr_find as pipeline_lr_find
from trimtab.pipeline import train as pipeline
from trimtab.pipeline import trials as pipeline_trials
from trimtab.pipeline.check import report_on
from trimtab.run import Run, StrPath

if TYPE_CHECKING:
    from trimtab.pipeline.trials import TrialResult
    from trimtab.training.rate_range import RateRange


def train(
    data: Any = None,
    *,
    model: str | None = None,
    strategy: str | Mapping[str, Any] | None = None,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    output: StrPath | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    recipe: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    on_event: Listener | None = None,
) -> Run:
    """Fine-tune a pretrained model on labelled data, and judge it on rows held out.

    Args:
        data: path, Hub id, DataFrame, or `datasets.Dataset`/`DatasetDict`; may stand in the recipe instead.
        model: `starter`, a local directory, or a Hub id.
        strategy: name of a strategy, or a mapping with `name` and its options.
        text, label: columns; inferred when absent.
        output: run directory to make.
        epochs: passes over the training rows.
        seed: seed of every random stream.
        recipe: YAML file with any recipe keys; arguments here take precedence.
        settings: any recipe key by its dotted name, such as `{"optimizer.learning_rate": 3e-5}`.
        on_event: called with every event of the run (a mapping with `type`, `time`, `step`, …).

    Returns:
        The finished run.

    Raises:
        TrimtabError: with what is wrong and what to do; recipe faults all at once.
    """
    named = {
        "model.name": model,
        "strategy": dict(strategy) if isinstance(strategy, Mapping) else strategy,
        "data.text": [text] if isinstance(text, str) else text and list(text),
        "data.label": label,
        "output": None if output is None else str(output),
        "training.num_epochs": epochs,
        "seed": seed,
    }
    overrides = {**(settings or {}), **{key: value for key, value in named.items() if value is not None}}
    resolved, source = with_data(overrides, data, recipe, origin="python")
    return Run(pipeline.train(resolved, source, on_event).path)


def check(data: Any = None, *, recipe: StrPath | None = None, settings: Mapping[str, Any] | None = None) -> DataReport:
    """The data report: what the data hold, and what would go wrong with them. Trains nothing.

    Raises:
        TrimtabError: the data cannot be read, or the recipe does not fit them.
    """
    resolved, source = with_data(dict(settings or {}), data, recipe, origin="python")
    return report_on(resolved, source)


def diagnose(path: StrPath) -> list[Finding]:
    """What is wrong with a run, the gravest first; an empty list where nothing was found.

    Args:
        path: a run directory, going on or ended; the output folder of a Trainer with `trimtab.DoctorCallback`; a
            `trainer_state.json` of transformers or a folder with one; a log of TensorBoard; a CSV of losses.

    Returns:
        Findings with `name`, `severity` (`info`, `warning`, `act`), `message`, `since` (a step), `evidence`, `remedy`,
        and `change`, the change of the recipe.

    Raises:
        RunError: nothing is there, it is no record, or it holds no losses.
        MissingDependencyError: it is a TensorBoard log, and the package `tensorboard` is not installed.
    """
    return monitor_diagnose.diagnose(open_trace(Path(path)))


def compare(*paths: StrPath, metric: str = "auto", confidence: float = 0.95, samples: int = 2000) -> Comparison:
    """Whether finished runs differ beyond chance, and in what their recipes do.

    The first run is tested against each other one on the rows that both were judged on: a paired bootstrap of the
    metric, and McNemar's exact test. Runs that differ in nothing but the seed are grouped.

    Args:
        paths: two or more run directories.
        metric: metric to compare; that of the first run's verdict when `auto`.
        confidence: level of the intervals, in (0, 1).
        samples: resamples of the bootstrap.

    Raises:
        RunError: fewer than two runs, or one that is not finished.
        DataError: two runs were not judged on the same rows, and are not seeds of one recipe either.
        UnknownNameError: there is no such metric.
    """
    return compare_runs([Path(path) for path in paths], metric=metric, confidence=confidence, samples=samples)


def find_learning_rate(
    data: Any = None,
    *,
    output: StrPath = "lr-find",
    steps: int = 100,
    recipe: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RateRange:
    """Raise the learning rate from step to step, and see where the loss falls fastest (Smith 2017, arXiv 1506.01186).

    Args:
        data: path, Hub id, DataFrame, or `datasets` object; may stand in the recipe instead.
        output: folder for `lr_find.svg` and `lr_find.json`.
        steps: optimizer steps, at least 20.
        recipe: YAML file with any recipe keys.
        settings: any recipe key by its dotted name; model, strategy and optimizer are those of the recipe.

    Returns:
        The rates with their losses, and the suggestion, if there is one.

    Raises:
        TrimtabError: whatever training would raise before its first step.
    """
    resolved, source = with_data(dict(settings or {}), data, recipe, origin="python")
    return pipeline_lr_find.find_learning_rate(resolved, source, Path(output), steps=steps)


def run_trials(
    data: Any = None,
    *,
    trials: Sequence[Mapping[str, Any]],
    recipe: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    on_event: Listener | None = None,
) -> list[TrialResult]:
    """Train several variants of one recipe, and judge each on the validation rows. No run directory is made.

    Data, tokens and the output of frozen blocks are made once for all. The test rows are not looked at.

    Args:
        data: path, Hub id, DataFrame, or `datasets` object; may stand in the recipe instead.
        trials: what each changes, by dotted key, such as `[{"seed": 1}, {"optimizer.learning_rate": 3e-4}]`.
        recipe: YAML file with any recipe keys.
        settings: any recipe key by its dotted name; what all trials share.
        on_event: called with every event.

    Returns:
        A result for each trial, in their order.

    Raises:
        RecipeError: a trial changes data, task, model, output or cache.
        TrimtabError: whatever training would raise.
    """
    own = dict(settings or {})

    def resolve(changes: Mapping[str, Any]) -> ResolvedRecipe:
        return with_data({**own, **changes}, data, recipe, origin="python")[0]

    source = with_data(own, data, recipe, origin="python")[1]
    return pipeline_trials.run_trials(resolve, source, trials, on_event)


def resume(path: StrPath, *, on_event: Listener | None = None) -> Run:
    """Go on with an interrupted run, to the same weights as without interruption.

    Raises:
        RunError: there is no such run, or it is finished.
        CheckpointError: the checkpoint lacks a part that an exact resume needs.
    """
    return Run(pipeline.resume(Path(path), on_event).path)


def control(path: StrPath, command: str, *, wait: float = WAIT_SECONDS, **fields: Any) -> dict[str, Any]:
    """Pause, resume, stop or change a run that goes on in another process.

    Args:
        path: the run directory.
        command: `pause`, `resume` (a paused one), `stop` (with a checkpoint), `checkpoint` (write one now),
            `learning_rate` (with `factor`, by which every rate is multiplied from now on), or `remedy` (with `finding`,
            the name of a finding; with `remedy`, too, where it has several).
        wait: seconds to wait for the answer; the run answers between two steps.
        fields: those of the command.

    Returns:
        The run's answer, an event `control`: `reason` says what was done; `accepted` is None where no answer came in
        time, and the run will still come to it.

    Raises:
        RunError: there is no such run or command, the run does not go on, or it refused, with the reason.
    """
    return ask(open_run(path), command, "python", wait=wait, **fields)


def load(path: StrPath) -> Run:
    """A finished run, or a model directory that Trimtab wrote.

    Raises:
        RunError: nothing is there, or the run has not finished.
    """
    return Run(path)


def with_data(
    overrides: dict[str, Any],
    data: Any,
    recipe: StrPath | None,
    *,
    origin: Origin,
    settings: Sequence[str] = (),
) -> tuple[ResolvedRecipe, Any]:
    """The recipe from file and overrides, and the data it names.

    Raises:
        DataError: neither the call nor the recipe names data.
    """
    if isinstance(data, str | os.PathLike):
        overrides = {**overrides, "data.path": os.fspath(data)}
    resolved = build_recipe(
        file=Path(recipe) if recipe is not None else None,
        overrides=overrides,
        settings=settings,
        override_origin=origin,
    )
    source = resolved.recipe.data.path if data is None or isinstance(data, str | os.PathLike) else data
    if source is None:
        raise DataError(
            "No data were named.",
            remedy="Name a file, a folder or a Hub id: trimtab train DATA, or the recipe key data.path.",
        )
    return resolved, source
