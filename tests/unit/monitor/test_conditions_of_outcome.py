"""What every condition of fit and outcome must bear: records without much in them, and healthy runs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from monitor_traces import falling, make_events, make_facts, make_trace

from trimtab.config.load import build_recipe
from trimtab.core.registry import CONDITIONS
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

NAMES = (
    "class_collapse",
    "class_imbalance",
    "dead_units",
    "forgetting",
    "frozen_part",
    "overconfidence",
    "overfitting",
    "seed_noise",
    "small_validation",
    "underfitting",
)
SHARES = [0.75, 0.85, 0.88, 0.90]
HEALTHY: dict[str, Any] = {
    "metrics": {"macro_f1": SHARES, "accuracy": SHARES, "ece": [0.1, 0.05, 0.04, 0.04]},
    "held_in_metrics": {"accuracy": [0.78, 0.88, 0.92, 0.94]},
    "detail": [{"predicted": [90, 110], "label_rows": [100, 100], "recall": [0.8, 0.9], "confidence": 0.9}] * 4,
}


def findings(name: str, trace: Trace) -> list[Finding]:
    found = list(CONDITIONS.get(name)().examine(trace))
    for finding in found:
        json.dumps(finding.to_dict(), allow_nan=False)
        assert 0 <= finding.confidence <= 1
    return found


@pytest.mark.parametrize("name", NAMES)
def test_says_nothing_of_records_without_much_in_them(name: str) -> None:
    assert findings(name, Trace()) == []
    assert findings(name, Trace(make_facts())) == []
    assert findings(name, make_trace([0.7])) == []
    assert findings(name, make_trace([0.7] * 10, [0.7])) == []
    assert findings(name, make_trace([0.7] * 10, [math.nan], held_in=[math.nan])) == []


@pytest.mark.parametrize("name", NAMES)
def test_says_nothing_of_constant_and_broken_series(name: str) -> None:
    assert findings(name, make_trace([0.5] * 60, [0.5] * 6)) == []
    nothing = [math.nan] * 6
    assert findings(name, make_trace([None] * 60, nothing, held_in=nothing, metrics={"macro_f1": nothing})) == []
    broken = make_trace([0.5] * 60, [0.5, math.nan, 0.4, math.inf, 0.4, math.nan], loss_error=math.nan, rows=0)
    assert findings(name, broken) == []
    for event in (
        {"type": "inspection", "step": 1, "dead_units": None, "drift": {"block 0": None}},
        {"type": "signals", "step": 1, "blocks": {"head": None}},
        {"type": "retention", "step": 60, "rank_agreement": None},
    ):
        broken.add(event)
    broken.final = {"differences": None, "baselines": None}
    assert findings(name, broken) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_says_nothing_of_healthy_runs(name: str, seed: int) -> None:
    held_in = [0.55, 0.40, 0.30, 0.24]
    for validation in ([0.60, 0.45, 0.40, 0.38], [0.60, 0.45, 0.40, 0.41]):
        trace = make_trace(
            falling(0.7, 0.2, 40, seed=seed), validation, held_in=held_in, facts=make_facts(total_steps=40), **HEALTHY
        )
        assert findings(name, trace) == []


@pytest.mark.parametrize("name", NAMES)
def test_says_nothing_of_healthy_foreign_runs(name: str) -> None:
    for facts in (Facts(origin="csv"), Facts(origin="trainer_state", total_steps=60)):
        for seed in range(5):
            curve = falling(0.8, 0.4, 6, noise=0.005, seed=seed)
            assert findings(name, make_trace(falling(0.7, 0.2, 60, seed=seed), curve, facts=facts)) == []


def test_a_resumed_run_is_judged_by_the_steps_that_hold() -> None:
    first = make_events([0.5] * 60, [0.6, 0.4, 0.6, 0.8, 1.0, 1.2], held_in=[0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    second = make_events([0.5] * 60, [0.6, 0.4, 0.39, 0.38, 0.37, 0.36], held_in=[0.5, 0.4, 0.39, 0.38, 0.37, 0.36])
    again = [event for event in second if event["step"] > 20]
    assert findings("overfitting", Trace.from_events(first, make_facts())) != []
    assert findings("overfitting", Trace.from_events([*first, *again], make_facts())) == []


CHANGES = [
    {"regularization.early_stopping_patience": 2},
    {"weights.source": "best", "regularization.early_stopping_patience": 2},
    {"regularization.label_smoothing": 0.1},
    {"augmentation.word_dropout": 0.1, "augmentation.token_cutoff": 0.1},
    {"augmentation.horizontal_flip": 0.5, "augmentation.random_resized_crop": 0.3},
    {"strategy": "full", "optimizer.learning_rate": "auto"},
    {"training.max_steps": 60},
    {"training.num_epochs": 6},
    {"regularization.class_weights": "balanced"},
    {"regularization.class_weights": "sqrt", "evaluation.metric": "macro_f1"},
    {"weights.interpolation": 0.5},
    {"forgetting.distillation": 1.0},
    {"data.validation_fraction": 0.3},
    {"optimizer.learning_rate": 3.3e-05},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_the_changes_that_are_advised_are_valid(change: dict[str, object]) -> None:
    resolved = build_recipe(overrides=change)
    assert {key: resolved.values()[key] for key in change} == change


def test_a_head_that_was_left_out_can_be_put_back() -> None:
    frozen = {"strategy": "partial", "strategy.last_blocks": 2, "strategy.train_head": False}
    assert build_recipe(overrides={**frozen, "strategy.train_head": True}).values()["strategy.train_head"] is True
