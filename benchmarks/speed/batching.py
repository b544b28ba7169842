"""Batches of like length beside random ones: what they save, and whether accuracy suffers.

python benchmarks/speed/batching.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from ratios import Ratio
from runs import OURS, trimtab
from tables import accuracy_notes, timing_ratios, timing_table
from text_sets import SETS, settings_of

REFERENCES = {"random": "random batches"}

ABOUT = """\
## Batches of like length

Made by `python benchmarks/speed/batching.py`; do not edit by hand. Full fine-tuning of the starter on up to {rows:,}
rows, {epochs} epochs, batches of 32, {seeds} seeds: rows sorted by length within pools of batches, as Trimtab does it,
beside rows drawn at random (pools of one batch).
"""


def train(settings: Mapping[str, Any], seed: int, random: bool) -> Figures:
    """A run of Trimtab, with random batches where `random` says so."""
    from trimtab.data import batching

    if random:
        if not hasattr(batching, "POOL_BATCHES"):
            raise SystemExit("trimtab.data.batching has no POOL_BATCHES any more: say here how batches are made random")
        batching.POOL_BATCHES = 1
    return trimtab(settings, seed)


def cases(sizes: Sizes, given: argparse.Namespace) -> Cases:
    """Both sets."""
    found: Cases = {}
    for case in list(SETS)[: 1 if given.quick else None]:
        settings = {
            **settings_of(case, sizes.rows, sizes.epochs),
            "training.batch_size": 32,
            "optimizer.learning_rate": 1e-4,
        }
        found[case] = [
            Variant("ours", OURS, "batching:train", {"settings": settings, "random": False}),
            Variant("random", f"{OURS}, random batches", "batching:train", {"settings": settings, "random": True}),
        ]
    return found


def table(chosen: Cases, results: Results) -> str:
    """Times, accuracy, padding."""
    padding = "\n".join(
        f"- {case}: padding {1 - by_variant['ours'][0]['useful_tokens']:.1%} of all tokens, in random batches "
        f"{1 - by_variant['random'][0]['useful_tokens']:.1%}"
        for case, by_variant in results.items()
    )
    notes = accuracy_notes(chosen, results, reference="random")
    return f"{timing_table(chosen, results, REFERENCES)}\n\n{padding}\n{notes}"


def ratios(chosen: Cases, results: Results) -> dict[str, Ratio]:
    """Phases and whole commands."""
    return timing_ratios(chosen, results, REFERENCES)


if __name__ == "__main__":
    command_line(
        Benchmark(
            "batching",
            ABOUT,
            Sizes(4000, epochs=2),
            Sizes(800, epochs=1, rounds=1, seeds=1),
            cases,
            table,
            ratios,
        )
    )
