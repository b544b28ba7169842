"""Where a run stands among the stages of its plan: pure functions of the plan and of the progress."""

from __future__ import annotations

import math

from trimtab.strategies.base import Stage, TrainingPlan
from trimtab.training.records import Progress


def stage_steps(stage: Stage, steps_per_epoch: int, total_steps: int) -> int | None:
    """Optimizer steps of a stage, at least one; None where only evaluations end it, or the end of the run."""
    if stage.length is None or stage.unit == "plateau":
        return None
    unit = {"share": total_steps, "epochs": steps_per_epoch, "steps": 1}[stage.unit]
    return max(1, math.ceil(round(stage.length * unit, 6)))


def is_over(plan: TrainingPlan, progress: Progress, steps_per_epoch: int, total_steps: int) -> bool:
    """Whether the present stage has ended and another follows."""
    if progress.stage + 1 >= len(plan.stages):
        return False
    stage = plan.stages[progress.stage]
    if stage.unit == "plateau" and stage.length is not None:
        return progress.stage_watch.waited >= stage.length
    steps = stage_steps(stage, steps_per_epoch, total_steps)
    return steps is not None and progress.step - progress.stage_start >= steps


def enter_next(progress: Progress) -> None:
    """Move on to the next stage."""
    progress.stage += 1
    progress.stage_start = progress.step
    progress.stage_watch.restart()


def schedule_span(plan: TrainingPlan, progress: Progress, steps_per_epoch: int, total_steps: int) -> tuple[int, int]:
    """First step and number of steps of the stretch that the learning-rate schedule spans.

    The whole run; or, where the plan restarts the schedule with each stage, the stage. One whose length is open (a
    plateau, the last) counts as long as the rest of the run.
    """
    if not plan.restart_schedule or not plan.stages:
        return 0, total_steps
    left = total_steps - progress.stage_start
    steps = stage_steps(plan.stages[progress.stage], steps_per_epoch, total_steps)
    return progress.stage_start, left if steps is None else min(steps, left)


def fewest_steps(stage: Stage, steps_per_epoch: int, total_steps: int, evaluate_every: int) -> int:
    """Optimizer steps that a stage takes at least; 0 for the last.

    Where evaluations end it, one of them is the best so far, and `length` more have to follow.

    Args:
        stage: the stage.
        steps_per_epoch: optimizer steps of an epoch.
        total_steps: those of the run.
        evaluate_every: steps from one evaluation to the next.
    """
    if stage.unit == "plateau" and stage.length is not None:
        return (1 + math.ceil(stage.length)) * evaluate_every
    return stage_steps(stage, steps_per_epoch, total_steps) or 0


def unreachable(
    plan: TrainingPlan, steps_per_epoch: int, total_steps: int, evaluate_every: int | None = None
) -> list[str]:
    """Names of the stages that the run would end before, however short the others turn out.

    Args:
        plan: with its stages.
        steps_per_epoch: optimizer steps of an epoch.
        total_steps: those of the run.
        evaluate_every: steps from one evaluation to the next; an epoch when None.
    """
    begun, names = 0, []
    for stage in plan.stages:
        if begun >= total_steps:
            names.append(stage.name)
        begun += fewest_steps(stage, steps_per_epoch, total_steps, evaluate_every or steps_per_epoch)
    return names
