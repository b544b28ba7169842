"""Catastrophic forgetting: what the model keeps of the pretrained one, on the way and at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.drift import LOWER_DRIFT, has_drifted, lower_drift, lower_half
from trimtab.monitor.findings import SEVERITIES, Curve, Finding, Severity
from trimtab.monitor.trace import Trace, number

# Levels of each measure for `info`, `warning` and `act`.
# Rank agreement with the original's similarities, by the upper end of its interval: full fine-tuning at its usual rate
# leaves 0.21 to 0.36 in docs/strategies.md and docs/benchmarks.md, adapters more; ten times that rate left 0.10.
AGREEMENT = (0.50, 0.15, 0.10)
# Mean CKA of the lower half of the blocks: 0.88 to 1 in the same runs, 0.45 at ten times the rate.
LOWER_CKA = (0.85, 0.75, 0.50)
# Fall of the correlation with the scores of pairs, by its surer end: full fine-tuning loses 0.31 in docs/benchmarks.md.
PAIRS = (0.10, 0.40, 0.60)
# Rise of the pretraining loss in nats a token, by its surer end; fall of the accuracy on source classes (our choice).
PRETRAINING = (0.5, 2.0, 4.0)
SOURCE = (0.05, 0.20, 0.50)
# Strategies whose weights cannot be mixed with the pretrained ones.
ONLY_NEW = ("prompt", "prefix")


@dataclass(frozen=True)
class _Loss:
    """A measure of what was lost: its name, how grave, in words, and its numbers."""

    name: str
    severity: Severity
    words: str
    numbers: dict[str, Any]


@CONDITIONS.register("forgetting")
class Forgetting(Condition):
    """The model lost what the pretrained one knew."""

    title = "Catastrophic forgetting"
    rule = (
        "After training, and while training at looks inside that show a median drift of the lower half of the blocks "
        "above 0.6, the surer end of an interval passes a level (info, warning, act): rank agreement with the "
        "original's similarities below 0.5, 0.15, 0.1; mean CKA of the lower half of the blocks below 0.85, 0.75, "
        "0.5; correlation with scores of pairs down by 0.1, 0.4, 0.6; "
        "pretraining loss up by 0.5, 2, 4 nats; accuracy on source classes down by 0.05, 0.2, 0.5; else, "
        "while training, where that drift is above 0.35 (`info`) or, where the meter does not run, 0.6 (`warning`)."
    )
    source = "Our meter of retention; levels from docs/strategies.md and docs/benchmarks.md where they were measured"
    needs = ("kept",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding of all measures; where none is as new as the last look inside, of the drift."""
        if not _is_measured(trace):
            yield from _on_the_way(trace)
            return
        lost = list(_lost(trace.retention))
        if lost:
            yield _measured(trace, lost)


def _is_measured(trace: Trace) -> bool:
    last = trace.inspections[-1]["step"] if trace.inspections else 0
    return bool(trace.retention) and not number(trace.retention.get("step")) < last


def _lost(retention: Mapping[str, Any]) -> Iterator[_Loss]:
    agreement = retention.get("rank_agreement") or {}
    severity = _level(-number(agreement.get("high")), tuple(-level for level in AGREEMENT))
    if severity:
        value = number(agreement.get("value"))
        words = say("rank agreement of similarities with the original is {agreement:.2f}", agreement=value)
        yield _Loss("rank_agreement", severity, words, dict(agreement))
    lower = lower_half(retention.get("cka") or {})
    mean = float(np.mean(lower)) if lower else math.nan
    severity = _level(-mean, tuple(-level for level in LOWER_CKA))
    if severity:
        words = say(
            "the representations of the lower half of the blocks have a mean CKA of {mean:.2f} with the original's",
            mean=mean,
        )
        yield _Loss("lower_cka", severity, words, {"mean": mean, "blocks": dict(retention["cka"])})
    for key, levels, sign in (("pair_spearman", PAIRS, -1), ("pretraining_loss", PRETRAINING, 1)):
        change = retention.get(key) or {}
        difference = change.get("difference") or {}
        severity = _level(min(sign * number(difference.get(end)) for end in ("low", "high")), levels)
        if severity:
            before, after = (number((change.get(when) or {}).get("value")) for when in ("before", "after"))
            words = (
                say(
                    "the correlation with the scores of pairs went from {before:.2f} to {after:.2f}",
                    before=before,
                    after=after,
                )
                if key == "pair_spearman"
                else say("the pretraining loss went from {before:.2f} to {after:.2f}", before=before, after=after)
            )
            yield _Loss(key, severity, words, dict(change))
    accuracy = [number(value) for value in retention.get("source_accuracy") or ()]
    if len(accuracy) == 2:
        severity = _level(accuracy[0] - accuracy[1], SOURCE)
        if severity:
            before, after = accuracy
            words = say(
                "accuracy on the source classes went from {before:.2f} to {after:.2f}", before=before, after=after
            )
            yield _Loss("source_accuracy", severity, words, {"before": before, "after": after})


def _level(value: float, levels: tuple[float, ...]) -> Severity | None:
    """The gravest severity whose level `value` is above; None where it is above none, or NaN."""
    passed = [severity for severity, level in zip(SEVERITIES, levels, strict=True) if value > level]
    return passed[-1] if passed else None


def _measured(trace: Trace, lost: list[_Loss]) -> Finding:
    gravest = max(lost, key=lambda loss: SEVERITIES.index(loss.severity))
    ordered = [gravest, *(loss for loss in lost if loss is not gravest)]
    losses = gravest.words
    for loss in ordered[1:]:
        losses = say("{losses}; {further}", losses=losses, further=loss.words)
    remedy, change = _gentler(trace) if gravest.severity == "act" else _remedy(trace)
    return Finding(
        "forgetting",
        gravest.severity,
        say("Fine-tuning took from the model what it knew: {losses}.", losses=losses),
        since=_drifted_since(trace) or trace.last_step,
        evidence={loss.name: loss.numbers for loss in ordered},
        remedy=remedy,
        change=change,
        series=_curves(trace),
        confidence=number(trace.retention.get("confidence", 0.95)),  # the level of the intervals
    )


def _on_the_way(trace: Trace) -> Iterator[Finding]:
    since = _drifted_since(trace)
    if since is None:
        return
    drift = lower_drift(trace.inspections[-1])
    grave = has_drifted(trace.inspections[-1])
    remedy, change = _gentler(trace) if grave else _remedy(trace)
    yield Finding(
        "forgetting",
        "warning" if grave else "info",
        say(
            "The lower half of the blocks has drifted from the pretrained model by {drift:.2f} (1 - cosine of their "
            "representations): what it knew of language or images in general is being lost.",
            drift=drift,
        ),
        since=since,
        evidence={"drift": dict(trace.inspections[-1].get("drift") or {}), "lower_half": drift},
        remedy=remedy,
        change=change,
        series=_curves(trace),
        confidence=0.8,  # drift is a sign of forgetting, not its measure
    )


def _drifted_since(trace: Trace) -> int | None:
    """The first inspection from which on the lower half stays far from the pretrained model."""
    first: int | None = None
    for inspection in trace.inspections:
        if lower_drift(inspection) > LOWER_DRIFT:
            first = int(inspection["step"]) if first is None else first
        else:
            first = None
    return first


def _remedy(trace: Trace) -> tuple[str, dict[str, Any]]:
    recipe, strategy = trace.facts.recipe, trace.facts.strategy
    if strategy not in ONLY_NEW and not recipe.get("weights.interpolation"):
        return (
            say(
                "If the model must keep what it knew, deliver weights halfway between the pretrained and the "
                "fine-tuned ones, which cost no accuracy in our measurements; adapters (`--strategy lora`) or a lower "
                "rate keep more, too."
            ),
            {"weights.interpolation": 0.5},
        )
    if not recipe.get("forgetting.distillation"):
        return (
            say(
                "If the model must keep what it knew, hold it near the frozen original by distillation, or lower the "
                "rate."
            ),
            {"forgetting.distillation": 1.0},
        )
    return _gentler(trace)


def _gentler(trace: Trace) -> tuple[str, dict[str, Any]]:
    """Halfway to the pretrained weights is no place of use where all of it was lost: only a lower rate helps."""
    rate = trace.facts.learning_rate
    change = {"optimizer.learning_rate": float(f"{rate / 5:.2g}")} if rate else {}
    return say("Lower the learning rate, and train for fewer steps."), change


def _curves(trace: Trace) -> tuple[Curve, ...]:
    blocks = list(dict.fromkeys(block for found in trace.inspections for block in found.get("drift") or {}))
    steps: list[float] = [found["step"] for found in trace.inspections]
    return tuple(
        Curve(
            f"drift of {block}", steps, [number((found.get("drift") or {}).get(block)) for found in trace.inspections]
        )
        for block in blocks
    )
