"""Several finished runs side by side: their figures, the recipe keys that differ, seeds of one recipe, paired tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimtab.core.errors import DataError, RunError
from trimtab.core.files import jsonable
from trimtab.core.runs import RunDirectory, open_run
from trimtab.evaluation.paired import PairedResult, holm, paired_test
from trimtab.evaluation.paired_rows import PLACE, shared_rows
from trimtab.evaluation.recipe_differences import Recipe, differing_keys, read_recipe, same_but_seed
from trimtab.evaluation.result import Interval
from trimtab.evaluation.seeds import GroupDifference, SeedGroup, group_difference, group_of
from trimtab.metrics.classification import get_metric

FALSE_ALARMS = (
    "{count} comparisons: the p-values under 'adjusted' hold for all of them together (Holm's method); the intervals "
    "hold for one at a time."
)


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Args:
        name: its directory's name, or its path where two have the same name.
        path: the run directory.
        split: the rows it was judged on, e.g. `test`.
        rows: how many they are.
        primary_metric: the metric of its verdict.
        seed: of its recipe; None where the recipe does not tell.
        metrics: name -> value with interval.
    """

    name: str
    path: str
    split: str
    rows: int
    primary_metric: str
    seed: int | None
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Comparison:
    """What `trimtab compare` tells.

    Args:
        metric: the metric compared.
        higher_is_better: which way it goes.
        confidence: level of the intervals.
        runs: in the order given.
        differs: recipe key -> run name -> value, for the keys in which the runs differ; output folders aside.
        groups: runs of one recipe that differ in nothing but the seed, with the mean of the metric; two runs at least.
        group_difference: between the two groups, where there are just two.
        pairs: the first run against each other one.
        adjusted: p-values of the pairs, corrected for their number.
        refused: run name -> why it was not tested against the first.
        notes: what to know when reading the numbers.
    """

    metric: str
    higher_is_better: bool
    confidence: float
    runs: tuple[ComparedRun, ...]
    differs: dict[str, dict[str, Any]]
    groups: tuple[SeedGroup, ...]
    group_difference: GroupDifference | None
    pairs: tuple[PairedResult, ...]
    adjusted: tuple[float, ...]
    refused: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None."""
        plain: dict[str, Any] = jsonable(asdict(self))
        return plain


def compare_runs(
    paths: Sequence[Path], *, metric: str = "auto", confidence: float = 0.95, samples: int = 2000
) -> Comparison:
    """Compare finished runs: the first with each other one.

    Args:
        paths: two or more run directories.
        metric: name in `METRICS`; `auto` takes the metric of the first run's verdict.
        confidence: level of the intervals, in (0, 1).
        samples: number of resamples.

    Raises:
        RunError: fewer than two runs, one twice, one that is none of ours or is not finished.
        DataError: two runs were not judged on the same rows, and are not seeds of one recipe either.
        UnknownNameError: no metric goes by that name.
    """
    directories = _distinct(paths)
    names = _names([run.path for run in directories])
    evaluations = [_evaluation(run) for run in directories]
    chosen = str(evaluations[0]["primary_metric"]) if metric == "auto" else metric
    higher = get_metric(chosen).higher_is_better
    recipes = [read_recipe(run.recipe) for run in directories]
    runs = tuple(map(_compared, names, directories, evaluations, recipes))
    groups = _groups(runs, recipes, chosen)
    pairs, refused = _pairs(directories, names, chosen, confidence, samples)
    alone = len(directories) == 2 and not groups
    if refused and alone:
        raise refused[names[1]]
    adjusted = holm([pair.p_value for pair in pairs])
    two_groups = group_difference(groups[0], groups[1], chosen, confidence) if len(groups) == 2 else None
    return Comparison(
        metric=chosen,
        higher_is_better=higher,
        confidence=confidence,
        runs=runs,
        differs=differing_keys(dict(zip(names, recipes, strict=True))),
        groups=groups,
        group_difference=two_groups,
        pairs=tuple(pairs),
        adjusted=tuple(adjusted),
        refused={name: f"{error.message} {error.remedy}" for name, error in refused.items()},
        notes=tuple(_notes(runs, len(pairs))),
    )


def _distinct(paths: Sequence[Path]) -> list[RunDirectory]:
    if len(paths) < 2:
        raise RunError("A comparison needs two runs or more.", remedy="Name them: trimtab compare RUN RUN")
    runs = [open_run(path) for path in paths]
    seen: set[Path] = set()
    for run in runs:
        real = run.path.resolve()
        if real in seen:
            raise RunError(f"{run.path} is named twice.", remedy="Name each run once.")
        seen.add(real)
    return runs


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names, the paths themselves where two short ones are the same."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _evaluation(run: RunDirectory) -> dict[str, Any]:
    """What `evaluation.json` says.

    Raises:
        RunError: the run has not finished, or the file is damaged.
    """
    if not run.is_finished:
        raise RunError(
            f"{run.path} has not finished: nothing judged its model yet.",
            remedy=f"Go on with it by: trimtab resume {run.path}",
        )
    try:
        written = json.loads(run.evaluation.read_text(encoding="utf-8"))
        return {**written, "metrics": {key: Interval.from_dict(value) for key, value in written["metrics"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{run.evaluation} cannot be read: {error}.", remedy="Judge the model anew with: trimtab evaluate RUN DATA"
        ) from error


def _compared(name: str, run: RunDirectory, evaluation: Mapping[str, Any], recipe: Recipe) -> ComparedRun:
    seed = recipe.values.get("seed")
    return ComparedRun(
        name=name,
        path=str(run.path),
        split=str(evaluation.get("split", "")),
        rows=int(evaluation.get("rows") or 0),
        primary_metric=str(evaluation["primary_metric"]),
        seed=seed if isinstance(seed, int) else None,
        metrics=evaluation["metrics"],
    )


def _groups(runs: Sequence[ComparedRun], recipes: Sequence[Recipe], metric: str) -> tuple[SeedGroup, ...]:
    """Runs that differ in nothing but the seed, in the order of their first run."""
    members: list[list[int]] = []
    for index, recipe in enumerate(recipes):
        home = next((group for group in members if same_but_seed(recipes[group[0]], recipe)), None)
        if home is None:
            members.append([index])
        else:
            home.append(index)
    told = [
        [(runs[index].name, runs[index].metrics[metric].value) for index in group if metric in runs[index].metrics]
        for group in members
    ]
    return tuple(group_of(group) for group in told if len(group) > 1)


def _pairs(
    runs: Sequence[RunDirectory], names: Sequence[str], metric: str, confidence: float, samples: int
) -> tuple[list[PairedResult], dict[str, DataError | RunError]]:
    """The first run against each other one, and why where that cannot be."""
    done: list[PairedResult] = []
    refused: dict[str, DataError | RunError] = {}
    for run, name in zip(runs[1:], names[1:], strict=True):
        both = (names[0], name)
        try:
            shared = shared_rows(_predictions(runs[0]), _predictions(run), both)
            done.append(paired_test(shared, both, metric=metric, confidence=confidence, samples=samples))
        except (DataError, RunError) as error:
            refused[name] = error
    return done, refused


def _predictions(run: RunDirectory) -> Any:
    import pandas as pd

    try:
        frame = pd.read_parquet(run.predictions)
    except (OSError, ValueError) as error:
        raise RunError(
            f"The predictions of {run.path} cannot be read: {error}.",
            remedy="They are written when a run ends; train it anew if the file was removed.",
        ) from error
    return frame.sort_values([name for name in PLACE if name in frame], kind="stable", ignore_index=True)


def _notes(runs: Sequence[ComparedRun], pairs: int) -> list[str]:
    notes = []
    metrics = list(dict.fromkeys(run.primary_metric for run in runs))
    if len(metrics) > 1:
        notes.append(f"The runs were chosen and judged by different metrics: {', '.join(metrics)}.")
    splits = list(dict.fromkeys(run.split for run in runs))
    if len(splits) > 1:
        notes.append(f"The runs were judged on different splits: {', '.join(splits)}.")
    if pairs > 1:
        notes.append(FALSE_ALARMS.format(count=pairs))
    return notes
