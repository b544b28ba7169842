"""A part that should train and does not: a new head that is frozen, or a block that no update reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._series import Floats
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

# Sampled steps, with a rate above 0, from which on a block that never moved counts as dead.
FEWEST_SAMPLES = 5
HEAD = "head"
# Blocks that are named, and plotted.
MOST_NAMED = 5


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
    name = trace.facts.strategy
    strategy = say("the strategy {name}", name=name) if name else say("the strategy of this run")
    return Finding(
        "frozen_part",
        "act",
        say(
            "{blocks} hold new parameters of random values that {strategy} does not train: what the model has learned "
            "passes through noise.",
            blocks=_named(blocks),
            strategy=strategy,
        )
        if len(blocks) > 1
        else say(
            "{block} holds new parameters of random values that {strategy} does not train: what the model has learned "
            "passes through noise.",
            block=_named(blocks),
            strategy=strategy,
        ),
        since=0,
        evidence={
            "untrained": list(blocks),
            "trained_parameters": trace.facts.trained_parameters,
            "parameters": trace.facts.parameters,
        },
        remedy=say("Train the head too."),
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
    samples = int(running.sum())
    zero = (
        say("over {samples} sampled steps the gradient there is exactly 0", samples=samples)
        if without
        else say("over {samples} sampled steps the update there is exactly 0", samples=samples)
    )
    if every:
        message = say("No block moved by training, though all should train: {zero}.", zero=zero)
    elif len(dead) == 1:
        message = say(
            "{block} is not moved by training, though it should train: {zero}.", block=_named(dead), zero=zero
        )
    else:
        message = say(
            "{blocks} are not moved by training, though they should train: {zero}.", blocks=_named(dead), zero=zero
        )
    yield Finding(
        "frozen_part",
        "act" if grave else "warning",
        message,
        since=int(steps[running][0]),
        evidence={"blocks": dead, "without_gradient": without, "samples": samples},
        remedy=say(
            "Look for a part of the model that cuts the gradient (detach, a custom head), or a rate of 0 in one "
            "group; the strategy full trains everything at one rate."
        ),
        change={} if trace.facts.strategy == "full" else {"strategy": "full", "optimizer.learning_rate": "auto"},
        series=tuple(Curve(f"update of {block}", list(steps), list(updates[block])) for block in dead[:MOST_NAMED]),
    )


def _rates(trace: Trace, sampled: Floats) -> Floats:
    """Learning rate of the sampled steps; infinite where it is not known."""
    known = dict(zip(trace.steps, trace.column("learning_rate"), strict=True))
    found = [known.get(step, math.inf) for step in sampled]
    return np.asarray([rate if math.isfinite(rate) else math.inf for rate in found], np.float64)


def _all_zero(values: Floats) -> bool:
    found = values[np.isfinite(values)]
    return len(found) >= FEWEST_SAMPLES and bool((found == 0).all())


def _named(blocks: Sequence[str]) -> str:
    named = ", ".join(f"`{block}`" for block in blocks[:MOST_NAMED])
    others = len(blocks) - MOST_NAMED
    return say("{blocks} and {others} more", blocks=named, others=others) if others > 0 else named
