"""Conditions of training dynamics on records of every odd kind, and on healthy runs: nothing is found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from monitor_traces import falling, make_events, make_facts, make_trace

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.facts import Facts
from trimtab.monitor.trace import Trace

NAMES = (
    "divergence", "exploding_gradients", "input_starvation", "learning_rate_too_high", "learning_rate_too_low",
    "long_warmup", "loss_spikes", "memory_near_limit", "plateau", "small_batch", "vanishing_gradients",
)  # fmt: skip
FOREIGN = Facts(origin="csv")
HEALTHY_LOSSES = falling(0.7, 0.1, 60)


def _foreign(losses: list[float]) -> Trace:
    return Trace.from_events(
        [{"type": "step", "step": step, "loss": loss} for step, loss in enumerate(losses, 1)], FOREIGN
    )


def _resumed() -> Trace:
    events = make_events(HEALTHY_LOSSES, falling(0.6, 0.2, 6))
    return Trace.from_events([*events[:40], *events[20:]], make_facts(total_steps=60))


def _quiet_signals(count: int) -> Iterator[dict[str, Any]]:
    for step in range(1, count + 1):
        block = {"update_ratio": 1.5e-3, "grad_norm": 0.3, "weight_norm": 80.0}
        yield {
            "type": "signals",
            "step": step,
            "blocks": {name: dict(block) for name in ("embeddings", "block 0", "block 1", "block 2", "head")},
            "noise": {"variance": 1.0, "squared_norm": 0.05, "rows": 32},
            "memory_mib": 1000,
            "memory_total_mib": 8000,
        }


def _with_signals() -> Trace:
    trace = make_trace(HEALTHY_LOSSES, falling(0.6, 0.2, 6), facts=make_facts(total_steps=60, warmup_steps=6))
    for signal in _quiet_signals(60):
        trace.add(signal)
    return trace


TRACES = {
    "nothing": Trace(),
    "one step": make_trace([0.7]),
    "two steps, one evaluation": make_trace([0.7, 0.6], [0.65], steps_per_epoch=2),
    "constant": make_trace([0.7] * 12, [0.7], held_in=[0.7], facts=make_facts(total_steps=12, warmup_steps=1)),
    "zeros": make_trace([0.0] * 30, [0.0] * 3, facts=make_facts(total_steps=30)),
    "healthy, short": make_trace(falling(0.7, 0.2, 20), [0.6, 0.5], held_in=[0.55, 0.4]),
    "healthy": make_trace(HEALTHY_LOSSES, falling(0.6, 0.2, 6), held_in=falling(0.6, 0.1, 6)),
    "healthy, with signals": _with_signals(),
    "healthy, few rows a step": make_trace(
        falling(0.7, 0.3, 60, noise=0.15), falling(0.6, 0.4, 6), step_fields={"weight": [4] * 60}
    ),
    "resumed": _resumed(),
    "foreign, one step": _foreign([0.7]),
    "foreign, one NaN": _foreign([0.7, math.nan, 0.6, 0.5, 0.5, 0.4]),
    "foreign, healthy": _foreign(HEALTHY_LOSSES),
    "too few steps": make_trace(
        falling(0.7, 0.68, 20, noise=0.01), [0.69, 0.69], facts=make_facts(total_steps=20, warmup_steps=2)
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TRACES)
def test_nothing_is_found(name: str, kind: str) -> None:
    assert list(CONDITIONS.get(name)().examine(TRACES[kind])) == []


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_finding(seed: int) -> None:
    losses = falling(0.7, 0.2, 50, noise=0.08, seed=seed)
    held_in = falling(0.65, 0.2, 5, noise=0.02, seed=seed + 100)
    trace = make_trace(losses, held_in, held_in=held_in, facts=make_facts(total_steps=50))
    found = [finding for name in NAMES for finding in CONDITIONS.get(name)().examine(trace)]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_says_what_it_is(name: str) -> None:
    condition = CONDITIONS.get(name)()
    assert condition.name == name
    assert all((condition.title, condition.rule, condition.source))
