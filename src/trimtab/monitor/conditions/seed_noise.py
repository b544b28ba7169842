"""Run to run noise: is the improvement claimed larger than what another seed, or another draw of rows, changes?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Standard deviations between runs that an improvement has to exceed, and the runs from which on they are known.
DEVIATIONS, FEWEST_RUNS = 2.0, 3


@CONDITIONS.register("seed_noise")
class SeedNoise(Condition):
    """The improvement over the best baseline is within noise."""

    title = "Run to run noise larger than the improvement claimed"
    rule = (
        "The interval of the difference to the best baseline holds 0, or, with three or more runs that differ in "
        "nothing but the seed, their mean is less than two standard deviations between runs above that baseline."
    )
    source = "Paired bootstrap; Reimers and Gurevych 2017, arXiv 1707.09861, on reporting several seeds"
    needs = ("baselines",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """At most one finding, at the end of a run with baselines."""
        best = _best_baseline(trace.final)
        if best is None:
            return
        name, baseline, difference = best
        metric = str(trace.final.get("difference_metric"))
        value, low, high = (number(difference.get(key)) for key in ("value", "low", "high"))
        if low <= 0 <= high:
            yield _finding(
                trace,
                say(
                    "The difference of {value:+.3f} of {metric} to the baseline {baseline} has an interval from "
                    "{low:+.3f} to {high:+.3f}, which holds 0: no improvement can be claimed from {rows:,} rows.",
                    value=value,
                    metric=metric,
                    baseline=name,
                    low=low,
                    high=high,
                    rows=trace.final.get("rows", 0),
                ),
                {"baseline": name, "metric": metric, "difference": dict(difference)},
                number(trace.final.get("confidence", 0.95)),  # the level of the interval
            )
            return
        runs = _runs(trace, metric)
        if len(runs) < FEWEST_RUNS or value <= 0:
            return
        deviation, mean = float(np.std(runs, ddof=1)), float(np.mean(runs))
        ahead = (mean - baseline) if trace.facts.higher_is_better else (baseline - mean)
        if ahead < DEVIATIONS * deviation:
            yield _finding(
                trace,
                say(
                    "Over {seeds} seeds {metric} is {mean:.3f} with a standard deviation of {deviation:.3f} between "
                    "runs, {ahead:.3f} ahead of the baseline {baseline} ({value:.3f}): a single run cannot show that.",
                    seeds=len(runs),
                    metric=metric,
                    mean=mean,
                    deviation=deviation,
                    ahead=ahead,
                    baseline=name,
                    value=baseline,
                ),
                {"baseline": name, "metric": metric, "runs": runs, "mean": mean, "deviation": deviation},
                0.95,  # about the level of two standard deviations
            )


def _finding(trace: Trace, message: str, evidence: dict[str, Any], confidence: float) -> Finding:
    values = list(evidence.get("runs", ()))
    return Finding(
        "seed_noise",
        "warning",
        message,
        since=trace.last_step,
        evidence=evidence,
        remedy=say("Repeat the run with other seeds (`--seed`) and compare means, or judge on more rows."),
        series=(Curve(say("runs"), list(range(1, len(values) + 1)), values),) if values else (),
        confidence=confidence if math.isfinite(confidence) else 0.95,
        x_label=say("run"),
    )


def _best_baseline(final: Mapping[str, Any]) -> tuple[str, float, Mapping[str, Any]] | None:
    """Name and value of the best baseline, and the model's difference to it."""
    metric = final.get("difference_metric")
    found = [
        (str(name), number(((final.get("baselines") or {}).get(name) or {}).get(metric, {}).get("value")), difference)
        for name, difference in (final.get("differences") or {}).items()
        if isinstance(difference, Mapping) and math.isfinite(number(difference.get("value")))
    ]
    # The model's lead over the best baseline is the smallest.
    return min(found, key=lambda item: number(item[2].get("value"))) if found else None


def _runs(trace: Trace, metric: str) -> list[float]:
    """The metric of this run and of its siblings; empty where theirs is another one."""
    if trace.facts.metric != metric:
        return []
    own = number(((trace.final.get("metrics") or {}).get(metric) or {}).get("value"))
    return [value for value in (own, *trace.facts.siblings) if math.isfinite(value)]
