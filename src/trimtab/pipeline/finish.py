"""The end of a run: the best weights, judged on rows they never saw, written down and described."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from trimtab.core.events import EventLog, read_events
from trimtab.core.files import disk_error, write_json
from trimtab.core.runs import RunDirectory
from trimtab.evaluation.baselines import baseline_predictions
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.predictions import worst_rows, write_predictions
from trimtab.evaluation.report import ReportContext, write_reports
from trimtab.evaluation.result import EvalResult
from trimtab.evaluation.retention.result import RetentionResult
from trimtab.metrics.scores import Scores
from trimtab.pipeline.caches import results_cache
from trimtab.pipeline.deliver import Delivery, deliver
from trimtab.pipeline.delivered import ADAPTER, write_delivered
from trimtab.pipeline.describe import Timer, describe_plan
from trimtab.pipeline.parts import Parts, base_of
from trimtab.pipeline.retention import retention_of
from trimtab.pipeline.trained import describe_model
from trimtab.training.checkpoints import CheckpointStore
from trimtab.training.engine import Engine
from trimtab.training.faithful import Choice, choose_precision


def finish(
    run: RunDirectory,
    parts: Parts,
    store: CheckpointStore,
    engine: Engine,
    events: EventLog,
    timer: Timer,
    diagnose: Callable[[dict[str, Any]], dict[str, Any]] = lambda final: {},
) -> None:
    """Choose the weights, save the model, judge it, and write the reports; `evaluation.json` comes last.

    Args:
        run: its directory.
        parts: as trained.
        store: its checkpoints.
        engine: the loop, at its end.
        events: its record.
        timer: takes the seconds of each phase.
        diagnose: gives the doctor's diagnosis of the finished run from the content of `evaluation.json`.
    """
    step = engine.progress.step
    events.write("phase", step, phase="weights", message="Choosing the weights that are delivered")
    delivery = deliver(parts, store, engine, events)
    trained, parts = parts, delivery.parts
    split = "test" if "test" in parts.examples else "validation"
    events.write("phase", step, phase="evaluation", message=f"Judging these weights on the {split} rows")
    # As in training, unless that would change labels.
    choice = choose_precision(
        parts.predictor("fp32"), parts.examples[split], "fp32" if parts.recipe.training.precision == "fp32" else "auto"
    )
    scores = choice.apply(parts.predictor("fp32")).predict(parts.examples[split]).scores
    if not parts.accelerator.is_main_process:
        parts.accelerator.wait_for_everyone()
        return
    _save_model(run, delivery)
    retention = _measure_retention(parts, events, step)
    if retention is not None:
        write_json(run.path / "retention.json", retention.to_dict())
        events.write("retention", step, **retention.to_dict())
        timer.lap("retention")
    result = _judge(parts, split, scores, choice, delivery.notes)
    frame = parts.ground.dataset.splits[split]
    write_predictions(run.predictions, frame, scores, parts.ground.task.labels)
    timer.lap("evaluation")
    kept = {} if retention is None else retention.to_dict()
    diagnosis = diagnose({**result.to_dict(), "best_step": delivery.step})
    write_reports(run, _context(run, trained, result, scores, timer, kept, diagnosis))
    write_json(run.evaluation, {**result.to_dict(), "best_step": delivery.step, "seconds": timer.seconds})
    _tell_end(run, events, step, result, retention, timer)
    parts.accelerator.wait_for_everyone()


def _tell_end(
    run: RunDirectory,
    events: EventLog,
    step: int,
    result: EvalResult,
    retention: RetentionResult | None,
    timer: Timer,
) -> None:
    """Write the last event of the record."""
    events.write(
        "end",
        step,
        run=str(run.path),
        split=result.split,
        metric=result.primary_metric,
        value=result.primary.value,
        verdict=result.verdict,
        target_reached=None if result.target is None else result.target.reached,
        retention=None if retention is None else retention.summary,
        seconds=timer.seconds,
    )


def _measure_retention(parts: Parts, events: EventLog, step: int) -> RetentionResult | None:
    """What the delivered model kept of the pretrained one; None where the recipe does not ask."""
    if parts.ground.retention is not None:
        events.write("phase", step, phase="retention", message="Measuring what was kept of the pretrained model")
    return retention_of(parts)


def _save_model(run: RunDirectory, delivery: Delivery) -> None:
    """Write `model/` aside and rename it, so that it is whole or not there, and likewise `adapter/`."""
    parts = delivery.parts
    aside = run.path / f".model.{os.getpid()}.tmp"
    task, strategy = parts.ground.task, parts.ground.strategy
    try:
        write_delivered(
            aside,
            trained=delivery.trained,
            plain=parts.model if delivery.merged else None,
            base=parts.model if delivery.merged else base_of(parts),
            processor=parts.loaded.processor,
            strategy=strategy,
        )
        if delivery.merged:
            strategy.save_adapter(delivery.trained, run.path / ADAPTER)
        metric = task.primary_metric(parts.recipe.evaluation.metric)
        ground = parts.ground
        describe_model(aside, task, ground.dataset.columns, metric, parts.recipe.seed, ground.context.max_length)
        if run.model.exists():
            shutil.rmtree(run.model)
        aside.replace(run.model)
    except OSError as error:
        raise disk_error(run.model, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _judge(parts: Parts, split: str, scores: Scores, choice: Choice, origin: tuple[str, ...]) -> EvalResult:
    dataset, section = parts.ground.dataset, parts.recipe.evaluation
    labels = parts.examples[split].labels
    if labels is None:
        raise ValueError(f"the {split} split has no labels")
    baselines = (
        baseline_predictions(
            dataset.task,
            dataset.splits["train"],
            dataset.splits[split],
            dataset.labels,
            cache=results_cache(parts.recipe, "baselines"),
        )
        if section.baselines
        else {}
    )
    notes = [*origin, *filter(None, (choice.note,))]
    if split == "validation":
        notes.append(
            "These rows also chose the weights, so that the figures are a little too good. Give test rows with "
            "--test FILE, or data.test_fraction above 0."
        )
    return evaluate_classification(
        labels,
        scores,
        dataset.labels,
        split=split,
        section=section,
        primary_metric=parts.ground.task.primary_metric(section.metric),
        seed=parts.recipe.seed,
        baseline_predictions=baselines,
        notes=tuple(notes),
        precision=choice.precision,
    )


def _context(
    run: RunDirectory,
    parts: Parts,
    result: EvalResult,
    scores: Scores,
    timer: Timer,
    retention: dict[str, Any],
    diagnosis: dict[str, Any],
) -> ReportContext:
    dataset = parts.ground.dataset
    history = list(read_events(run.events))
    return ReportContext(
        title=run.path.name,
        task=dataset.task,
        recipe=parts.resolved.values(),
        origins=parts.resolved.origins,
        environment=json.loads(run.environment.read_text(encoding="utf-8")),
        dataset={
            "name": dataset.name,
            "rows": {name: len(frame) for name, frame in dataset.splits.items()},
            "labels": list(dataset.labels),
            "notes": list(dataset.notes),
            "pairs": len(dataset.columns.text) == 2,
        },
        findings=[event for event in history if event.get("type") == "finding" and event.get("by") != "doctor"],
        strategy=describe_plan(parts),
        history=history,
        result=result,
        worst=worst_rows(dataset.splits[result.split], scores, dataset.labels),
        timing=timer.seconds,
        retention=retention,
        diagnosis=diagnosis,
        adapter=ADAPTER if (run.model / ADAPTER).is_dir() else None,
    )
