"""Underfitting: by capacity or by too few steps, and not where the fault is another one."""

from __future__ import annotations

from typing import Any

from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.underfitting import Underfitting
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

FACTS: dict[str, Any] = {"total_steps": 30, "num_epochs": 3}
POOR = {"accuracy": [0.50, 0.52, 0.55]}


def found(trace: Trace) -> Finding | None:
    findings = list(Underfitting().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings[0] if findings else None


def poor(held_in: list[float], **fields: Any) -> Trace:
    facts = make_facts(**FACTS, **fields)
    return make_trace(
        [0.69] * 30, held_in, held_in=held_in, metrics=POOR, held_in_metrics=POOR, loss_error=0.01, facts=facts
    )


def test_still_falling_means_too_few_steps() -> None:
    finding = found(poor([0.69, 0.66, 0.61]))
    assert finding is not None
    assert (finding.severity, finding.since) == ("warning", 30)
    assert finding.evidence["cause"] == "steps"
    assert finding.change == {"training.num_epochs": 6}


def test_steps_are_doubled_where_the_recipe_counts_steps() -> None:
    finding = found(poor([0.69, 0.66, 0.61], recipe={"training.max_steps": 30}))
    assert finding is not None
    assert finding.change == {"training.max_steps": 60}


def test_a_head_alone_means_capacity() -> None:
    finding = found(poor([0.66, 0.64, 0.62], strategy="partial", parameters=1000, trained_parameters=7))
    assert finding is not None
    assert finding.evidence["cause"] == "capacity"
    assert finding.change == {"strategy": "full", "optimizer.learning_rate": "auto"}


def test_flat_with_all_training_is_told_apart() -> None:
    finding = found(poor([0.60, 0.60, 0.60]))
    assert finding is not None
    assert finding.evidence["cause"] == "flat"
    assert finding.change == {}


def test_nothing_learned_at_all_is_another_fault() -> None:
    assert found(poor([0.69, 0.69, 0.69])) is None


def test_tiny_updates_are_a_matter_of_the_rate() -> None:
    trace = poor([0.69, 0.66, 0.61])
    for step in (5, 15, 25):
        trace.add({"type": "signals", "step": step, "blocks": {"block 0": {"update_ratio": 1e-5}}})
    trace.signals.sort(key=lambda signal: signal["step"])
    assert found(trace) is None


def test_silent_before_the_end_and_on_a_fitted_or_overfitted_model() -> None:
    running = make_facts(total_steps=60)
    assert found(make_trace([0.69] * 30, [0.69, 0.66, 0.61], held_in=[0.69, 0.66, 0.61], facts=running)) is None
    good = {"accuracy": [0.7, 0.9, 0.95]}
    fitted = make_trace(
        [0.3] * 30, [0.5, 0.3, 0.2], held_in=[0.5, 0.3, 0.2], metrics=good, held_in_metrics=good,
        facts=make_facts(**FACTS),
    )  # fmt: skip
    assert found(fitted) is None
    gap = make_trace(
        [0.3] * 30, [0.7, 0.8, 0.9], held_in=[0.6, 0.55, 0.5], metrics=POOR, held_in_metrics=POOR,
        facts=make_facts(**FACTS),
    )  # fmt: skip
    assert found(gap) is None


def test_a_better_baseline_is_told_though_the_model_fits() -> None:
    good = {"accuracy": [0.7, 0.8, 0.85]}
    trace = make_trace(
        [0.3] * 30, [0.5, 0.4, 0.35], held_in=[0.5, 0.4, 0.35], metrics=good, held_in_metrics=good,
        facts=make_facts(**FACTS),
    )  # fmt: skip
    assert found(trace) is None
    trace.final = {
        "differences": {
            "majority class": {"value": 0.3, "low": 0.2, "high": 0.4},
            "TF-IDF + logistic regression": {"value": -0.1, "low": -0.15, "high": -0.05},
        }
    }
    finding = found(trace)
    assert finding is not None
    assert finding.evidence["baseline"] == "TF-IDF + logistic regression"
    assert "0.100" in finding.message


def test_one_evaluation_is_judged_by_its_steps() -> None:
    losses = [0.70 - 0.01 * step for step in range(10)]
    trace = make_trace(
        losses, [0.62], held_in=[0.62], metrics={"accuracy": [0.5]}, held_in_metrics={"accuracy": [0.5]},
        loss_error=0.01, facts=make_facts(total_steps=10, num_epochs=1),
    )  # fmt: skip
    finding = found(trace)
    assert finding is not None
    assert finding.evidence["cause"] == "steps"
    assert finding.change == {"training.num_epochs": 2}
