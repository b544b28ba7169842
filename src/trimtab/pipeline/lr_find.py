"""The learning-rate range test on a recipe's model and data. Nothing is trained for keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import Recipe, ScheduleSection
from trimtab.core.errors import NonFiniteError, RecipeError
from trimtab.core.events import EventLog, Listener
from trimtab.core.files import disk_error, write_atomic, write_json
from trimtab.core.registry import STRATEGIES
from trimtab.core.seeds import seed_torch
from trimtab.data.batching import steps_per_epoch
from trimtab.evaluation.svg import Series, line_chart
from trimtab.pipeline.check import check, describe_dataset
from trimtab.pipeline.loop import build_engine
from trimtab.pipeline.parts import Parts, build_parts
from trimtab.training.engine import Engine
from trimtab.training.optimizers import build_optimizer, section_rate
from trimtab.training.rate_range import RateRange, has_diverged, smooth, spaced_rates, suggest
from trimtab.training.records import Progress, StepRecord

STEPS, FEWEST_STEPS = 100, 20
# The range, where none is given, around the rate of the recipe.
BELOW, ABOVE = 1e-3, 1e3
CHART, NUMBERS = "lr_find.svg", "lr_find.json"

# The chart stands alone: its colours, else from the report's style sheet, for a light and a dark page.
_STYLE = """<style>
svg { background: #fcfcfa; } text { font: 12px system-ui, sans-serif; fill: #5b6570; }
.title { fill: #1d2329; font-weight: 600; font-size: 13px; } .grid { stroke: #dcdfe2; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: #1f62b5; } .s1 { stroke: #b0b8c0; stroke-width: 1; } .s2 { stroke: #b85400; stroke-dasharray: 5 4; }
.dot.s0 { fill: #1f62b5; } .dot.s1 { fill: #b0b8c0; } .dot.s2 { fill: #b85400; }
@media (prefers-color-scheme: dark) { svg { background: #15191d; } text { fill: #9aa5b0; } .title { fill: #e4e7ea; }
.grid { stroke: #333b43; } .s0 { stroke: #74b0f4; } .s1 { stroke: #5b6570; } .s2 { stroke: #f0a35e; }
.dot.s0 { fill: #74b0f4; } .dot.s1 { fill: #5b6570; } .dot.s2 { fill: #f0a35e; } }
</style>"""


def find_learning_rate(
    resolved: ResolvedRecipe,
    source: Any,
    output: Path = Path("lr-find"),
    *,
    lowest: float | None = None,
    highest: float | None = None,
    steps: int = STEPS,
    listener: Listener | None = None,
) -> RateRange:
    """Run a range test with the recipe's strategy and optimizer, and write its chart and its numbers into `output`.

    The groups' rates keep their ratios: the rate tested is what `optimizer.learning_rate` would be. All stages of a
    strategy train at once, and the schedule is left aside. A second test in the same folder takes the place of the
    first.

    Args:
        resolved: recipe with origins; may hold `auto`.
        source: path, id, DataFrame or `datasets` object.
        output: folder for `lr_find.svg` and `lr_find.json`; it is made.
        lowest: first rate; a thousandth of the recipe's when absent.
        highest: last rate; a thousand times the recipe's when absent.
        steps: optimizer steps, at least 20.
        listener: called with every event, for a progress display.

    Raises:
        RecipeError: the range is empty, the steps are too few, or the strategy is still to be chosen.
        RunError: `output` cannot be written.
        NonFiniteError: the first step has no finite loss.
        TrimtabError: whatever training would raise before its first step.
    """
    _refuse_bad_range(lowest, highest, steps)
    _refuse_unsettled(resolved.recipe.strategy.name)
    _make_folder(output)
    events = EventLog(None)
    if listener is not None:
        events.listen(listener)
    ground, report = check(resolved, source)
    events.write("report", 0, report=report.to_dict(), dataset=describe_dataset(ground.dataset))
    report.raise_if_refused(resolved.recipe.data.force)
    events.write("phase", 0, phase="model", message=f"Loading {ground.source.name}")
    parts = build_parts(resolved, ground)
    own = section_rate(parts.recipe.optimizer)
    rates = _range(own, lowest, highest, steps)
    events.write(
        "phase",
        0,
        phase="lr-find",
        message=f"Range test: {steps} steps, learning rate {rates[0]:.1e} to {rates[-1]:.1e}",
    )
    found = _run(parts, rates, own, events)
    if parts.accelerator.is_main_process:
        write_atomic(output / CHART, rate_chart(found))
        write_json(output / NUMBERS, found.to_dict())
    return found


def rate_chart(found: RateRange) -> str:
    """The loss over the rate as an SVG document, with the suggestion as an upright line; see `RateRange`."""
    logs = [math.log10(rate) for rate in found.rates]
    means = [mean for mean in found.smoothed if mean is not None]
    top = max(means)
    # Single losses above the smoothed curve would squeeze it flat.
    losses = [None if loss is None or loss > top else loss for loss in found.losses]
    series = [
        Series("loss", list(zip(logs, losses, strict=True)), 1),
        Series("smoothed loss", list(zip(logs, found.smoothed, strict=True)), 0),
    ]
    if found.suggestion.recommended is not None:
        at = math.log10(found.suggestion.recommended)
        bottom = min(loss for loss in (*losses, *means) if loss is not None)
        series.append(Series(f"suggested {found.suggestion.recommended:.1e}", [(at, bottom), (at, top)], 2))
    chart = line_chart("Learning-rate range test", series, x_label="power of ten of the learning rate (-4 is 0.0001)")
    head, _, rest = chart.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">\n{_STYLE}{rest}\n'


def _refuse_unsettled(name: str) -> None:
    if STRATEGIES.get(name).stands_for_another:
        raise RecipeError(
            f"A range test needs the strategy that trains, and --strategy {name} is still to choose one.",
            remedy="Name it, such as --strategy full; what auto chose before stands in recipe.yaml of that run.",
        )


def _refuse_bad_range(lowest: float | None, highest: float | None, steps: int) -> None:
    for name, value in (("lowest", lowest), ("highest", highest)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise RecipeError(f"The {name} rate is {value:g}.", remedy="Give a number above 0, such as 1e-5.")
    if steps < FEWEST_STEPS:
        raise RecipeError(
            f"A range test of {steps} steps tells nothing.",
            remedy=f"Take {FEWEST_STEPS} steps or more; {STEPS} are usual.",
        )


def _range(own: float, lowest: float | None, highest: float | None, steps: int) -> list[float]:
    first = own * BELOW if lowest is None else lowest
    last = own * ABOVE if highest is None else highest
    if first >= last:
        raise RecipeError(
            f"The range is empty: from {first:g} to {last:g}.",
            remedy="The lowest rate must be below the highest; without them, the range is a thousand times below to a "
            f"thousand times above {own:g}.",
        )
    return spaced_rates(first, last, steps)


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(output, error) from error


def _run(parts: Parts, rates: list[float], own: float, events: EventLog) -> RateRange:
    """Train at each rate in turn until the loss gets out of hand."""
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    seed_torch(parts.recipe.seed, "dropout", parts.accelerator.process_index)
    losses: list[float] = []
    stopped, is_finite = "the highest rate was reached", True
    for record in _steps(parts, optimizer, [rate / own for rate in rates], events):
        events.write("step", record.step, **record.to_event())
        if record.skipped is not None or record.loss is None:
            stopped, is_finite = f"at step {record.step} {record.skipped}", False
            break
        losses.append(record.loss)
        if has_diverged(losses):
            stopped = f"at step {record.step} the smoothed loss had grown to four times its lowest value"
            break
    if not losses:
        raise NonFiniteError(
            f"The range test ended before it began: {stopped}.",
            remedy="Start lower (--lowest), or with training.precision=fp32.",
        )
    gap = () if is_finite else (None,)
    used = tuple(rates[: len(losses) + len(gap)])
    return RateRange(used, (*losses, *gap), (*smooth(losses), *gap), stopped, suggest(used[: len(losses)], losses))


def _steps(
    parts: Parts, optimizer: torch.optim.Optimizer, factors: list[float], events: EventLog
) -> Iterator[StepRecord]:
    """One step at each factor of the groups' rates."""
    bases = [group["base_lr"] for group in optimizer.param_groups]
    records = _engine(parts, optimizer, len(factors), events).steps()
    for factor in factors:
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["base_lr"] = base * factor
        yield next(records)


def _engine(parts: Parts, optimizer: torch.optim.Optimizer, steps: int, events: EventLog) -> Engine:
    """The loop over the training rows, as often as the steps want, at a constant rate and without stages."""
    budget = parts.recipe.training.max_tokens_per_batch
    if isinstance(budget, str):
        raise ValueError("training.max_tokens_per_batch is still 'auto': the recipe was not resolved")
    progress = Progress(token_budget=budget)
    return build_engine(
        parts,
        optimizer,
        progress,
        lambda action, **fields: events.write("action", progress.step, action=action, **fields),
        recipe=_recipe(parts.recipe, steps, len(parts.examples["train"])),
        plan=replace(parts.plan, stages=(), restart_schedule=False),
    )


def _recipe(recipe: Recipe, steps: int, rows: int) -> Recipe:
    """The recipe with a constant rate, and as long as the test."""
    training = recipe.training
    epoch = steps_per_epoch(rows, training.batch_size, training.gradient_accumulation_steps)
    return recipe.model_copy(
        update={
            "schedule": ScheduleSection(name="constant", warmup_steps=0),
            "training": training.model_copy(
                update={
                    "num_epochs": math.ceil(steps / epoch),
                    "max_steps": steps,
                    "compile": False,
                    "sharding": "none",
                }
            ),
        }
    )
