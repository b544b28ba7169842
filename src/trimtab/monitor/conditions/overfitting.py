"""Overfitting: validation gets worse while the training rows go on being fitted, or the gap is large from the best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._fit import (
    Losses,
    best_index,
    chosen_metric,
    delivered_index,
    evaluation_losses,
    metric_change,
    share_error,
    validation_rows,
)
from trimtab.monitor.conditions._series import Estimate
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding, worst_first
from trimtab.monitor.trace import Trace

# Prechelt's GL_5: the validation loss stands 5 % above its lowest. The paper compares thresholds from 1 to 5.
LEAST_GL = 5.0
# Sureness of a rise: of one evaluation after the lowest, and where it has risen twice in a row (Prechelt's UP_2). The
# lowest of several is low by chance too, hence more than the usual 0.95 (our choice).
SURE_ONCE, SURE_TWICE = 0.99, 0.95
# Gap of accuracy, training rows less validation rows, that is there beyond two standard errors (our choice). `act`
# needs more where a class has many rows, since then more of them help less.
WARN_GAP, ACT_GAP, ACT_GAP_MANY = 0.15, 0.20, 0.30
FEW_ROWS_A_CLASS = 50
# The same gap in loss, as a share of the loss of guessing by the shares of the classes (our choice).
LOSS_GAP = 0.15
# Accuracy on the training rows from which on they count as learned by heart, and the share of the run that they have
# been so when nothing more is to be had from them as they are (our choice).
BY_HEART, USED_UP = 0.95, 0.5
# Share of the run after the best evaluation from which on the wasted steps are worth a warning (our choice).
WASTED = 1 / 3


@CONDITIONS.register("overfitting")
class Overfitting(Condition):
    """The training rows are fitted more and more closely, and rows that were not trained on are not."""

    title = "Overfitting"
    rule = (
        "The validation loss stands 5 % or more above its lowest, beyond its noise, while the loss on training rows "
        "has fallen on (`act` where the weights that are delivered are worse for it, `info` where the metric holds); "
        "or, where the delivered weights stand, the accuracy on training rows is above that on validation rows by "
        "0.15 beyond two standard errors, and the validation loss above the training loss by 15 % of the loss of "
        "guessing (`act`: 0.20, or 0.30 with 50 training rows a class or more, and 95 % of the training rows right for "
        "half of the run or longer)."
    )
    source = "Prechelt 1998, Early Stopping - But When? (GL and UP); generalisation gap: our rule"
    needs = ("evaluations",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """The graver of a rise of the validation loss and a gap."""
        losses = evaluation_losses(trace)
        found = [finding for finding in (_gap(trace, losses), _rise(trace, losses)) if finding is not None]
        return worst_first(found)[:1]


def _rise(trace: Trace, losses: Losses) -> Finding | None:
    if len(losses) < 2:
        return None
    last, lowest = len(losses) - 1, int(losses.validation.argmin())
    rise, fall = losses.rise(lowest, last), losses.fall(lowest, last)
    base = float(losses.validation[lowest])
    generalization_loss = 100 * rise.value / base if base > 0 else 0.0
    twice = last - lowest >= 2 and losses.validation[last - 1] > base
    sure = rise.above()
    # A training loss near 0 has nowhere to fall to, and a rise of the validation loss says enough.
    learned = losses.like_with_like and losses.fitted[last] < 0.1 * base
    if generalization_loss < LEAST_GL or sure < (SURE_TWICE if twice else SURE_ONCE):
        return None
    if not learned and fall.above() < SURE_TWICE:
        return None
    evidence = {
        "lowest_validation_loss": base,
        "lowest_at_step": int(losses.steps[lowest]),
        "validation_loss": float(losses.validation[last]),
        "standard_error": rise.error,
        "generalization_loss": generalization_loss,
        "training_loss_at_lowest": float(losses.fitted[lowest]),
        "training_loss": float(losses.fitted[last]),
    }
    return _judged_rise(trace, losses, lowest, evidence, sure)


def _judged_rise(trace: Trace, losses: Losses, lowest: int, evidence: dict[str, Any], sure: float) -> Finding:
    """How grave a rise is: by what becomes of the metric, and by which weights are delivered."""
    last = len(losses) - 1
    rise = _in_words(evidence, int(losses.steps[last]))
    fields: dict[str, Any] = {
        "since": int(losses.steps[lowest + 1]),
        "evidence": evidence,
        "series": _curves(losses),
        "confidence": sure,  # that the rise is above 0, by its standard error
    }
    worse, metric = _metric_worse(trace)
    if metric:
        evidence |= {"metric": metric[0], "best": metric[1], "last": metric[2]}
    delivered = delivered_index(trace)
    if metric and not worse:
        return Finding(
            "overfitting",
            "info",
            say(
                "{rise}; {metric} did not get worse with it, so that the model is overconfident rather than wrong more "
                "often.",
                rise=rise,
                metric=metric[0],
            ),
            remedy=say("Smooth the labels if probabilities matter; predicted classes are not affected."),
            change=_smoothing(trace),
            **fields,
        )
    if delivered is not None and delivered < losses.index[last]:
        best = trace.evaluations[delivered].step
        wasted = 1 - best / max(1, trace.evaluations[-1].step)
        return Finding(
            "overfitting",
            "warning" if wasted >= WASTED else "info",
            say(
                "{rise}. The weights of step {best:,} are the best and are kept, so that {wasted:.0%} of the steps so "
                "far were wasted.",
                rise=rise,
                best=best,
                wasted=wasted,
            ),
            remedy=say("Stop at about step {best:,}: end after two evaluations without a better value.", best=best),
            change={"regularization.early_stopping_patience": 2},
            **fields,
        )
    harmed = bool(metric) or losses.validation[last] >= losses.validation[0]
    return Finding(
        "overfitting",
        "act" if worse or (harmed and trace.facts.origin != "trimtab") else "warning",
        say(
            "{rise}{fall}, and the last weights are those that the run keeps.",
            rise=rise,
            fall=say("; {metric} fell with it", metric=metric[0]) if worse and metric else "",
        ),
        remedy=say(
            "Keep the weights of the best evaluation, step {best:,}, and stop there.", best=evidence["lowest_at_step"]
        ),
        change={"weights.source": "best", "regularization.early_stopping_patience": 2},
        **fields,
    )


def _in_words(evidence: dict[str, Any], last_step: int) -> str:
    """The rise itself, as the beginning of a sentence."""
    return say(
        "The validation loss rose from {lowest:.3f} at step {lowest_at:,} to {last:.3f} at step {last_at:,}, while the "
        "loss on training rows went on falling",
        lowest=evidence["lowest_validation_loss"],
        lowest_at=evidence["lowest_at_step"],
        last=evidence["validation_loss"],
        last_at=last_step,
    )


def _metric_worse(trace: Trace) -> tuple[bool, tuple[str, float, float] | None]:
    """Whether the metric is worse at the end than at its best, beyond noise; its name, best and last value."""
    chosen, best = chosen_metric(trace), best_index(trace)
    if chosen is None or best is None or chosen[0] in ("loss", "log_loss"):
        return False, None
    name, higher = chosen
    last = len(trace.evaluations) - 1
    values = trace.evaluated(name)[1]
    if not (math.isfinite(values[best]) and math.isfinite(values[last])):
        return False, None
    change = metric_change(trace, name, best, last)
    sure = change.below() if higher else change.above()
    return best < last and sure >= SURE_TWICE, (name, float(values[best]), float(values[last]))


def _gap(trace: Trace, losses: Losses) -> Finding | None:
    """A large gap where the delivered weights stand: no choice of the moment helps against it."""
    chance, delivered = trace.facts.chance, delivered_index(trace)
    if not chance or not losses.like_with_like or delivered not in losses.index:
        return None
    place = losses.index.index(delivered)
    accuracy, trained_accuracy = _accuracy_gap(trace, delivered)
    loss = losses.gap(place)
    least, least_loss = accuracy.value - 2 * accuracy.error, (loss.value - 2 * loss.error) / chance
    if not (least >= WARN_GAP and least_loss >= LOSS_GAP):
        return None
    rows = sum(trace.facts.label_counts["train"])
    few = rows < FEW_ROWS_A_CLASS * len(trace.facts.label_counts["train"])
    used_up = _known_by_heart(trace) >= USED_UP
    grave = least >= (ACT_GAP if few else ACT_GAP_MANY) and trained_accuracy >= BY_HEART and used_up
    values = trace.evaluations[delivered].values
    return Finding(
        "overfitting",
        "act" if grave else "warning",
        say(
            "Of the training rows {trained:.0%} are told right and of the validation rows {validation:.0%}, where the "
            "validation {metric} is at its best (step {step:,}): the model knows its {rows:,} training rows by heart "
            "rather than what they have in common.",
            trained=trained_accuracy,
            validation=values["accuracy"],
            metric=trace.facts.metric or "loss",
            step=trace.evaluations[delivered].step,
            rows=rows,
        ),
        since=next(int(losses.steps[at]) for at in range(len(losses)) if losses.gap(at).value >= LOSS_GAP * chance),
        evidence={
            "accuracy_gap": accuracy.value,
            "accuracy_gap_error": accuracy.error,
            "training_accuracy": trained_accuracy,
            "validation_accuracy": values["accuracy"],
            "training_loss": float(losses.fitted[place]),
            "validation_loss": float(losses.validation[place]),
            "loss_gap": loss.value,
            "loss_gap_error": loss.error,
            "loss_of_guessing": chance,
            "training_rows": rows,
        },
        remedy=say(
            "Add training rows if you can; else let the model see changed copies of them (check with `trimtab augment` "
            "that they keep their labels), or train less of it (--strategy)."
        ),
        change=_regularised(trace),
        series=_curves(losses),
        confidence=accuracy.above(WARN_GAP),  # that the gap is above the threshold, by its standard error
    )


def _known_by_heart(trace: Trace) -> float:
    """The share of the run, of all that it is to be, in which its training rows have been known by heart."""
    since = last = trace.evaluations[-1].step
    for evaluation in reversed(trace.evaluations):
        accuracy = evaluation.held_in.get("accuracy")
        if accuracy is None:
            continue
        if not accuracy >= BY_HEART:
            break
        since = evaluation.step
    return (last - since) / max(1, last, trace.facts.total_steps or 0)


def _accuracy_gap(trace: Trace, index: int) -> tuple[Estimate, float]:
    """Accuracy on training rows less that on validation rows; NaN where either is not known. And the former."""
    evaluation = trace.evaluations[index]
    inside = evaluation.held_in.get("accuracy", math.nan)
    outside = evaluation.values.get("accuracy", math.nan)
    first = Estimate(inside, share_error(inside, evaluation.held_in.get("rows", math.nan)))
    return first.minus(Estimate(outside, share_error(outside, validation_rows(trace, evaluation)))), inside


def _regularised(trace: Trace) -> dict[str, Any]:
    """What the recipe can do against a gap, of what it does not do yet."""
    recipe, images = trace.facts.recipe, trace.facts.task == "image-classification"
    wanted = (
        {"augmentation.horizontal_flip": 0.5, "augmentation.random_resized_crop": 0.3}
        if images
        else {"augmentation.word_dropout": 0.1, "augmentation.token_cutoff": 0.1}
    )
    return {key: value for key, value in wanted.items() if not recipe.get(key)}


def _smoothing(trace: Trace) -> dict[str, Any]:
    recipe = trace.facts.recipe
    clashes = recipe.get("regularization.label_smoothing") or recipe.get("regularization.focal_gamma")
    return {} if clashes else {"regularization.label_smoothing": 0.1}


def _curves(losses: Losses) -> tuple[Curve, ...]:
    name = say("loss on training rows") if losses.like_with_like else say("training loss")
    return (
        Curve(say("validation loss"), list(losses.steps), list(losses.validation)),
        Curve(name, list(losses.steps), list(losses.fitted)),
    )
