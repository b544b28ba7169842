"""Precision, attention and compilation settled by measuring, once data, model and plan are there.

A few passes over a small real batch, interleaved, take about half a second; a long run spends up to three seconds on
them. What was found is kept on disk, so that a second run of the same kind chooses the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from trimtab.config.load import with_inferred
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import AUTO, Recipe
from trimtab.core.cache import content_key
from trimtab.core.devices import computes_bf16
from trimtab.core.errors import RecipeError
from trimtab.data.batching import Batch
from trimtab.models.attention import attentions_of, inner_model, set_attention
from trimtab.models.loading import LoadedModel
from trimtab.pipeline.caches import results_cache
from trimtab.strategies.base import TrainingPlan, apply_plan, frozen_modules, train_mode
from trimtab.tasks.base import Examples, Task
from trimtab.training.bench import Bench
from trimtab.training.choices import Candidate, Choice, candidates_of, choose, choose_compile
from trimtab.training.engine import total_steps
from trimtab.training.memory import release_memory
from trimtab.training.precision import choose_precision
from trimtab.training.trial_steps import Outcome, interleaved_medians, left_as_it_was

# A run that is estimated shorter is not worth measuring for.
SHORT_RUN = 60.0
ROUNDS = 3
# Seconds of the passes that only find how long a pass takes, and of all passes together: a share of the run in bounds.
FIRST_PASS = 0.035
LEAST_SECONDS, MOST_SECONDS, SHARE_OF_RUN = 0.5, 3.0, 0.005
FILE = "choice.json"
FAULTS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, RecipeError)


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Args:
        choice: precision and attention, with reasons.
        seconds_per_row: of a pass with them.
    """

    choice: Choice
    seconds_per_row: float


def settle_speed(
    resolved: ResolvedRecipe,
    task: Task,
    loaded: LoadedModel,
    plan: TrainingPlan,
    examples: Examples,
    accelerator: Accelerator,
) -> tuple[ResolvedRecipe, dict[str, str]]:
    """The recipe with precision, attention and compilation settled, and the reason for each that was `auto`.

    The model is left as it was, but for the attention that was chosen.

    Args:
        resolved: all else is settled.
        task: gives the loss.
        loaded: the model on its device, with the plan applied, and its depth map.
        plan: what trains.
        examples: the encoded training rows.
        accelerator: device and processes.
    """
    recipe, device = resolved.recipe, accelerator.device
    wanted = {"training.precision": recipe.training.precision, "model.attention": recipe.model.attention}
    if AUTO not in wanted.values() and recipe.training.compile != AUTO:
        return resolved, {}
    attentions = attentions_of(loaded.model, device)
    precision, reason = choose_precision(recipe.training.precision, device)
    default = Candidate(precision, attentions[0])
    candidates = candidates_of(recipe, default, attentions, native_bf16=computes_bf16(device))
    bench = Bench(recipe, task, loaded.model, examples)
    speed: Speed | None = None
    compiles = recipe.training.compile == AUTO and device.type == "cuda"
    if accelerator.num_processes > 1:
        why = "not measured where several processes train"
    elif device.type not in ("cpu", "cuda") or (len(candidates) == 1 and not compiles):
        why = ""
    else:
        speed, why = _speed(bench, loaded, plan, default, candidates)
    choice = speed.choice if speed is not None else Choice(default, "", "")
    set_attention(loaded.model, choice.taken.attention)
    plain = "the only one here" if len(attentions) == 1 else "what transformers takes for this model"
    told: dict[str, tuple[Any, str]] = {
        "training.precision": (choice.taken.precision, choice.precision_reason or _joined(reason, why)),
        "model.attention": (choice.taken.attention, choice.attention_reason or _joined(plain, why)),
    }
    chosen = {key: told[key] for key, value in wanted.items() if value == AUTO}
    if recipe.training.compile == AUTO:
        estimated = None if speed is None else speed.seconds_per_row * _rows_of_run(recipe, len(examples))
        chosen["training.compile"] = choose_compile(
            recipe, device, estimated, has_stages=bool(plan.stages), can_compile=_has_triton()
        )
    values = {key: value for key, (value, _) in chosen.items()}
    return with_inferred(resolved, values), {key: reason for key, (_, reason) in chosen.items()}


def _speed(
    bench: Bench, loaded: LoadedModel, plan: TrainingPlan, default: Candidate, candidates: list[Candidate]
) -> tuple[Speed | None, str]:
    """What was measured before or is measured now; or None and why not."""
    cache = results_cache(bench.recipe, "choices")
    key = _key(bench, plan, candidates)
    known = None if cache is None else _read(cache.get(key), candidates)
    if known is not None:
        return known, ""
    stage = max(range(len(plan.stages) or 1), key=lambda number: len(plan.trained_in(number)))
    try:
        with left_as_it_was(bench.model):
            apply_plan(bench.model, plan, stage)
            train_mode(bench.model, frozen_modules(bench.model, loaded.blocks, plan, stage))
            speed = _measure(bench, default, candidates)
    except FAULTS as error:
        release_memory()
        set_attention(bench.model, default.attention)
        # Pre-flight takes the same way next, and tells what is wrong.
        return None, f"not measured, as a trial pass failed ({type(error).__name__})"
    if speed is None:
        return None, f"not measured for a run under {SHORT_RUN:.0f} seconds"
    if cache is not None:
        cache.discard(key)  # one that could not be read
        cache.put(key, lambda folder: _write(folder / FILE, speed))
    return speed, ""


def _measure(bench: Bench, default: Candidate, candidates: list[Candidate]) -> Speed | None:
    """Time the candidates against each other; None where the run is too short for it."""
    batch, seconds, rows = _grown(bench, default, min(4, bench.most_rows), FIRST_PASS)
    length = seconds / rows * _rows_of_run(bench.recipe, len(bench.examples))
    if length < SHORT_RUN:
        return None
    passes = len(candidates) * (ROUNDS + 1)
    allowed = min(MOST_SECONDS, max(LEAST_SECONDS, SHARE_OF_RUN * length)) / passes
    batch, _, rows = _grown(bench, default, rows, allowed)
    reference = Candidate("fp32", default.attention) if _compares_precisions(candidates) else default
    outcomes = dict(_outcomes(bench, [reference, *(one for one in candidates if one != reference)], batch))
    timed = interleaved_medians(list(outcomes), lambda one: bench.seconds(one, batch), ROUNDS)
    choice = choose(default if default in timed else reference, reference, timed, outcomes)
    return Speed(choice, timed[choice.taken] / rows)


def _grown(bench: Bench, candidate: Candidate, rows: int, seconds: float) -> tuple[Batch, float, int]:
    """The batch whose pass takes about so many seconds, or a whole piece; its seconds; and its rows.

    Begins with `rows` rows. The first pass of all is not counted: kernels are made ready in it.
    """
    batch = bench.batch(rows)
    bench.seconds(candidate, batch)
    taken = bench.seconds(candidate, batch)
    while rows < bench.most_rows and 2 * taken <= seconds:
        rows = min(bench.most_rows, 2 * rows)
        batch = bench.batch(rows)
        taken = bench.seconds(candidate, batch)
    return batch, taken, rows


def _outcomes(bench: Bench, candidates: list[Candidate], batch: Batch) -> Iterator[tuple[Candidate, Outcome]]:
    """What each candidate gives, the reference first; one that cannot compute the batch is left out."""
    for number, candidate in enumerate(candidates):
        faults = () if number == 0 else FAULTS
        with contextlib.suppress(*faults):
            yield candidate, bench.outcome(candidate, batch)


def _compares_precisions(candidates: list[Candidate]) -> bool:
    return len({candidate.precision for candidate in candidates}) > 1


def _rows_of_run(recipe: Recipe, rows: int) -> int:
    """Rows that pass through the model in the whole run."""
    training = recipe.training
    return total_steps(recipe, rows) * min(rows, training.batch_size * training.gradient_accumulation_steps)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _has_triton() -> bool:
    from torch.utils._triton import has_triton

    return bool(has_triton())


def _key(bench: Bench, plan: TrainingPlan, candidates: list[Candidate]) -> str:
    """What a choice hangs on: machine, libraries, the model's shapes, what trains, and the size of a piece."""
    import transformers

    device = next(bench.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.cpu.get_capabilities()
    inner = inner_model(bench.model)
    kind = getattr(getattr(inner, "config", None), "model_type", type(bench.model).__name__)
    shapes = {key: list(parameter.shape) for key, parameter in bench.model.named_parameters()}
    # Lengths and rows by powers of two: a little more data makes no other choice.
    sizes = [bench.typical_length.bit_length(), bench.most_rows.bit_length()]
    versions = [torch.__version__, transformers.__version__, torch.get_num_threads()]
    stages = [sorted(plan.trained_in(stage)) for stage in range(len(plan.stages) or 1)]
    tried = [asdict(candidate) for candidate in candidates]
    return content_key(
        [device.type, name], versions, kind, shapes, stages, sizes, tried, bench.recipe.training.gradient_checkpointing
    )


def _write(path: Path, speed: Speed) -> None:
    path.write_text(json.dumps(asdict(speed), indent=1), encoding="utf-8")


def _read(folder: Path | None, candidates: list[Candidate]) -> Speed | None:
    """A choice made before; None where there is none, or it cannot be read or is no candidate."""
    if folder is None:
        return None
    try:
        fields = json.loads((folder / FILE).read_text(encoding="utf-8"))
        choice = Choice(**{**fields["choice"], "taken": Candidate(**fields["choice"]["taken"])})
        speed = Speed(choice, float(fields["seconds_per_row"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if choice.taken not in candidates:
        return None
    precision, attention = _as_before(choice.precision_reason), _as_before(choice.attention_reason)
    return replace(speed, choice=Choice(choice.taken, precision, attention))


def _as_before(reason: str) -> str:
    return reason.replace("measured:", "measured in an earlier run:")
