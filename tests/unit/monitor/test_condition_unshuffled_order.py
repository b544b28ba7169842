"""Losses that repeat from epoch to epoch give away rows that are not drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.unshuffled_order import UnshuffledOrder
from trimtab.monitor.findings import Finding

ROWS = 32


def losses(kind: str, size: int, epochs: int, seed: int) -> list[float]:
    """Losses of a model that learns rows of differing hardness, and leans to the class that it saw last."""
    draw = np.random.default_rng(seed)
    hard, classes = draw.normal(0, 1, size * ROWS), np.arange(size * ROWS) * 4 // (size * ROWS)
    order = np.arange(size * ROWS) if kind == "sorted" else draw.permutation(size * ROWS)
    lean, found = np.zeros(4), []
    for step in range(size * epochs):
        if kind == "healthy" and step % size == 0:
            order = draw.permutation(size * ROWS)
        batch = order[step % size * ROWS :][:ROWS]
        base = 1.4 * np.exp(-3 * step / (size * epochs)) + 0.1
        told = 0.5 * (lean - np.log(np.exp(lean).mean()))[classes[batch]] if kind == "sorted" else 0.0
        found.append(max(0.001, float(np.mean(np.maximum(0.01, base * (1 + 0.6 * hard[batch])) - told))))
        lean = 0.8 * lean + 2 * (np.bincount(classes[batch], minlength=4) / ROWS - 0.25)
    return found


def found(values: list[float], size: int, **fields: object) -> list[Finding]:
    trace = make_trace(values, steps_per_epoch=size, facts=make_facts(steps_per_epoch=size), **fields)
    findings = list(UnshuffledOrder().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


@pytest.mark.parametrize(("size", "epochs"), [(12, 2), (12, 5), (20, 3), (60, 3)])
def test_rows_drawn_anew_are_no_pattern(size: int, epochs: int) -> None:
    fired = [seed for seed in range(25) if found(losses("healthy", size, epochs, seed), size)]
    assert fired == []


@pytest.mark.parametrize("seed", range(3))
def test_the_same_mixed_order_is_a_warning(seed: int) -> None:
    (finding,) = found(losses("same", 20, 3, seed), 20)
    assert (finding.severity, finding.since) == ("warning", 40)
    assert finding.evidence["correlation"] > 0.9 and len(finding.series) == 3
    assert "Shuffle" in finding.remedy and finding.x_label == "step of the epoch"


@pytest.mark.parametrize("size", [20, 60])
def test_rows_sorted_by_class_act(size: int) -> None:
    (finding,) = found(losses("sorted", size, 3, 0), size)
    assert finding.severity == "act" and finding.evidence["pattern_share"] > 0.3


def test_one_epoch_and_rates_in_cycles_say_nothing() -> None:
    values = losses("same", 20, 3, 0)
    assert found(values[:39], 20) == []
    cycles = [1e-4 * (1 + (step % 20) / 20) for step in range(60)]
    assert found(values, 20, rate=cycles) == []
