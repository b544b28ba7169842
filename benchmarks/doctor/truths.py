"""What is true of a run whatever was planted in it: small models on a few hundred rows have troubles of their own.

A warning that says so is no false alarm. The yardsticks are coarse and read from the record, not from the conditions.
"""

from __future__ import annotations

import math

from trimtab.monitor.trace import Evaluation, Trace

BY_HEART = 0.15
"""Accuracy on training rows less accuracy on validation rows, from which a run has learnt rows by heart."""
UNLEARNT = 0.9
"""Training loss over that of guessing, above which next to nothing was learnt."""
ONE_CLASS = 0.95
"""Share of the predictions, above which a run says nearly nothing else."""


def truths(trace: Trace) -> set[str]:
    """Conditions that a finished run has, of severity `warning` at most."""
    true = _outcome(trace)
    if trace.evaluations:
        true |= _last_look(trace.evaluations[-1], trace.facts.chance)
    return true


def _last_look(last: Evaluation, chance: float | None) -> set[str]:
    """From the last evaluation."""
    true: set[str] = set()
    gap = last.held_in.get("accuracy", math.nan) - last.values.get("accuracy", math.nan)
    if gap > BY_HEART:
        true |= {"overfitting", "overconfidence"}
    if chance and last.held_in.get("loss", 0.0) > UNLEARNT * chance:
        true |= {"underfitting"}
    counts = last.detail.get("predicted") or ()
    if counts and max(counts) > ONE_CLASS * sum(counts):
        true |= {"class_collapse", "underfitting"}
    return true


def _outcome(trace: Trace) -> set[str]:
    """From the judgement on the test rows: what a baseline surpasses has not learnt enough."""
    metric = trace.final.get("primary_metric")
    reached = _value(trace.final.get("metrics"), metric)
    baselines = trace.final.get("baselines") or {}
    values = {name: _value(found, metric) for name, found in baselines.items()}
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    true: set[str] = set()
    if math.isnan(reached) or not known:
        return true
    if max(known.values()) > reached:
        true |= {"underfitting"}
    difference = (trace.final.get("differences") or {}).get(max(known, key=lambda name: known[name])) or {}
    if difference.get("low", 1.0) <= 0:
        true |= {"seed_noise"}
    return true


def _value(metrics: object, name: object) -> float:
    found = metrics.get(name) if isinstance(metrics, dict) else None
    value = found.get("value") if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan
