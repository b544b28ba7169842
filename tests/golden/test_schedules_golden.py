"""Learning-rate schedules against values worked out by hand.

The tables hold the factor of each group's base rate at optimizer steps 1, 2, …, `total`. Warm-up over w steps gives
1/w, 2/w, …, 1. Then, with n = total - w steps left and k = 0 … n - 1 of them done: linear 1 - k/n, cosine
(1 + cos(pi k/n)) / 2, constant 1.
"""

from __future__ import annotations

import math

import pytest

from trimtab.config.recipe import ScheduleSection
from trimtab.training.schedules import rate_factor, warmup_steps

ROOT_HALF = math.sqrt(0.5)

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
}


@pytest.mark.parametrize(("name", "warmup"), sorted(TABLES))
def test_factor_at_every_step(name: str, warmup: int) -> None:
    found = [rate_factor(name, step, 10, warmup) for step in range(1, 11)]

    assert found == pytest.approx(TABLES[name, warmup], abs=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_a_run_of_one_step_takes_it_at_the_full_rate(name: str) -> None:
    assert rate_factor(name, 1, 1, 0) == 1.0
    assert rate_factor(name, 1, 1, 1) == 1.0


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
    ],
)
def test_steps_of_the_warmup(section: dict[str, float], total: int, expected: int) -> None:
    assert warmup_steps(ScheduleSection.model_validate(section), total) == expected
