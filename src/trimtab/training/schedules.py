"""Learning-rate schedules: pure functions of the step, that scale every group's own base rate."""

from __future__ import annotations

import math

from trimtab.config.recipe import ScheduleSection


def warmup_steps(section: ScheduleSection, total_steps: int) -> int:
    """Steps of the warm-up: `warmup_steps` when given, else `warmup_ratio` of all steps, rounded up."""
    if section.warmup_steps is not None:
        return min(section.warmup_steps, total_steps)
    return math.ceil(section.warmup_ratio * total_steps)


def rate_factor(name: str, step: int, total_steps: int, warmup: int) -> float:
    """The factor of the base rate at optimizer step `step` (from 1 to `total_steps`).

    Warm-up rises linearly and reaches 1 at its last step. Then `linear` falls to 0 after the last step, `cosine`
    follows half a cosine to 0 (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts), `constant` stays at 1.

    Args:
        name: `linear`, `cosine` or `constant`.
        step: the step about to be taken, from 1.
        total_steps: steps of the whole run.
        warmup: steps of the warm-up.
    """
    if step <= warmup:
        return step / warmup
    if name == "constant":
        return 1.0
    done = min(1.0, (step - 1 - warmup) / max(1, total_steps - warmup))
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0 - done
