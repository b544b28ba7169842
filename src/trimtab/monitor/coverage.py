"""Which conditions a record lets the doctor look for, and what it lacks for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.trace import Trace

Has = Callable[[Trace], bool]

# Part of a record -> how to say that it is not there, and whether it is.
PARTS: dict[str, tuple[str, Has]] = {
    "steps": (say("no training losses"), lambda trace: len(trace.steps) > 0),
    "evaluations": (say("no validation losses"), lambda trace: len(trace.evaluations) > 0),
    "held_in": (
        say("no losses on training rows in evaluation mode"),
        lambda trace: any(evaluation.held_in for evaluation in trace.evaluations),
    ),
    "classes": (
        say("no results by class"),
        lambda trace: any(evaluation.detail.get("recall") for evaluation in trace.evaluations),
    ),
    "validation_rows": (
        say("the number of validation rows is not known"),
        lambda trace: (
            any(evaluation.detail.get("rows") for evaluation in trace.evaluations)
            or bool(trace.facts.rows.get("validation"))
        ),
    ),
    "confidence": (
        say("no calibration was measured"),
        lambda trace: any("confidence" in evaluation.detail for evaluation in trace.evaluations),
    ),
    "class_rows": (
        say("the training rows of each class are not known"),
        lambda trace: bool(trace.facts.label_counts.get("train")),
    ),
    "batch_rows": (say("the rows of a step are not known"), lambda trace: _logged(trace, "weight")),
    "plan": (say("the planned number of steps is not known"), lambda trace: trace.facts.total_steps is not None),
    "times": (say("no times spent waiting for rows"), lambda trace: _logged(trace, "data_seconds")),
    "blocks": (
        say("no update ratios and gradient norms by depth"),
        lambda trace: any(signal.get("blocks") for signal in trace.signals),
    ),
    "memory": (
        say("no memory of a device with a limit was measured"),
        lambda trace: any(signal.get("memory_total_mib") for signal in trace.signals),
    ),
    "inspections": (say("nobody looked inside the model"), lambda trace: bool(trace.inspections)),
    "rows": (say("no outcomes of single training rows"), lambda trace: trace.rows is not None),
    "data": (say("no data report"), lambda trace: trace.facts.origin == "trimtab"),
    "shift": (
        say("neither a data report nor losses on training rows in evaluation mode"),
        lambda trace: trace.facts.origin == "trimtab" or any(evaluation.held_in for evaluation in trace.evaluations),
    ),
    "frozen": (
        say("what trains and how much it moves is not known"),
        lambda trace: trace.facts.origin == "trimtab" or any(signal.get("blocks") for signal in trace.signals),
    ),
    "kept": (
        say("what was kept of the pretrained model was not measured"),
        lambda trace: bool(trace.retention) or bool(trace.inspections),
    ),
    "baselines": (say("there is no final result beside baselines"), lambda trace: bool(trace.final.get("baselines"))),
}


def not_examined(trace: Trace, conditions: Iterable[Condition]) -> dict[str, str]:
    """What could not be looked for: name of a condition -> what the record lacks for it, as the end of a sentence."""
    there = {part: has(trace) for part, (_, has) in PARTS.items()}
    lacking = {
        condition.name: [PARTS[part][0] for part in condition.needs if not there[part]] for condition in conditions
    }
    return {name: ", ".join(reasons) for name, reasons in sorted(lacking.items()) if reasons}


def _logged(trace: Trace, column: str) -> bool:
    return bool(np.isfinite(trace.column(column)).any())
