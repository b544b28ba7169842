"""`strategy: auto` settled: a few strategies are tried on a slice of the data, and the best goes on.

Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943): all candidates train for a few steps, the better half
for twice as many, and so on. Each trial begins anew with a learning-rate schedule of its own length, so that it is a
small run of the real kind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast

import pandas as pd
from accelerate.utils import broadcast_object_list

from trimtab.config.load import with_inferred
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.plugins import PluginSection, parse_options
from trimtab.core.errors import MissingDependencyError, ModelError, RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.core.seeds import seed_torch
from trimtab.data.dataset import Dataset
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.pipeline.loop import build_engine
from trimtab.pipeline.parts import Groundwork, Parts, build_parts
from trimtab.pipeline.preflight import stage
from trimtab.pipeline.token_rows import train_rows_in_use
from trimtab.strategies.auto import AutoOptions
from trimtab.strategies.base import Strategy
from trimtab.training.optimizers import build_optimizer, use_evaluation_weights
from trimtab.training.records import Progress

TIMING_STEPS = 3
FEWEST_STEPS, MOST_STEPS = 8, 400
SAMPLES = 400

Say = Callable[[str], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One strategy, trained for some steps on the slice.

    Args:
        strategy: its name.
        steps: optimizer steps.
        value: metric on the validation slice.
        gain: what it is above predicting the majority class.
        noise: standard error of the metric, from a bootstrap over the rows.
        cpu_minutes: processor time of the training, over all cores.
        trained_parameters: how many parameters train.
    """

    strategy: str
    steps: int
    value: float
    gain: float
    noise: float
    cpu_minutes: float
    trained_parameters: int

    @property
    def gain_per_minute(self) -> float:
        """Gain for each minute of processor time."""
        return self.gain / self.cpu_minutes


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Args:
        chosen: name of the strategy that goes on.
        metric: what the trials were judged by.
        trials: all of them, in the order in which they were made.
        passed_over: strategy -> why it was not tried.
    """

    chosen: str
    metric: str
    trials: tuple[Trial, ...]
    passed_over: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [{**asdict(trial), "gain_per_minute": trial.gain_per_minute} for trial in self.trials]
        return {"chosen": self.chosen, "metric": self.metric, "trials": rows, "passed_over": self.passed_over}


def settle_strategy(
    resolved: ResolvedRecipe, ground: Groundwork, say: Say
) -> tuple[ResolvedRecipe, Groundwork, Probe | None]:
    """Put the strategy that did best in the place of `auto`; anything else is handed back as it is.

    Args:
        resolved: the recipe.
        ground: from `lay_groundwork`.
        say: called with a sentence after each trial.

    Raises:
        RecipeError: a candidate's name is unknown, or none fits the model.
    """
    if not ground.strategy.stands_for_another:
        return resolved, ground, None
    options = cast(AutoOptions, ground.strategy.options)
    unknown = [name for name in options.candidates if name not in STRATEGIES.names()]
    if unknown:
        raise RecipeError(
            f"strategy.candidates: no strategy is called {unknown[0]!r}.",
            remedy=f"Known: {', '.join(name for name in STRATEGIES.names() if name != 'auto')}.",
        )
    sliced = replace(ground, dataset=_slice(ground, options))
    probe = _halve(resolved, sliced, options, say)
    resolved = with_inferred(resolved, {"strategy": probe.chosen})
    strategy = _strategy(probe.chosen)
    return resolved, replace(ground, recipe=resolved.recipe, strategy=strategy), probe


def _halve(resolved: ResolvedRecipe, ground: Groundwork, options: AutoOptions, say: Say) -> Probe:
    passed_over: dict[str, str] = {}
    standing = []
    slowest = 0.0
    for name in options.candidates:
        try:
            slowest = max(slowest, _try(resolved, ground, name, TIMING_STEPS)[1] / TIMING_STEPS)
            standing.append(name)
        except (RecipeError, ModelError, MissingDependencyError) as error:
            passed_over[name] = str(error)
    if not standing:
        raise RecipeError(
            f"strategy.candidates: none of {', '.join(options.candidates)} fits this model; the first: "
            f"{passed_over[options.candidates[0]]}",
            remedy="Name other candidates, or a strategy: --strategy full.",
        )
    rungs = max(1, math.ceil(math.log2(len(standing))))
    slowest = _of_main_process(slowest)
    # Every rung costs about the same: half as many candidates for twice as many steps.
    affordable = options.minutes * 60 / (slowest * len(standing) * rungs)
    steps = int(min(MOST_STEPS / 2 ** (rungs - 1), max(FEWEST_STEPS, affordable)))
    trials: list[Trial] = []
    for rung in range(rungs):
        tried = [_try(resolved, ground, name, steps * 2**rung)[0] for name in standing]
        trials += tried
        for trial in tried:
            say(f"{trial.strategy}: {trial.gain:+.3f} ± {trial.noise:.3f} after {trial.steps} steps")
        best_first = sorted(tried, key=lambda trial: -trial.value)
        standing = [trial.strategy for trial in best_first[: max(1, math.ceil(len(best_first) / 2))]]
        last = best_first
    chosen = _of_main_process(_choose(last))
    return Probe(chosen, ground.task.primary_metric(resolved.recipe.evaluation.metric), tuple(trials), passed_over)


def _choose(finalists: list[Trial]) -> str:
    """The best; of those within one standard error of it, the one that took the least processor time."""
    best = finalists[0]
    level = [trial for trial in finalists if best.value - trial.value <= best.noise]
    return min(level, key=lambda trial: trial.cpu_minutes).strategy


def _of_main_process(value: T) -> T:
    """What the main process measured, on every process: time differs between them, and all must do the same."""
    found: list[T] = broadcast_object_list([value])
    return found[0]


def _try(resolved: ResolvedRecipe, ground: Groundwork, name: str, steps: int) -> tuple[Trial, float]:
    """Train a strategy for so many steps; its trial, and the seconds that training took."""
    recipe = ground.recipe
    training = recipe.training.model_copy(
        update={"max_steps": steps, "num_epochs": steps, "compile": False, "sharding": "none"}
    )
    section = PluginSection(name=name, options=_strategy(name).options.model_dump(mode="json"))
    recipe = recipe.model_copy(update={"training": training, "strategy": section})
    origins = {key: origin for key, origin in resolved.origins.items() if not key.startswith("strategy")}
    small = replace(resolved, recipe=recipe, origins={**origins, "strategy": "inferred"})
    parts = build_parts(small, replace(ground, recipe=recipe, strategy=_strategy(name)))
    seed_torch(recipe.seed, "dropout")
    progress = Progress(token_budget=int(parts.recipe.training.max_tokens_per_batch))
    train_rows_in_use(parts)
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    engine = build_engine(parts, optimizer, progress, lambda action, **fields: None)
    began, cpu = time.perf_counter(), time.process_time()
    with stage(f"trial of {name}"):
        for _ in engine.steps():
            pass
    seconds, minutes = time.perf_counter() - began, (time.process_time() - cpu) / 60
    use_evaluation_weights(engine.optimizer)
    return _judge(parts, name, steps, minutes), seconds


def _judge(parts: Parts, name: str, steps: int, minutes: float) -> Trial:
    task, examples = parts.ground.task, parts.examples["validation"]
    if examples.labels is None:
        raise ValueError("the validation split has no labels")
    probabilities = parts.predictor(parts.recipe.training.precision).predict(examples).values
    section = parts.recipe.evaluation.model_copy(
        update={"bootstrap_samples": SAMPLES, "target": None, "confidence": 0.6827}
    )
    metric = task.primary_metric(section.metric)
    majority = pd.Series(parts.examples["train"].labels).mode()[0]
    result = evaluate_classification(
        examples.labels,
        probabilities,
        task.labels,
        split="validation",
        section=section,
        primary_metric=metric,
        seed=parts.recipe.seed,
        baseline_predictions={},
    )
    constant = probabilities * 0
    constant[:, int(majority)] = 1.0
    trivial = task.metrics(examples.labels, constant)[metric]
    sign = 1 if task.higher_is_better(metric) else -1
    interval = result.metrics[metric]
    return Trial(
        strategy=name,
        steps=steps,
        value=sign * interval.value,
        gain=sign * (interval.value - trivial),
        # The interval holds the middle 68 %: one standard error to either side.
        noise=(interval.high - interval.low) / 2,
        cpu_minutes=max(minutes, 1e-6),
        trained_parameters=sum(parts.loaded.blocks.sizes[n] for n in parts.plan.trained),
    )


def _strategy(name: str) -> Strategy:
    strategy: Strategy = STRATEGIES.get(name)(parse_options("strategy", PluginSection(name=name)))
    return strategy


def _slice(ground: Groundwork, options: AutoOptions) -> Dataset:
    """So many rows of the training and validation splits, drawn by class; no other split is looked at."""
    splits = ground.dataset.splits
    return replace(
        ground.dataset,
        splits={
            "train": _sample(splits["train"], options.rows, ground.recipe.seed),
            "validation": _sample(splits["validation"], options.validation_rows, ground.recipe.seed),
        },
    )


def _sample(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    if len(frame) <= rows:
        return frame
    from sklearn.model_selection import train_test_split

    counts = frame["label"].value_counts()
    # A class of one row cannot be drawn by class.
    by_class = frame["label"] if counts.min() >= 2 and rows >= len(counts) else None
    drawn, _ = train_test_split(frame, train_size=rows, random_state=seed, stratify=by_class)
    return drawn.reset_index(drop=True)
