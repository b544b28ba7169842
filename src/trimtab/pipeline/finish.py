"""The end of a run: the best weights, judged on rows they never saw, written down and described."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import numpy as np

from trimtab.core.events import EventLog, read_events
from trimtab.core.files import disk_error, write_json
from trimtab.core.runs import RunDirectory
from trimtab.evaluation.baselines import baseline_predictions
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.predictions import worst_rows, write_predictions
from trimtab.evaluation.report import ReportContext, write_reports
from trimtab.evaluation.result import EvalResult
from trimtab.models.loading import save_model
from trimtab.pipeline.describe import Timer
from trimtab.pipeline.parts import Parts
from trimtab.pipeline.trained import describe_model
from trimtab.training.checkpoints import CheckpointStore, find_fault, load_weights
from trimtab.training.records import Progress


def finish(
    run: RunDirectory, parts: Parts, store: CheckpointStore, progress: Progress, events: EventLog, timer: Timer
) -> None:
    """Load the best weights, save the model, judge it, and write the reports; `evaluation.json` comes last."""
    best_step = _load_best(parts, store, progress, events)
    split = "test" if "test" in parts.examples else "validation"
    events.write("phase", progress.step, phase="evaluation", message=f"Judging the best weights on the {split} rows")
    probabilities = parts.predictor("fp32").predict(parts.examples[split]).values
    if not parts.accelerator.is_main_process:
        parts.accelerator.wait_for_everyone()
        return
    _save_model(run, parts)
    origin = "the best on the validation rows" if best_step else "the last"
    note = f"The weights are those of step {best_step or progress.step}, {origin}."
    result = _judge(parts, split, probabilities, note)
    frame = parts.ground.dataset.splits[split]
    write_predictions(run.predictions, frame, probabilities, parts.ground.task.labels)
    timer.lap("evaluation")
    write_reports(run, _context(run, parts, result, probabilities, timer))
    write_json(run.evaluation, {**result.to_dict(), "best_step": best_step or progress.step, "seconds": timer.seconds})
    events.write(
        "end",
        progress.step,
        run=str(run.path),
        split=split,
        metric=result.primary_metric,
        value=result.primary.value,
        verdict=result.verdict,
        target_reached=None if result.target is None else result.target.reached,
        seconds=timer.seconds,
    )
    parts.accelerator.wait_for_everyone()


def _load_best(parts: Parts, store: CheckpointStore, progress: Progress, events: EventLog) -> int | None:
    """Take the weights of the best evaluation and return its step.

    Where no evaluation gave a number, or its checkpoint is damaged, the weights in memory stay: None.
    """
    for checkpoint in store.all():
        if checkpoint.step == progress.best_step:
            fault = find_fault(checkpoint.path)
            if fault is None:
                load_weights(checkpoint, parts.model)
                return checkpoint.step
            events.write(
                "action", progress.step, action="skip_checkpoint", checkpoint=checkpoint.path.name, reason=fault
            )
    return None


def _save_model(run: RunDirectory, parts: Parts) -> None:
    """Write `model/` aside and rename it, so that it is whole or not there."""
    aside = run.path / f".model.{os.getpid()}.tmp"
    task = parts.ground.task
    try:
        save_model(parts.loaded.model, parts.loaded.processor, aside)
        metric = task.primary_metric(parts.recipe.evaluation.metric)
        describe_model(aside, task, parts.ground.dataset.columns, metric, parts.recipe.seed)
        if run.model.exists():
            shutil.rmtree(run.model)
        aside.replace(run.model)
    except OSError as error:
        raise disk_error(run.model, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _judge(parts: Parts, split: str, probabilities: np.ndarray, note: str) -> EvalResult:
    dataset, section = parts.ground.dataset, parts.recipe.evaluation
    labels = parts.examples[split].labels
    if labels is None:
        raise ValueError(f"the {split} split has no labels")
    baselines = (
        baseline_predictions(dataset.task, dataset.splits["train"], dataset.splits[split], dataset.labels)
        if section.baselines
        else {}
    )
    notes = [note]
    if split == "validation":
        notes.append(
            "These rows also chose the weights, so that the figures are a little too good. Give test rows with "
            "--test FILE, or data.test_fraction above 0."
        )
    return evaluate_classification(
        labels,
        probabilities,
        dataset.labels,
        split=split,
        section=section,
        primary_metric=parts.ground.task.primary_metric(section.metric),
        seed=parts.recipe.seed,
        baseline_predictions=baselines,
        notes=tuple(notes),
    )


def _context(
    run: RunDirectory, parts: Parts, result: EvalResult, probabilities: np.ndarray, timer: Timer
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
        findings=[event for event in history if event.get("type") == "finding"],
        strategy=strategy_summary(parts),
        history=history,
        result=result,
        worst=worst_rows(dataset.splits[result.split], probabilities, dataset.labels),
        timing=timer.seconds,
    )


def strategy_summary(parts: Parts) -> dict[str, Any]:
    """What trained, block by block."""
    sizes = {name: parameter.numel() for name, parameter in parts.model.named_parameters()}
    trained = parts.plan.trained
    return {
        "name": parts.recipe.strategy.name,
        "parameters": sum(sizes.values()),
        "trained": sum(size for name, size in sizes.items() if name in trained),
        "notes": list(parts.plan.notes),
        "blocks": [
            {
                "block": block.name,
                "parameters": sum(sizes[name] for name in block.parameters),
                "trained": sum(sizes[name] for name in block.parameters if name in trained),
            }
            for block in parts.loaded.blocks.blocks
        ],
    }
