"""A part that should train and does not: a new head that is frozen, or a block that no update reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.conditions._series import Floats
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Sampled steps, with a rate above 0, from which on a block that never moved counts as dead.
FEWEST_SAMPLES = 5
HEAD = "head"


@CONDITIONS.register("frozen_part")
class FrozenPart(Condition):
    """Parameters that start at random values stay there, or a block that trains is never moved."""

    title = "Dead head, or a frozen part that should train"
    rule = (
        "A block holds parameters that are not pretrained and do not train (`act`); or, over all sampled steps, at "
        "least 5, the gradient or the update of a block that should train is exactly 0 (`act` for the head or for all "
        "blocks, else `warning`)."
    )
    source = "Our rule; SageMaker Debugger's UnchangedTensor and AllZero"
    needs = ("frozen",)
    explains = ("underfitting", "class_collapse", "class_imbalance", "plateau", "learning_rate_too_low")
    urgent = True

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """What is frozen by the recipe comes first; then what does not move."""
        if trace.facts.untrained:
            yield _frozen(trace)
        else:
            yield from _unmoved(trace)


def _frozen(trace: Trace) -> Finding:
    blocks = trace.facts.untrained
    change: dict[str, Any] = {"strategy": "full", "optimizer.learning_rate": "auto"}
    if trace.facts.strategy == "partial" and trace.facts.recipe.get("strategy.train_head") is False:
        change = {"strategy.train_head": True}
    return Finding(
        "frozen_part",
        "act",
        f"{_named(blocks)} {'hold' if len(blocks) > 1 else 'holds'} new parameters of random values that the strategy "
        f"{trace.facts.strategy or 'of this run'} does not train: what the model has learned passes through noise.",
        since=0,
        evidence={
            "untrained": list(blocks),
            "trained_parameters": trace.facts.trained_parameters,
            "parameters": trace.facts.parameters,
        },
        remedy="Train the head too.",
        change=change,
    )


def _unmoved(trace: Trace) -> Iterator[Finding]:
    steps, updates = trace.block_signal("update_ratio")
    gradients = trace.block_signal("grad_norm")[1]
    # The rate is 0 in the first step of a warm-up, and in the last step of a run.
    running = _rates(trace, steps) > 0
    dead = [
        block
        for block in updates
        if _all_zero(updates[block][running]) or _all_zero(gradients.get(block, np.zeros(0))[running])
    ]
    if not dead:
        return
    every = len(dead) == len(updates)
    grave = every or any(block.startswith(HEAD) for block in dead)
    without = [block for block in dead if _all_zero(gradients.get(block, np.zeros(0)))]
    yield Finding(
        "frozen_part",
        "act" if grave else "warning",
        f"{'No block' if every else _named(dead) + (' is not' if len(dead) == 1 else ' are not')} moved by training, "
        f"though {'all' if every else 'it' if len(dead) == 1 else 'they'} should train: over {int(running.sum())} "
        f"sampled steps the {'gradient' if without else 'update'} there is exactly 0.",
        since=int(steps[running][0]),
        evidence={"blocks": dead, "without_gradient": without, "samples": int(running.sum())},
        remedy="Look for a part of the model that cuts the gradient (detach, a custom head), or a rate of 0 in one "
        "group; the strategy full trains everything at one rate.",
        change={} if trace.facts.strategy == "full" else {"strategy": "full", "optimizer.learning_rate": "auto"},
        series=tuple(Curve(f"update of {block}", list(steps), list(updates[block])) for block in dead[:5]),
    )


def _rates(trace: Trace, sampled: Floats) -> Floats:
    """Learning rate of the sampled steps; infinite where it is not known."""
    known = dict(zip(trace.steps, trace.column("learning_rate"), strict=True))
    found = [known.get(step, math.inf) for step in sampled]
    return np.asarray([rate if math.isfinite(rate) else math.inf for rate in found], np.float64)


def _all_zero(values: Floats) -> bool:
    found = values[np.isfinite(values)]
    return len(found) >= FEWEST_SAMPLES and bool((found == 0).all())


def _named(blocks: Iterable[str]) -> str:
    named = [f"`{block}`" for block in blocks]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
