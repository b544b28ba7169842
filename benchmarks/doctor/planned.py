"""What the doctor's benchmark runs: every fault in every world that it fits, and the healthy runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from faults import FAULTS, WITH_MORE_ROWS, Fault
from settings import HEALTHY, WORLDS, Healthy, World, world_of

SEEDS = {"calibration": 1, "test": 2}
"""Runs of each fault in each world, by the world's side; healthy runs have one each."""
MOST_SEEDS = max(SEEDS.values())


@dataclass(frozen=True)
class Planned:
    """One run.

    Args:
        world: data set and model.
        fault: what is planted; None in a healthy run.
        healthy: what kind of healthy run; None where a fault is planted.
        seed: of the draw of rows, of the fault and of the training.
        test_rows: other number of test rows than the world's.
    """

    world: World
    fault: Fault | None
    healthy: Healthy | None
    seed: int
    test_rows: int | None = None

    @property
    def name(self) -> str:
        """Of the fault, or `healthy-NAME`."""
        if self.fault is not None:
            return self.fault.name
        return self.healthy.key if self.healthy is not None else "healthy"

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.world.split}--{self.world.name}--{self.name}--{self.seed}"

    @property
    def _special(self) -> Fault | Healthy | None:
        return self.fault or self.healthy

    @property
    def rows(self) -> dict[str, int]:
        """Rows to draw, by split."""
        rows = {**self.world.rows, **(self._special.rows if self._special else {})}
        return rows if self.test_rows is None else {**rows, "test": self.test_rows}

    @property
    def epochs(self) -> int:
        """Passes over the training rows."""
        return (self._special.epochs if self._special else None) or self.world.epochs

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        return (self.healthy.batch_size if self.healthy else None) or self.world.batch_size

    @property
    def _own_settings(self) -> Mapping[str, Any]:
        return self.healthy.settings if self.healthy else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Recipe keys of the fault or of the healthy run."""
        # Beside a baseline it shows whether a run in which nothing was planted learnt enough.
        return self.fault.settings if self.fault else {"evaluation.baselines": True, **self._own_settings}

    def to_dict(self) -> dict[str, Any]:
        """What `meta.json` says of it."""
        return {
            "id": self.key,
            "world": self.world.name,
            "split": self.world.split,
            "data": self.world.data,
            "model": self.world.model,
            "fault": self.fault.name if self.fault else None,
            "healthy": self.healthy.name if self.healthy else None,
            "seed": self.seed,
            "expected": list(self.fault.conditions) if self.fault else [],
            "severity": self.fault.severity if self.fault else None,
        }


def accepted(run: Planned) -> frozenset[str]:
    """Conditions whose findings are true of a run, beside those of its fault."""
    own = run.fault.also if run.fault else frozenset()
    return own | ({"class_imbalance"} if run.world.small_class else frozenset())


def planned_run(world: str, name: str, seed: int, test_rows: int | None = None) -> Planned:
    """A run by the names of its world and its fault (or `healthy-NAME`).

    Raises:
        KeyError: there is no such world or fault.
    """
    place = world_of(world)
    if not name.startswith("healthy"):
        return Planned(place, {**FAULTS, **WITH_MORE_ROWS}[name], None, seed, test_rows)
    for healthy in HEALTHY:
        if (healthy.world, healthy.key) == (world, name):
            return Planned(place, None, healthy, seed, test_rows)
    raise KeyError(f"{world} has no healthy run {name}")


def plan(split: str = "all", seeds: int | None = None, only: Iterable[str] = ()) -> list[Planned]:
    """All runs, in the order in which they are done: the first seed of everything comes first.

    Args:
        split: `calibration`, `test` or `all`.
        seeds: runs of each fault in each world; as `SEEDS` says when None.
        only: faults or worlds (or `healthy`) to keep; all when empty.
    """
    wanted = set(only)
    runs = [Planned(world_of(healthy.world), None, healthy, 0) for healthy in HEALTHY]
    runs += [
        Planned(world, fault, None, seed)
        for seed in range(seeds or MOST_SEEDS)
        for fault in FAULTS.values()
        for world in WORLDS.values()
        if fault.fits(world) and seed < (seeds or SEEDS[world.split])
    ]
    return [
        run
        for run in runs
        if split in ("all", run.world.split)
        and (not wanted or wanted & {run.name, run.world.name, run.key, "healthy" if run.healthy else run.name})
    ]
