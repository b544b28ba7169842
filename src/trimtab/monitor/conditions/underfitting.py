"""Underfitting: even the training rows are not fitted. Told apart: too little trains, or for too few steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import Said, say
from trimtab.monitor.conditions._fit import Losses, evaluation_losses, has_ended, share_error
from trimtab.monitor.conditions._series import Estimate, slope
from trimtab.monitor.conditions._training import update_size
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Skill on training rows: accuracy above that of the most frequent class, as a share of what is left. Of a fitted model
# it is near 1; below 0.6 the rows are not fitted, below 0.3 hardly anything was learned (our choice).
LEAST_SKILL, NO_SKILL = 0.60, 0.30
# The loss on training rows as a share of the loss of guessing, above which they are not fitted (our choice).
LEAST_LOSS = 0.60
# Gap between validation and training loss, as a share of the loss of guessing, from which on it is another fault.
LARGEST_GAP = 0.15
# Sureness of skill and of a fall, and the share by which the loss has to have fallen in the last third of the run.
SURE, SURE_TO_ACT, SURE_FALL, LEAST_FALL = 0.95, 0.975, 0.95, 0.05
# Where only so few of the parameters below the head train, what they can express is the limit (our choice).
LITTLE, SMALL_STRATEGIES = 0.05, ("bitfit", "ia3", "prefix", "prompt", "vera")
# Updates below this share of their usual size are a matter of the learning rate.
TINY_UPDATES = 0.15
# The share of the loss of guessing above which nothing was learned, which is no matter of capacity, nor of steps where
# there were as many as these, or updates above so many times their usual size (our choice).
NOTHING, FEW_STEPS, LARGE_UPDATES = 0.95, 60, 3.0
BASELINES_OF_GUESSING = ("majority class",)


@CONDITIONS.register("underfitting")
class Underfitting(Condition):
    """The model does not fit the rows that it was trained on."""

    title = "Underfitting, by capacity or by too few steps"
    rule = (
        "At the end, the skill on training rows (accuracy above the most frequent class, as a share of what is left) "
        "is below 0.6 and their loss above 60 % of that of guessing, both beyond noise, with a gap to the validation "
        "rows below 15 % of it (`act` where the skill is below 0.3); too little trains where a strategy trains less "
        "than 5 % of the parameters, else there were too few steps where the loss still fell in the last "
        "third, or nothing was learned in fewer than 60 steps of ordinary size (nothing is said where updates are "
        "tiny, or nothing was learned in longer); or a trained baseline is better than the model, beyond its interval."
    )
    source = "Deep Learning Tuning Playbook (training curves); comparison with baselines: our rule"
    needs = ("held_in", "class_rows")
    explains = ("class_collapse", "class_imbalance", "plateau")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding, at the end of a run."""
        losses = evaluation_losses(trace)
        if not has_ended(trace) or not len(losses) or not losses.like_with_like:
            return
        skill, chance = _skill(trace, losses.index[-1]), trace.facts.chance
        if not chance or not skill.known:
            return
        last = len(losses) - 1
        gap, fitted = losses.gap(last), float(losses.fitted[last])
        if gap.value - 2 * gap.error > LARGEST_GAP * chance:
            return
        surplus = _better_baseline(trace.final)
        is_low = skill.below(LEAST_SKILL) >= SURE and fitted - 2 * losses.fitted_error[last] > LEAST_LOSS * chance
        if is_low and not surplus and _is_of_another_kind(trace, fitted / chance):
            return
        if is_low or surplus:
            yield _finding(trace, losses, skill, surplus, is_low)


def _finding(
    trace: Trace, losses: Losses, skill: Estimate, surplus: tuple[str, Mapping[str, Any]] | None, is_low: bool
) -> Finding:
    last, chance = len(losses) - 1, trace.facts.chance or math.nan
    cause, reason, remedy, change = _cause(trace, losses)
    evidence: dict[str, Any] = {
        "cause": cause,
        "training_skill": skill.value,
        "training_skill_error": skill.error,
        "training_loss": float(losses.fitted[last]),
        "validation_loss": float(losses.validation[last]),
        "loss_of_guessing": chance,
        "trained_share": _trained_share(trace),
        "steps": trace.last_step,
    }
    if surplus:
        evidence |= {"baseline": surplus[0], "difference": dict(surplus[1])}
    return Finding(
        "underfitting",
        "act" if skill.below(NO_SKILL) >= SURE_TO_ACT else "warning",
        _message(float(losses.fitted[last]), chance, surplus, is_low, reason),
        since=int(losses.steps[last]),
        evidence=evidence,
        remedy=remedy,
        change=change,
        series=(
            Curve(say("loss on training rows"), list(losses.steps), list(losses.fitted)),
            Curve(say("validation loss"), list(losses.steps), list(losses.validation)),
            Curve(say("loss of guessing"), list(losses.steps), [chance] * len(losses)),
        ),
        # That the skill is below the threshold; where a baseline decides, the level of its interval.
        confidence=max(skill.below(LEAST_SKILL) if is_low else 0.0, SURE if surplus else 0.0),
    )


def _message(
    fitted: float, chance: float, surplus: tuple[str, Mapping[str, Any]] | None, is_low: bool, reason: str
) -> Said:
    """The loss that is left on training rows, the baseline that is better, or both; and why."""
    if not surplus:
        return say(
            "Even on training rows the loss is {fitted:.3f} at the end, where guessing by the shares of the classes "
            "has {chance:.3f}: {reason}.",
            fitted=fitted,
            chance=chance,
            reason=reason,
        )
    baseline, lead = surplus[0], -number(surplus[1].get("value"))
    if not is_low:
        return say(
            "The baseline {baseline} is better by {lead:.3f}: {reason}.", baseline=baseline, lead=lead, reason=reason
        )
    return say(
        "Even on training rows the loss is {fitted:.3f} at the end, where guessing by the shares of the classes has "
        "{chance:.3f}, and the baseline {baseline} is better by {lead:.3f}: {reason}.",
        fitted=fitted,
        chance=chance,
        baseline=baseline,
        lead=lead,
        reason=reason,
    )


def _is_of_another_kind(trace: Trace, loss_share: float) -> bool:
    """Whether the learning rate is to blame, or whatever else keeps a model that trains from learning at all."""
    updates = update_size(trace)
    if updates.peak < TINY_UPDATES * updates.typical:
        return True
    return loss_share > NOTHING and not _trains_little(trace) and not _has_just_begun(trace)


def _has_just_begun(trace: Trace) -> bool:
    """Whether the run had few steps, of a size that otherwise gets somewhere."""
    updates = update_size(trace)
    return trace.last_step < FEW_STEPS and updates.peak <= LARGE_UPDATES * updates.typical


def _trains_little(trace: Trace) -> bool:
    return trace.facts.strategy in SMALL_STRATEGIES or (
        trace.facts.strategy == "partial" and _trained_share(trace) < LITTLE
    )


def _cause(trace: Trace, losses: Losses) -> tuple[str, str, str, dict[str, Any]]:
    """What is to blame: its name, the reason in words, the remedy, and the change of the recipe."""
    share, facts = _trained_share(trace), trace.facts
    if _trains_little(trace):
        return (
            "capacity",
            say(
                "with {strategy} only {share:.1%} of the parameters train, which is too little for this task",
                strategy=facts.strategy,
                share=share,
            ),
            say("Train more of the model: all of it, at the rate that fits that."),
            {"strategy": "full", "optimizer.learning_rate": "auto"},
        )
    if _has_just_begun(trace) and losses.fitted[-1] > NOTHING * (facts.chance or math.inf):
        return (
            "steps",
            say("{steps:,} steps were too few to learn anything", steps=trace.last_step),
            say("Train for three times as many steps."),
            _longer(trace, 3),
        )
    if _still_falls(trace, losses):
        return (
            "steps",
            say("it still fell when the run ended after {steps:,} steps, too few of them", steps=trace.last_step),
            say("Train for twice as many steps."),
            _longer(trace, 2),
        )
    return (
        "flat",
        say("it has stopped falling although nearly all of the model trains")
        if share > LITTLE
        else say("it has stopped falling"),
        say("Try a higher learning rate (`trimtab lr-find`), then another or a larger pretrained model."),
        {},
    )


def _still_falls(trace: Trace, losses: Losses) -> bool:
    """Whether the loss on training rows fell in the last third, beyond noise; by single steps with one evaluation."""
    last = len(losses) - 1
    if last == 0:
        steps, values = trace.steps, trace.column("loss")
        late = steps > trace.last_step / 2
        return slope(steps[late], values[late]).below() >= SURE_FALL
    before = max((at for at in range(last) if losses.steps[at] <= 2 / 3 * losses.steps[last]), default=0)
    fall = losses.fall(before, last)
    return fall.above() >= SURE_FALL and fall.value >= LEAST_FALL * losses.fitted[before]


def _longer(trace: Trace, times: int) -> dict[str, Any]:
    steps, epochs = trace.facts.recipe.get("training.max_steps"), trace.facts.num_epochs
    if steps:
        return {"training.max_steps": times * int(steps)}
    return {"training.num_epochs": max(2, math.ceil(times * epochs))} if epochs else {}


def _skill(trace: Trace, index: int) -> Estimate:
    evaluation, share = trace.evaluations[index], trace.facts.majority_share
    accuracy = evaluation.held_in.get("accuracy", math.nan)
    error = share_error(accuracy, evaluation.held_in.get("rows", math.nan))
    if share is None or share >= 1:
        return Estimate(math.nan, math.nan)
    return Estimate((accuracy - share) / (1 - share), error / (1 - share))


def _trained_share(trace: Trace) -> float:
    return trace.facts.trained_parameters / trace.facts.parameters if trace.facts.parameters else math.nan


def _better_baseline(final: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The trained baseline that is better than the model beyond its interval, by most."""
    found = [
        (name, difference)
        for name, difference in (final.get("differences") or {}).items()
        if name not in BASELINES_OF_GUESSING and number(difference.get("high")) < 0
    ]
    return min(found, key=lambda item: number(item[1].get("value"))) if found else None
