"""Units that died in training, and attention that collapsed to single tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Share of a block's units that never react from which on they count, and by how much it must have risen since the
# first look: pretrained networks may have dead units of their own (our choice).
DEAD, RISEN = 0.5, 0.25
# Mean entropy of attention over its largest value: below this it has collapsed, where it was above that at first (our
# choice; the paper gives no number).
COLLAPSED, SPREAD = 0.05, 0.20


# Block -> value at the first look, at the last, and the step from which on it is hurt.
Hurt = dict[str, tuple[float, float, int]]
# Blocks of a kind that are named.
MOST_NAMED = 3


@CONDITIONS.register("dead_units")
class DeadUnits(Condition):
    """Blocks lost what they can express while training."""

    title = "Dead units and collapsed attention"
    rule = (
        "More than half of the hidden units of a block react to nothing, 25 points more than at the first look; or the "
        "mean entropy of a block's attention is below 5 % of its largest value, where it was above 20 % at first."
    )
    source = (
        "Dead units: Lu et al. 2019, arXiv 1903.06733; SageMaker Debugger's DeadRelu; attention: Zhai et al. 2023, "
        "arXiv 2303.06296"
    )
    needs = ("inspections",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding for both."""
        dead = _blocks(trace, "dead_units", lambda first, last: last > DEAD and last - first >= RISEN)
        collapsed = _blocks(trace, "attention_entropy", lambda first, last: last < COLLAPSED and first > SPREAD)
        if dead or collapsed:
            yield _finding(trace, dead, collapsed)


def _blocks(trace: Trace, name: str, is_hurt: Callable[[float, float], bool]) -> Hurt:
    """The blocks that are hurt at the last look."""
    found = {}
    for block in dict.fromkeys(block for look in trace.inspections for block in look.get(name) or {}):
        looks = [(int(look["step"]), number((look.get(name) or {}).get(block))) for look in trace.inspections]
        looks = [(step, value) for step, value in looks if value == value]
        if len(looks) < 2 or not is_hurt(looks[0][1], looks[-1][1]):
            continue
        since = next(step for step, value in looks if is_hurt(looks[0][1], value))
        found[block] = (looks[0][1], looks[-1][1], since)
    return found


def _message(dead: Hurt, collapsed: Hurt) -> str:
    """One sentence for the first blocks of each kind, put together from its end; dead units come first."""
    more: str = ""
    for block, (first, last, _) in reversed(list(collapsed.items())[0 if dead else 1 : MOST_NAMED]):
        more = say(
            "; the attention of {block} has collapsed to single tokens (entropy {last:.2f} of the largest possible, "
            "{first:.2f} at first){more}",
            block=block,
            last=last,
            first=first,
            more=more,
        )
    for block, (first, last, _) in reversed(list(dead.items())[1:MOST_NAMED]):
        more = say(
            "; in {block} {last:.0%} of the units react to nothing any more ({first:.0%} at first){more}",
            block=block,
            last=last,
            first=first,
            more=more,
        )
    block, (first, last, _) = next(iter((dead or collapsed).items()))
    if dead:
        return say(
            "In {block} {last:.0%} of the units react to nothing any more ({first:.0%} at first){more}.",
            block=block,
            last=last,
            first=first,
            more=more,
        )
    return say(
        "The attention of {block} has collapsed to single tokens (entropy {last:.2f} of the largest possible, "
        "{first:.2f} at first){more}.",
        block=block,
        last=last,
        first=first,
        more=more,
    )


def _finding(trace: Trace, dead: Hurt, collapsed: Hurt) -> Finding:
    rate = trace.facts.learning_rate
    evidence: dict[str, Any] = {
        name: {block: {"first": first, "last": last, "since": since} for block, (first, last, since) in blocks.items()}
        for name, blocks in (("dead_units", dead), ("attention_entropy", collapsed))
        if blocks
    }
    return Finding(
        "dead_units",
        "warning",
        _message(dead, collapsed),
        since=min(since for _, _, since in (*dead.values(), *collapsed.values())),
        evidence=evidence,
        remedy=say("Lower the learning rate and lengthen the warm-up; what died rarely comes back, so begin anew."),
        change={"optimizer.learning_rate": float(f"{rate / 3:.2g}")} if rate else {},
        series=tuple(
            Curve(
                f"{label} of {block}",
                [float(look["step"]) for look in trace.inspections],
                [number((look.get(name) or {}).get(block)) for look in trace.inspections],
            )
            for name, label, blocks in (
                ("dead_units", "dead units", dead),
                ("attention_entropy", "attention entropy", collapsed),
            )
            for block in blocks
        ),
        confidence=0.9,  # measured on a few rows; no interval is known
    )
