"""Arithmetic of the doctor's benchmark: recall, precision and delay of each condition, and false alarms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from replay import Told

from trimtab.monitor.findings import SEVERITIES

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Scored:
    """A run with what the doctor says of it.

    Args:
        meta: content of `meta.json`.
        told: what the doctor says.
    """

    meta: Mapping[str, Any]
    told: Told

    @property
    def expected(self) -> set[str]:
        """Conditions that should find the fault; none in a healthy run."""
        return set(self.meta["expected"])

    @property
    def accepted(self) -> set[str]:
        """Conditions whose findings are true of the run, whatever their severity."""
        return self.expected | set(self.meta["also"])

    def is_true(self, name: str) -> bool:
        """Whether a finding of the end is true; what the run has beside its fault is no reason for `act`."""
        return name in self.accepted or (name in self.told.true and self.told.last.get(name) != "act")

    @property
    def found(self) -> bool:
        """Whether the fault was found, at any time of the run: with `warning` or more, unless it merits `info`."""
        return bool(self.expected & set(self._steps))

    @property
    def severe_enough(self) -> bool:
        """Whether it was found at the end with the severity that it should have, or more."""
        wanted = SEVERITIES.index(self.meta["severity"])
        severities = [self.told.last[name] for name in self.expected & set(self.told.last)]
        return any(SEVERITIES.index(severity) >= wanted for severity in severities)  # type: ignore[arg-type]

    @property
    def delay(self) -> int | None:
        """Steps from the fault to its being found; None where it was not."""
        steps = [step for name, step in self._steps.items() if name in self.expected]
        return max(0, min(steps) - int(self.meta["planted_step"] or 0)) if steps else None

    @property
    def _steps(self) -> Mapping[str, int]:
        """Condition -> step after which it was found."""
        return self.told.seen if self.meta["severity"] == "info" else self.told.first

    @property
    def false_acts(self) -> set[str]:
        """Findings of severity `act` that are not true of the run."""
        return {name for name, severity in self.told.last.items() if severity == "act" and not self.is_true(name)}

    @property
    def false_warnings(self) -> set[str]:
        """Findings of severity `warning` or more that are not true of the run."""
        return {name for name in self.told.warned if not self.is_true(name)}


def wilson(hits: int, rows: int) -> list[float]:
    """A rate with its 95 % interval after Wilson 1927: value, low, high; NaN of nothing."""
    if not rows:
        return [math.nan] * 3
    rate, z2 = hits / rows, Z95**2
    centre = (rate + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * math.sqrt(rate * (1 - rate) / rows + z2 / (4 * rows**2))
    return [round(value, 4) for value in (rate, max(0.0, centre - half), min(1.0, centre + half))]


def score(runs: Iterable[Scored]) -> dict[str, Any]:
    """Figures of each condition, of each fault, and of the healthy runs.

    The recall of a condition is over the runs of the faults that name it first; another condition that the fault names
    counts as having found it. Precision is over all runs: of the warnings of a condition, the share that is true.
    """
    runs = list(runs)
    planted = [run for run in runs if run.meta["fault"]]
    main = {run.meta["id"]: run.meta["expected"][0] for run in planted}
    names = sorted({*main.values(), *(name for run in runs for name in run.told.warned)})
    conditions = {}
    for name in names:
        own = [run for run in planted if main[run.meta["id"]] == name]
        said = [run for run in runs if name in run.told.warned]
        delays = [run.delay for run in own if run.delay is not None]
        conditions[name] = {
            "recall": wilson(sum(run.found for run in own), len(own)),
            "planted": len(own),
            "precision": wilson(sum(run.is_true(name) for run in said), len(said)),
            "said": len(said),
            "delay_steps": statistics.median(delays) if delays else None,
        }
    return {"conditions": conditions, "faults": _faults(planted), "healthy": _healthy(runs)}


def _faults(planted: list[Scored]) -> dict[str, Any]:
    """Figures of each fault."""
    faults: dict[str, list[Scored]] = {}
    for run in planted:
        faults.setdefault(str(run.meta["fault"]), []).append(run)
    return {
        name: {
            "runs": len(runs),
            "found": sum(run.found for run in runs),
            "severe_enough": sum(run.severe_enough for run in runs),
            "missed": [run.meta["id"] for run in runs if not run.found],
            "false_acts": _counted(run.false_acts for run in runs),
        }
        for name, runs in sorted(faults.items())
    }


def _healthy(runs: list[Scored]) -> dict[str, Any]:
    """False alarms of the healthy runs."""
    healthy = [run for run in runs if not run.meta["fault"]]
    acts = [run for run in healthy if run.false_acts]
    return {
        "runs": len(healthy),
        "with_act": len(acts),
        "share": wilson(len(acts), len(healthy)),
        "with_warning": sum(bool(run.false_warnings) for run in healthy),
        "acts": _counted(run.false_acts for run in healthy),
        "warnings": _counted(run.false_warnings for run in healthy),
        "acts_of": {run.meta["id"]: sorted(run.false_acts) for run in acts},
    }


def _counted(names: Iterable[set[str]]) -> dict[str, int]:
    """Name -> number of sets that hold it, the most frequent first."""
    counts: dict[str, int] = {}
    for name in (name for some in names for name in some):
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
