"""Learning-rate schedules: pure functions of the step, that scale every group's own base rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from trimtab.config.optimization import OWN_RISE
from trimtab.config.recipe import ScheduleSection

Shape = Callable[[ScheduleSection, float], float]


def warmup_steps(section: ScheduleSection, total_steps: int) -> int:
    """Steps of the warm-up: `warmup_steps` when given, else `warmup_ratio` of all steps, rounded up.

    None for the shapes that rise by themselves.
    """
    if section.name in OWN_RISE:
        return 0
    if section.warmup_steps is not None:
        return min(section.warmup_steps, total_steps)
    return math.ceil(section.setting("warmup_ratio") * total_steps)


def rate_factor(section: ScheduleSection, step: int, total_steps: int, reductions: int = 0) -> float:
    """The factor of every group's base rate at optimizer step `step`; the largest of a run is 1.

    Warm-up over w steps gives 1/w, 2/w, …, 1. The shape begins at the step after, with all of its n = total_steps - w
    steps before it; its last step is the one before it would end.

    Args:
        section: names the shape and its options.
        step: the step about to be taken, from 1; beyond the last one the shape has ended.
        total_steps: steps of the whole run (or of the stretch that the schedule spans).
        reductions: times that the metric stopped getting better, for `plateau`.
    """
    if section.name in _WHOLE:
        return _WHOLE[section.name](section, step, total_steps)
    warmup = warmup_steps(section, total_steps)
    if step <= warmup:
        return step / warmup
    if section.name == "constant":
        return 1.0
    if section.name == "inverse_sqrt":
        return _inverse_sqrt(section, step - 1 - warmup, warmup)
    low = float(section.setting("min_factor"))
    if section.name == "plateau":
        return max(low, float(section.setting("plateau_factor")) ** reductions)
    done = min(1.0, (step - 1 - warmup) / max(1, total_steps - warmup))
    if section.name == "exponential":
        return float(low**done)
    return low + (1.0 - low) * _FALLS[section.name](section, done)


def _linear(section: ScheduleSection, done: float) -> float:
    return 1.0 - done


def _cosine(section: ScheduleSection, done: float) -> float:
    """Half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _cosine_restarts(section: ScheduleSection, done: float) -> float:
    """Half a cosine, `cycles` times, all of one length (the same paper, with T_mult = 1)."""
    return 0.0 if done >= 1.0 else _cosine(section, _within(section.setting("cycles") * done))


def _polynomial(section: ScheduleSection, done: float) -> float:
    return float((1.0 - done) ** section.setting("power"))


def _within(waves: float) -> float:
    """Where in a wave, from 0 to 1. Rounded, so that the first step of a wave is not taken for the end of the last."""
    return round(waves, 12) % 1.0


_FALLS: dict[str, Shape] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "polynomial": _polynomial,
}


def _inverse_sqrt(section: ScheduleSection, past: int, warmup: int) -> float:
    """`sqrt(s / (s + past))` with time scale s, `past` steps after the peak (Vaswani et al. 2017, arXiv 1706.03762)."""
    scale = section.setting("timescale") or max(1, warmup)
    return math.sqrt(scale / (scale + past))


def _one_cycle(section: ScheduleSection, step: int, total_steps: int) -> float:
    """Up and down once by half cosines (Smith & Topin 2018, arXiv 1708.07120; the values of torch's `OneCycleLR`).

    From 1 / div_factor to 1 at step pct_start · total_steps, then to 1 / (div_factor · final_div_factor) at the last. A
    run too short for a rise begins at the peak.
    """
    first = 1.0 / section.setting("div_factor")
    last = first / section.setting("final_div_factor")
    peak = max(0.0, section.setting("pct_start") * total_steps - 1)
    position = step - 1
    if position < peak:
        return first + (1.0 - first) * 0.5 * (1.0 - math.cos(math.pi * position / peak))
    fall = total_steps - 1 - peak
    done = min(1.0, (position - peak) / fall) if fall > 0 else 0.0
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * done))


def _cyclical(section: ScheduleSection, step: int, total_steps: int) -> float:
    """Triangles between `min_factor` and 1 (Smith 2017, arXiv 1506.01186), each of at least two steps."""
    low = section.setting("min_factor")
    length = max(2.0, total_steps / section.setting("cycles"))
    position = _within((step - 1) / length)
    return float(low + (1.0 - low) * (1.0 - abs(2.0 * position - 1.0)))


def _slanted_triangular(section: ScheduleSection, step: int, total_steps: int) -> float:
    """A short rise and a long fall (Howard & Ruder 2018, arXiv 1801.06146, equation 3).

    With t = step, cut = floor(T · cut_frac) and p = t / cut before the cut, 1 - (t - cut) / (cut · (1 / cut_frac - 1))
    after it, the factor is (1 + p · (ratio - 1)) / ratio. Where rounding the cut down would end the fall before the
    run, p stays at 0; a run too short for a rise begins at the peak.
    """
    fraction, ratio = section.setting("cut_frac"), section.setting("ratio")
    cut = max(1, math.floor(round(total_steps * fraction, 9)))
    if step < cut:
        p = step / cut
    else:
        p = max(0.0, 1.0 - (step - cut) / (cut * (1.0 / fraction - 1.0)))
    return float((1.0 + p * (ratio - 1.0)) / ratio)


_WHOLE: dict[str, Callable[[ScheduleSection, int, int], float]] = {
    "one_cycle": _one_cycle,
    "cyclical": _cyclical,
    "slanted_triangular": _slanted_triangular,
}
