"""From a trace back to events: a record of any program in the words of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from trimtab.monitor.trace import STEP_COLUMNS, Trace

_LEFT_OUT = ("recipe", "siblings")


def events_of_trace(trace: Trace) -> Iterator[dict[str, Any]]:
    """The events from which `Trace.from_events` makes the same numbers: `start`, then steps and what was seen at them.

    They have no `time`: a trace knows none. A step's rates by group are one, the largest.

    Args:
        trace: of a run of ours or of another program.
    """
    facts = {name: value for name, value in asdict(trace.facts).items() if name not in _LEFT_OUT}
    yield {"type": "start", "step": 0, **facts}
    yield from trace.data_findings
    numbered = [*_steps(trace), *_evaluations(trace)]
    numbered += [(signal["step"], 0, signal) for signal in trace.signals]
    numbered += [(inspection["step"], 2, inspection) for inspection in trace.inspections]
    # The signals of a step stand before it, what was judged after it.
    for _, _, event in sorted(numbered, key=lambda item: item[:2]):
        yield event


def _steps(trace: Trace) -> Iterator[tuple[int, int, dict[str, Any]]]:
    columns = {name: trace.column(name) for name in STEP_COLUMNS}
    rates = trace.column("learning_rate")
    for index, step in enumerate(trace.steps.astype(np.int64).tolist()):
        values = {name: float(column[index]) for name, column in columns.items()}
        known = {name: value for name, value in values.items() if name == "loss" or not math.isnan(value)}
        rate = float(rates[index])
        event = {"type": "step", "step": step, **known, "learning_rates": {} if math.isnan(rate) else {"all": rate}}
        if step in trace.skipped:
            reason, rows = trace.skipped[step]
            event |= {"skipped": reason, "rows": list(rows)}
        yield step, 1, event


def _evaluations(trace: Trace) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for evaluation in trace.evaluations:
        yield (
            evaluation.step,
            3,
            {
                "type": "evaluation",
                "step": evaluation.step,
                "epoch": evaluation.epoch,
                "split": "validation",
                "metric": trace.facts.metric,
                "metrics": dict(evaluation.values),
                **({"held_in": dict(evaluation.held_in)} if evaluation.held_in else {}),
                **({"detail": dict(evaluation.detail)} if evaluation.detail else {}),
                "best": evaluation.best,
            },
        )
