"""Learning-rate schedules against independent values.

The tables, worked out by hand, hold the factor of each group's base rate at optimizer steps 1, 2, …, `total`. Warm-up
over w steps gives 1/w, 2/w, …, 1. Then, with n = total - w steps left and k = 0 … n - 1 of them done: linear 1 - k/n,
cosine (1 + cos(pi k/n)) / 2, constant 1, and so on. Where torch or transformers defines the same curve, its values are
compared too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch.optim import lr_scheduler

from trimtab.config.optimization import (
    OWN_RISE,
    SCHEDULE_OPTIONS,
    OptimizerSection,
    ScheduleSection,
    refuse_decay_of_schedule_free,
)
from trimtab.training.schedules import rate_factor, warmup_steps

ROOT_HALF = math.sqrt(0.5)
NAMES = get_args(ScheduleSection.model_fields["name"].annotation)

TABLES = {
    ("linear", 0): [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
    ("linear", 2): [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
    ("linear", 5): [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2],
    ("constant", 0): [1.0] * 10,
    ("constant", 4): [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    # n = 8: cos of 0, 22.5, 45, …, 157.5 degrees.
    ("cosine", 2): [
        0.5,
        1.0,
        1.0,
        0.9619397662556434,
        (1 + ROOT_HALF) / 2,
        0.6913417161825449,
        0.5,
        0.3086582838174551,
        (1 - ROOT_HALF) / 2,
        0.03806023374435663,
    ],
    # n = 6: cos of 0, 30, 60, 90, 120, 150 degrees.
    ("cosine", 4): [
        0.25,
        0.5,
        0.75,
        1.0,
        1.0,
        (1 + math.sqrt(3) / 2) / 2,
        0.75,
        0.5,
        0.25,
        (1 - math.sqrt(3) / 2) / 2,
    ],
    ("linear", 10): [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    # n = 8, two waves of 4 steps: cos of 0, 45, 90, 135 degrees, twice; written out by `options` below.
    ("cosine_restarts", 2): [
        0.5,
        1.0,
        *([1.0, (1 + ROOT_HALF) / 2, 0.5, (1 - ROOT_HALF) / 2] * 2),
    ],
    # n = 8: 0.0001^(k/8) = 10^(-k/2).
    ("exponential", 2): [0.5, 1.0, *(10 ** (-k / 2) for k in range(8))],
    # n = 8: (1 - k/8)^3.
    ("polynomial", 2): [0.5, 1.0, 1.0, 343 / 512, 216 / 512, 125 / 512, 64 / 512, 27 / 512, 8 / 512, 1 / 512],
    # With the warm-up's 4 steps as time scale: sqrt(4 / (4 + k)).
    ("inverse_sqrt", 4): [
        *(0.25, 0.5, 0.75, 1.0, 1.0),
        *(2 / math.sqrt(5), 2 / math.sqrt(6), 2 / math.sqrt(7), 1 / math.sqrt(2), 2 / 3),
    ],
    # Never reduced.
    ("plateau", 4): [0.25, 0.5, 0.75, *([1.0] * 7)],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "cosine_restarts": {"cycles": 2},
    "exponential": {"min_factor": 1e-4},
    "polynomial": {"power": 3},
}


def curve(total: int, **options: Any) -> list[float]:
    section = ScheduleSection(**options)
    return [rate_factor(section, step, total) for step in range(1, total + 1)]


@pytest.mark.parametrize(("name", "warmup"), sorted(TABLES))
def test_factor_at_every_step(name: str, warmup: int) -> None:
    found = curve(10, name=name, warmup_steps=warmup, **OPTIONS.get(name, {}))

    assert found == pytest.approx(TABLES[name, warmup], abs=1e-12)


def test_every_name_of_the_recipe_has_values_here() -> None:
    assert set(SCHEDULE_OPTIONS) == set(NAMES)
    assert {name for name, _ in TABLES} | set(OWN_RISE) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 0.2 + 0.8 of the curve that falls to zero.
        ("linear", [1.0, 0.8, 0.6, 0.4]),
        ("cosine", [1.0, 0.6 + 0.4 * ROOT_HALF, 0.6, 0.6 - 0.4 * ROOT_HALF]),
        ("polynomial", [1.0, 0.2 + 0.8 * 9 / 16, 0.4, 0.25]),
        ("cosine_restarts", [1.0, 0.6 - 0.4 * ROOT_HALF, 0.6, 0.6 + 0.4 * ROOT_HALF]),
    ],
)
def test_a_fall_that_ends_above_zero(name: str, expected: list[float]) -> None:
    # Three waves over four steps: 0, 135, 90 (of the second) and 45 degrees (of the third).
    assert curve(4, name=name, warmup_steps=0, min_factor=0.2) == pytest.approx(expected, abs=1e-12)


def test_inverse_sqrt_with_a_time_scale_of_its_own() -> None:
    found = curve(4, name="inverse_sqrt", warmup_steps=0, timescale=3)
    assert found == pytest.approx([1.0, math.sqrt(3 / 4), math.sqrt(3 / 5), math.sqrt(3 / 6)], abs=1e-12)


def test_one_cycle_by_hand() -> None:
    """10 steps, a rise over 0.5: step 5 is the peak. From 1/4, by cosines of 0, 45, … degrees, to 1/400."""
    rise = [0.25 + 0.75 * (1 - math.cos(math.pi * k / 4)) / 2 for k in range(5)]
    fall = [0.0025 + 0.9975 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(1, 6)]
    found = curve(10, name="one_cycle", pct_start=0.5, div_factor=4, final_div_factor=100)
    assert found == pytest.approx([*rise, *fall], abs=1e-12)
    assert found[0] == 0.25 and found[4] == 1.0 and found[9] == pytest.approx(1 / 400, abs=1e-12)


def test_cyclical_by_hand() -> None:
    """12 steps in two triangles between 0.4 and 1: each third of a rise adds 0.2."""
    found = curve(12, name="cyclical", cycles=2, min_factor=0.4)
    assert found == pytest.approx([0.4, 0.6, 0.8, 1.0, 0.8, 0.6] * 2, abs=1e-12)


def test_slanted_triangular_by_hand() -> None:
    """T = 10, cut_frac = 0.2, ratio = 5: cut = 2; p = 1/2 and 1, then 1 - k/8; factor (1 + 4 p) / 5."""
    found = curve(10, name="slanted_triangular", cut_frac=0.2, ratio=5)
    expected = [(1 + 4 * p) / 5 for p in (0.5, 1, *(1 - k / 8 for k in range(1, 9)))]
    assert found == pytest.approx(expected, abs=1e-12)
    assert max(found) == found[1] == 1.0 and found[-1] == pytest.approx(0.2, abs=1e-12)


def test_slanted_triangular_with_the_values_of_the_paper() -> None:
    """T = 1000, cut_frac = 0.1, ratio = 32: the peak at step 100, 1/32 at the end, halfway down at step 550."""
    section = ScheduleSection(name="slanted_triangular")
    found = {step: rate_factor(section, step, 1000) for step in (1, 50, 100, 550, 1000)}
    assert found == pytest.approx(
        {1: (1 + 0.01 * 31) / 32, 50: (1 + 0.5 * 31) / 32, 100: 1.0, 550: (1 + 0.5 * 31) / 32, 1000: 1 / 32}, abs=1e-12
    )


@pytest.mark.parametrize("total", [3, 7, 15, 19, 99])
def test_slanted_triangular_never_falls_below_its_lowest_rate(total: int) -> None:
    """Where 0.1 · T is rounded down, the line of equation 3 would cross zero before the end."""
    found = curve(total, name="slanted_triangular")
    assert min(found) >= 1 / 32 - 1e-12 and max(found) == 1.0


def test_a_plateau_lowers_the_rate_at_each_reduction() -> None:
    section = ScheduleSection(name="plateau", plateau_factor=0.1, min_factor=0.005, warmup_steps=2)
    assert [rate_factor(section, 5, 10, count) for count in range(5)] == pytest.approx([1.0, 0.1, 0.01, 0.005, 0.005])
    assert rate_factor(section, 1, 10, 3) == 0.5


def of_library(scheduler: Callable[[torch.optim.Optimizer], Any], total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = scheduler(optimizer)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


@pytest.mark.parametrize("total", [10, 37, 120])
def test_one_cycle_is_that_of_torch(total: int) -> None:
    expected = of_library(
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total + 1), total + 1
    )
    assert curve(total + 1, name="one_cycle") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("total", "cycles"), [(24, 1), (24, 3), (60, 5), (21, 3)])
def test_cyclical_is_that_of_torch(total: int, cycles: int) -> None:
    half = total / cycles / 2
    expected = of_library(
        lambda optimizer: lr_scheduler.CyclicLR(
            optimizer, base_lr=0.25, max_lr=1.0, step_size_up=half, cycle_momentum=False
        ),
        total,
    )
    assert curve(total, name="cyclical", cycles=cycles) == pytest.approx(expected, abs=1e-9)


def test_exponential_is_that_of_torch() -> None:
    expected = of_library(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / 20)), 20)
    assert curve(20, name="exponential", warmup_steps=0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("function", "options", "extra"),
    [
        ("get_linear_schedule_with_warmup", {"name": "linear"}, {}),
        ("get_cosine_schedule_with_warmup", {"name": "cosine"}, {}),
        (
            "get_cosine_with_hard_restarts_schedule_with_warmup",
            {"name": "cosine_restarts", "cycles": 4},
            {"num_cycles": 4},
        ),
        (
            "get_polynomial_decay_schedule_with_warmup",
            {"name": "polynomial", "power": 1.5, "min_factor": 0.1},
            {"power": 1.5, "lr_end": 0.1},
        ),
        ("get_inverse_sqrt_schedule", {"name": "inverse_sqrt"}, {"num_training_steps": None}),
    ],
)
def test_the_fall_is_that_of_transformers(function: str, options: dict[str, Any], extra: dict[str, Any]) -> None:
    """After the warm-up, which theirs begins at zero: their last value before it is our last but one."""
    import transformers.optimization

    arguments = {"num_warmup_steps": 8, "num_training_steps": 40, **extra}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    expected = of_library(lambda optimizer: getattr(transformers.optimization, function)(optimizer, **arguments), 40)
    found = curve(40, warmup_steps=8, **options)
    assert found[8:] == pytest.approx(expected[8:], abs=1e-9)
    assert found[:7] == pytest.approx(expected[1:8], abs=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cyclical"])
def test_a_run_of_one_step_takes_it_at_the_full_rate(name: str) -> None:
    options = {} if name in OWN_RISE else {"warmup_steps": 0}
    if name == "inverse_sqrt":
        options["timescale"] = 5
    assert curve(1, name=name, **options) == [1.0]
    if name not in OWN_RISE:
        assert curve(1, name=name, **{**options, "warmup_steps": 1}) == [1.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 2, 3, 10, 101])
def test_factors_lie_between_zero_and_one(name: str, total: int) -> None:
    section = ScheduleSection(name=name)
    found = [rate_factor(section, step, total) for step in range(1, total + 1)]
    assert all(0 < factor <= 1 for factor in found)
    assert rate_factor(section, total + 5, total) >= 0
    if total > 3:
        assert max(found) > 0.9


@pytest.mark.parametrize(
    ("section", "total", "expected"),
    [
        ({}, 100, 10),
        ({"warmup_ratio": 0.1}, 42, 5),
        ({"warmup_ratio": 0.0}, 42, 0),
        ({"warmup_ratio": 1.0}, 42, 42),
        ({"warmup_ratio": 0.06}, 50, 3),
        ({"warmup_steps": 7}, 42, 7),
        ({"warmup_steps": 0, "warmup_ratio": 0.5}, 42, 0),
        ({"warmup_steps": 100}, 42, 42),
        *(({"name": name}, 100, 0) for name in OWN_RISE),
    ],
)
def test_steps_of_the_warmup(section: dict[str, float], total: int, expected: int) -> None:
    assert warmup_steps(ScheduleSection.model_validate(section), total) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "one_cycle", "warmup_steps": 3}, r"warmup_steps: .* 'one_cycle' \(it rises by itself\)"),
        ({"name": "cyclical", "warmup_ratio": 0.1}, "its options: cycles, min_factor"),
        ({"name": "slanted_triangular", "warmup_ratio": 0.1}, "its options: cut_frac, ratio"),
        ({"name": "linear", "cycles": 2}, "its options: min_factor, warmup_ratio, warmup_steps"),
        ({"name": "constant", "min_factor": 0.1, "power": 2}, "min_factor and power: not an option of the schedule"),
        ({"name": "cosine", "plateau_patience": 2}, "plateau_patience: not an option"),
        ({"name": "exponential", "min_factor": 0}, "min_factor of exponential must be above 0"),
        ({"name": "inverse_sqrt", "warmup_steps": 0}, "give timescale, or a warm-up"),
        ({"name": "inverse_sqrt", "warmup_ratio": 0}, "give timescale, or a warm-up"),
    ],
)
def test_options_of_another_shape_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleSection(**options)


@pytest.mark.parametrize("name", ["schedule_free_adamw", "schedule_free_sgd"])
def test_schedule_free_keeps_its_rate(name: str) -> None:
    optimizer = OptimizerSection(name=name)
    refuse_decay_of_schedule_free(optimizer, ScheduleSection(name="constant", warmup_steps=5))
    with pytest.raises(ValueError, match=r"set schedule\.name=constant"):
        refuse_decay_of_schedule_free(optimizer, ScheduleSection())
    refuse_decay_of_schedule_free(OptimizerSection(), ScheduleSection())
