"""Tables and ratios of variants that were trained: how fast, how much faster than a reference, how accurate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from harness import Cases, Figures, Results, Variant
from jobs import mean_and_spread
from ratios import Ratio, paired_difference, times_as_fast

PHASES = {"seconds": "training", "whole_seconds": "whole"}


def titles(variants: list[Variant]) -> dict[str, str]:
    """Title of every row that the variants give, by name."""
    return {
        name: variant.title if name == variant.name else str(variant.again)
        for variant in variants
        for name in variant.names
    }


def timing_table(cases: Cases, results: Results, references: Mapping[str, str]) -> str:
    """A row for each variant: speed, times, accuracy, and how many times as fast as each reference it is.

    Args:
        cases: with the titles of the variants.
        results: figures with `seconds`, `whole_seconds` and, if any, `samples_per_second` and `accuracy`.
        references: heading of a column by the name of the variant that all are compared with.
    """
    heads = ["samples/s", "training, s", "whole command, s", "accuracy"]
    heads += [f"training × {title}" for title in references.values()]
    heads += [f"whole × {title}" for title in references.values()]
    lines = [f"| case | variant | {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * len(heads)}"]
    for case, variants in cases.items():
        for name, title in titles(variants).items():
            rounds = results[case][name]
            cells = [
                _median(rounds, "samples_per_second", "{:,.0f}"),
                _median(rounds, "seconds", "{:,.1f}"),
                _median(rounds, "whole_seconds", "{:,.1f}"),
                accuracy_cell(rounds),
            ]
            for phase in PHASES:
                cells += [_ratio_cell(results[case], reference, name, phase) for reference in references]
            lines.append(f"| {case} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def timing_ratios(cases: Cases, results: Results, references: Mapping[str, str]) -> dict[str, Ratio]:
    """How many times as fast as each reference our variants are, by `case/ours:reference/phase`."""
    return {
        f"{case}/{name}:{reference}/{phase}": times_as_fast(
            [figures[key] for figures in results[case][reference]], [figures[key] for figures in results[case][name]]
        )
        for case in cases
        for name in results[case]
        for reference in references
        for key, phase in PHASES.items()
        if name.startswith("ours") and name != reference and reference in results[case]
    }


def accuracy_notes(cases: Cases, results: Results, reference: str = "hf", ours: str = "ours") -> str:
    """Our accuracy less the reference's, paired by seed, with its interval; a line for each case."""
    lines = []
    for case, variants in cases.items():
        one, other = (by_seed(results[case][name]) for name in (ours, reference))
        seeds = sorted(one.keys() & other.keys())
        mean, half = paired_difference([one[seed] for seed in seeds], [other[seed] for seed in seeds])
        within = "" if math.isnan(half) else f" ± {half:.3f} (95 % t interval over {len(seeds)} seeds)"
        lines.append(
            f"- {case}: accuracy, {titles(variants)[ours]} less {titles(variants)[reference]}: {mean:+.3f}{within}"
        )
    return "\n".join(lines)


def by_seed(rounds: list[Figures]) -> dict[int, float]:
    """Accuracy by seed; of rounds with one seed, the first."""
    return {figures["seed"]: figures["accuracy"]["value"] for figures in reversed(rounds)}


def accuracy_cell(rounds: list[Figures]) -> str:
    """Mean and standard deviation over the seeds; for a single one, the value with its interval."""
    if not rounds or "accuracy" not in rounds[0]:
        return "–"
    values = list(by_seed(rounds).values())
    if len(values) > 1:
        return "{:.3f} ± {:.3f}".format(*mean_and_spread(values))
    only = rounds[0]["accuracy"]
    return f"{only['value']:.3f} [{only['low']:.3f}, {only['high']:.3f}]"


def _median(rounds: list[Figures], key: str, form: str) -> str:
    values = [figures[key] for figures in rounds if figures.get(key) is not None]
    return form.format(statistics.median(values)) if values else "–"


def _ratio_cell(by_variant: Mapping[str, list[Figures]], reference: str, name: str, key: str) -> str:
    if reference not in by_variant:
        return "–"
    if name == reference:
        return "1"
    theirs, ours = ([figures[key] for figures in by_variant[variant]] for variant in (reference, name))
    return str(times_as_fast(theirs, ours))
