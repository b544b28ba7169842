"""From the trained model to the delivered one: its weights chosen, adapters merged, mixed with the pretrained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from trimtab.core.events import EventLog
from trimtab.core.seeds import stream
from trimtab.models.token_rows import whole_tables
from trimtab.pipeline.final_weights import SHARES, Weights, greedy_soup, interpolate
from trimtab.pipeline.judge import judge
from trimtab.pipeline.parts import Parts, load_start
from trimtab.regularization.mixout import remove_mixout
from trimtab.training.checkpoints import MODEL, Checkpoint, CheckpointStore, find_fault, load_weights, restore_optimizer
from trimtab.training.engine import Engine
from trimtab.training.optimizers import use_evaluation_weights
from trimtab.training.session import Judgement

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Largest difference of probabilities, in float32, between the model with adapters and the merged one.
MERGE_TOLERANCE = 1e-3
PARITY_ROWS = 64
# Rows that pass through the model to renew the batch-norm statistics of averaged weights.
BATCH_NORM_ROWS = 2048

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Delivery:
    """What a run delivers.

    Args:
        parts: those of the run, with the model that is delivered.
        trained: the model as it was trained, with its adapters.
        step: the step that its weights come from.
        notes: how they were chosen, as sentences.
        merged: whether the delivered model is a plain one; False where its adapters have to go beside it.
    """

    parts: Parts
    trained: nn.Module
    step: int
    notes: tuple[str, ...]
    merged: bool


def deliver(parts: Parts, store: CheckpointStore, engine: Engine, events: EventLog) -> Delivery:
    """Choose the weights, merge adapters, and mix with the pretrained weights, as the recipe says."""
    step, note = _choose_weights(parts, store, engine, events)
    whole_tables(parts.model)
    remove_mixout(parts.model)
    notes = [note, *_stages_not_reached(parts, engine)]
    trained = parts.model
    plain = parts.ground.strategy.merged(trained)
    merged = plain is not None
    if plain is not None and plain is not trained:
        difference = _difference(parts, plain)
        merged = difference <= MERGE_TOLERANCE
        rows = min(PARITY_ROWS, len(parts.examples["validation"]))
        notes.append(
            f"The adapters were merged into the weights; on {rows} validation rows the probabilities differ by at most "
            f"{difference:.1g}."
            if merged
            else f"The adapters were not merged: the probabilities of the merged model differ by {difference:.2g} "
            f"(allowed: {MERGE_TOLERANCE:g}), so that they are delivered beside the base model."
        )
        events.write("action", step, action="merge", merged=merged, difference=difference, tolerance=MERGE_TOLERANCE)
    if plain is not None and merged:
        parts = replace(parts, loaded=replace(parts.loaded, model=cast("PreTrainedModel", plain)))
    wanted = parts.recipe.weights.interpolation
    if wanted is not None and not merged:
        notes.append("They are not mixed with the pretrained weights: that needs adapters that can be merged.")
    elif wanted is not None:
        notes.append(_interpolate(parts, (wanted,) if isinstance(wanted, float) else SHARES, events, step))
    return Delivery(parts, trained, step, tuple(notes), merged)


def _stages_not_reached(parts: Parts, engine: Engine) -> tuple[str, ...]:
    """A sentence on the stages of the plan that never began, as where evaluations end them."""
    stages, reached = parts.plan.stages, engine.progress.stage
    later = [stage.name for stage in stages[reached + 1 :]]
    if not later:
        return ()
    told = "; ".join(later)
    return (f"Training ended in stage {reached + 1} of {len(stages)}; the stages after it never began: {told}.",)


def _choose_weights(parts: Parts, store: CheckpointStore, engine: Engine, events: EventLog) -> tuple[int, str]:
    """Put the chosen weights into the model; return their step and a sentence on them."""
    progress, source = engine.progress, parts.recipe.weights.source
    last = f"The weights are those of step {progress.step}, the last."
    if source == "soup":
        return _soup(parts, store, engine, events)
    if source == "best":
        checkpoint = _sound(store, progress.best_step, events)
        if checkpoint is None:
            use_evaluation_weights(engine.optimizer)
            return progress.step, last
        load_weights(checkpoint, parts.model)
        restore_optimizer(checkpoint, engine.optimizer)
        use_evaluation_weights(engine.optimizer)
        return checkpoint.step, f"The weights are those of step {checkpoint.step}, the best on the validation rows."
    use_evaluation_weights(engine.optimizer)
    if parts.average is None:
        return progress.step, last
    if not parts.average.count:
        return progress.step, f"{last} Training ended before the average of the weights ({source}) began."
    parts.average.apply()
    _renew_batch_norm(parts)
    kind = "a moving average" if source == "ema" else "the average"
    return progress.step, (
        f"The weights are {kind} of those of {_steps(parts.average.count)} ({source}), up to step {progress.step}: "
        f"{_compared(judge(parts).value, progress.best_value)}."
    )


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _compared(value: float, best: float | None) -> str:
    against = "" if best is None else f", against {best:.4f} of the best checkpoint"
    return f"{value:.4f} on the validation rows{against}"


def _soup(parts: Parts, store: CheckpointStore, engine: Engine, events: EventLog) -> tuple[int, str]:
    progress = engine.progress
    found = [checkpoint for step, _ in progress.best if (checkpoint := _sound(store, step, events)) is not None]
    if not found:
        return progress.step, f"The weights are those of step {progress.step}, the last: no checkpoint was sound."

    def candidates() -> Iterator[Weights]:
        for checkpoint in found:
            yield load_file(checkpoint.path / MODEL)

    def judged() -> Judgement:
        _renew_batch_norm(parts)
        return judge(parts)

    count, judgement = greedy_soup(parts.model, candidates(), judged)
    return found[0].step, (
        f"The weights are the average of {count} of the {len(found)} best checkpoints (greedy soup): "
        f"{_compared(judgement.value, progress.best_value)}."
    )


def _sound(store: CheckpointStore, step: int, events: EventLog) -> Checkpoint | None:
    """The checkpoint of a step; None where there is none, or it is damaged, which is told."""
    for checkpoint in store.all():
        if checkpoint.step == step:
            fault = find_fault(checkpoint.path)
            if fault is None:
                return checkpoint
            events.write("action", step, action="skip_checkpoint", checkpoint=checkpoint.path.name, reason=fault)
    return None


def _difference(parts: Parts, plain: nn.Module) -> float:
    """Largest difference of predictions, in float32, between the trained model and the plain one, on real rows."""
    examples = parts.examples["validation"]
    rows = np.sort(stream(parts.recipe.seed, "parity").permutation(len(examples))[:PARITY_ROWS])
    predictor = parts.predictor("fp32")
    before = predictor.predict_rows(examples, rows)
    after = replace(predictor, model=plain).predict_rows(examples, rows)
    return float(np.abs(before - after).max())


def _interpolate(parts: Parts, shares: tuple[float, ...], events: EventLog, step: int) -> str:
    share, judgement, tried = interpolate(parts.model, pretrained_weights(parts), shares, lambda: judge(parts))
    events.write("action", step, action="interpolate", share=share, tried=tried)
    return (
        f"They are mixed with the pretrained weights, {share:.0%} fine-tuned (WiSE-FT): {judgement.value:.4f} on the "
        "validation rows."
    )


def pretrained_weights(parts: Parts) -> Weights:
    """The weights that the run began with, read again; without those of a head that is new."""
    original = load_start(parts.recipe, parts.ground)
    head = set(original.blocks.head.parameters) if original.fresh_head else set()
    return {name: tensor for name, tensor in original.model.state_dict().items() if name not in head}


def _renew_batch_norm(parts: Parts) -> None:
    """Measure the statistics of batch norms that trained anew: averaged weights have never seen their own."""
    frozen = {id(inner) for module in parts.frozen for inner in module.modules()}
    norms = [m for m in parts.model.modules() if isinstance(m, BATCH_NORMS) and id(m) not in frozen]
    if not norms:
        return
    examples = parts.examples["train"]
    rows = stream(parts.recipe.seed, "batch norm").permutation(len(examples))[:BATCH_NORM_ROWS]
    momenta = [norm.momentum for norm in norms]
    parts.model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    size = parts.recipe.training.batch_size
    with torch.no_grad():
        for at in range(0, len(rows), size):
            batch = examples.collate(rows[at : at + size]).to(parts.accelerator.device)
            parts.model(**batch.inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


__all__ = ["Delivery", "deliver", "pretrained_weights"]
