"""Which precision and which attention a run takes, from what trial passes measured; and whether it compiles.

Nothing here measures or touches a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trimtab.config.recipe import AUTO, Recipe
from trimtab.training.trial_steps import Outcome, cosine

# A setting must be faster than the default by this factor to be taken, so that noise flips no choice.
WORTHWHILE = 1.10
# What a setting must keep of float32: the loss within a share and an absolute part, and the direction of the gradient.
LOSS_SHARE, LOSS_PART = 0.02, 1e-3
LEAST_COSINE = 0.95
# Compiling an encoder of BERT's size takes about a minute on CUDA; this run is long enough to win it back.
COMPILE_SECONDS = 600.0


@dataclass(frozen=True)
class Candidate:
    """A way to compute the same step.

    Args:
        precision: `fp32` or `bf16`.
        attention: implementation of attention.
    """

    precision: str
    attention: str


@dataclass(frozen=True)
class Choice:
    """What is taken.

    Args:
        taken: the setting.
        precision_reason: why this precision, in a few words.
        attention_reason: why this attention, in a few words.
    """

    taken: Candidate
    precision_reason: str
    attention_reason: str


def candidates_of(
    recipe: Recipe, default: Candidate, attentions: Sequence[str], *, native_bf16: bool
) -> list[Candidate]:
    """The settings to try, the default first; what the recipe fixes is fixed.

    Args:
        recipe: may hold `auto` for precision and attention.
        default: what is taken without measuring.
        attentions: implementations that the model and the device have.
        native_bf16: whether the device computes bfloat16 natively.
    """
    is_open = recipe.training.precision == AUTO
    precisions = ("fp32", "bf16") if is_open and native_bf16 else (default.precision,)
    kinds = attentions if recipe.model.attention == AUTO else (default.attention,)
    found = [
        Candidate(precision, kind)
        for precision in precisions
        for kind in kinds
        # Flash attention computes in half precision only.
        if precision == "bf16" or not kind.startswith("flash")
    ]
    return [default, *(candidate for candidate in found if candidate != default)]


def agreement(found: Outcome, reference: Outcome) -> tuple[float, str]:
    """Cosine of a setting's gradient with the reference's, and what it does not keep in words; empty if it keeps all.

    Args:
        found: of the setting.
        reference: of float32 with the default attention.
    """
    value = cosine(found.gradient, reference.gradient)
    if not math.isfinite(found.loss):
        return value, f"its loss is {found.loss}"
    if not abs(found.loss - reference.loss) <= LOSS_SHARE * abs(reference.loss) + LOSS_PART:
        return value, f"its loss is {found.loss:.4f} against {reference.loss:.4f}"
    if not value > LEAST_COSINE:
        return value, f"its gradients agree only {value:.3f}"
    return value, ""


def choose(
    default: Candidate,
    reference: Candidate,
    seconds: Mapping[Candidate, float],
    outcomes: Mapping[Candidate, Outcome],
) -> Choice:
    """The fastest setting that keeps loss and gradients, where it is worthwhile; else the default.

    Args:
        default: what is taken where nothing is clearly faster.
        reference: whose loss and gradients count as right.
        seconds: median of a pass.
        outcomes: what a pass gives, for the same settings and the reference.
    """
    kept = {one: agreement(outcomes[one], outcomes[reference]) for one in seconds}
    sound = [one for one in seconds if one == reference or not kept[one][1]]
    base = default if default in sound else reference
    fastest = min(sound, key=lambda one: seconds[one])
    taken = fastest if seconds[base] > WORTHWHILE * seconds[fastest] else base
    return Choice(taken, _precision_reason(taken, default, seconds, kept), _attention_reason(taken, seconds))


def _precision_reason(
    taken: Candidate,
    default: Candidate,
    seconds: Mapping[Candidate, float],
    kept: Mapping[Candidate, tuple[float, str]],
) -> str:
    other = Candidate("bf16" if taken.precision == "fp32" else "fp32", taken.attention)
    if other not in seconds:
        return ""
    ratio = seconds[other] / seconds[taken]
    if taken.precision == "bf16":
        return f"measured: bf16 {ratio:.2f}x as fast as fp32, gradients agree {kept[taken][0]:.3f}"
    fault = kept[other][1] or (kept[default][1] if default.precision == "bf16" else "")
    if fault:
        return f"measured: bf16 does not keep what fp32 computes: {fault}"
    return f"measured: fp32 {ratio:.2f}x as fast as bf16"


def _attention_reason(taken: Candidate, seconds: Mapping[Candidate, float]) -> str:
    others = {
        one.attention: seconds[one]
        for one in seconds
        if one.precision == taken.precision and one.attention != taken.attention
    }
    told = [f"{time / seconds[taken]:.2f}x as fast as {name}" for name, time in others.items()]
    return f"measured: {taken.attention} {', '.join(told)}" if told else ""


def choose_compile(
    recipe: Recipe, device: torch.device, estimated: float | None, *, has_stages: bool, can_compile: bool
) -> tuple[bool, str]:
    """Whether `training.compile: auto` compiles, and the reason in a few words.

    Args:
        recipe: the recipe.
        device: to train on.
        estimated: seconds that the run would take uncompiled; None where they were not measured.
        has_stages: whether what trains changes during the run; each change compiles anew.
        can_compile: whether what `torch.compile` needs on CUDA is there.
    """
    if device.type != "cuda":
        return False, f"compiled steps were measured slower than plain ones on a {device.type}"
    if recipe.forgetting.distillation:
        return False, "distillation reads hidden states by a hook, which a compiled model may pass over"
    if has_stages:
        return False, "what trains changes during the run, and each change would compile anew"
    if not can_compile:
        return False, "torch.compile needs triton, which is not there"
    if estimated is None:
        return False, "the length of the run was not measured"
    if estimated < COMPILE_SECONDS:
        return False, f"the run is shorter than the {COMPILE_SECONDS / 60:.0f} minutes that repay compiling"
    return True, f"about {estimated / 60:.0f} minutes of training repay compiling"
