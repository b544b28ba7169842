"""Gradual unfreezing with the cache of frozen blocks, beside the same schedule without it.

python benchmarks/speed/gradual.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse

from harness import Benchmark, Cases, Results, Sizes, Variant, command_line
from runs import OURS, SECOND_RUN
from tables import accuracy_notes, timing_ratios, timing_table
from text_sets import settings_of

REFERENCES = {"uncached": "without the cache"}

ABOUT = """\
## Speed: gradual unfreezing

Made by `python benchmarks/speed/gradual.py`; do not edit by hand. {rows:,} rows of SST-2, {epochs} epochs, batches of
32, the starter, strategy `gradual` with its defaults (all blocks train from the middle of the run on), beside the same
with `cache.prefix=false`. The cache is empty at the beginning; the second run finds what the first has left.
"""


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """One case: with the cache, and without."""
    settings = {
        **settings_of("sst-2", sizes.rows, sizes.epochs),
        "training.batch_size": 32,
        "optimizer.learning_rate": 2e-4,
        "strategy": "gradual",
    }
    return {
        "gradual": [
            Variant("ours", OURS, "runs:trimtab", {"settings": settings}, SECOND_RUN),
            Variant(
                "uncached",
                f"{OURS}, cache.prefix=false",
                "runs:trimtab",
                {"settings": {**settings, "cache.prefix": False}},
            ),
        ]
    }


def table(chosen: Cases, results: Results) -> str:
    """Times, ratios, accuracy."""
    notes = accuracy_notes(chosen, results, reference="uncached")
    return f"{timing_table(chosen, results, REFERENCES)}\n\n{notes}"


if __name__ == "__main__":
    command_line(
        Benchmark(
            "gradual",
            ABOUT,
            Sizes(6920, epochs=6),
            Sizes(800, epochs=3, rounds=1, seeds=1),
            cases,
            table,
            lambda chosen, results: timing_ratios(chosen, results, REFERENCES),
        )
    )
