"""What our loop costs beside the bare minimum, and what the record of events costs beside our loop.

python benchmarks/speed/overhead.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any

from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from inside import loop_of
from ratios import Ratio, summary
from text_sets import settings_of

BLOCK = 3
WARM_UP = 3
CASE = "full"

ABOUT = """\
## Overhead of the loop

Made by `python benchmarks/speed/overhead.py`; do not edit by hand. Full fine-tuning of the starter on {rows:,} rows of
SST-2, batches of 32. In one process, blocks of three steps take turns, each over the same batches: a bare loop
(forward, backward, clipping and update by hand, in the same pieces and precision) and the loop of Trimtab; the time to
write down and judge the records of the steps is measured by itself, as share of the loop's. The overhead is the median
over the blocks, then over {rounds} processes.
"""


def measure(settings: Mapping[str, Any], seed: int) -> Figures:
    """Times of both kinds of blocks, in turns whose order changes from one to the next, and of the record."""
    with loop_of(settings, seed) as loop:
        steps = loop.engine.steps_per_epoch
        loop.ours(0, min(WARM_UP, steps))
        loop.bare(0, min(WARM_UP, steps))
        times: dict[str, list[float]] = {"bare": [], "loop": [], "events": []}
        count = min(BLOCK, steps)
        for first in range(0, steps - count + 1, count):
            kinds = {"bare": loop.bare, "loop": loop.ours}
            for name in sorted(kinds, reverse=first // count % 2 == 1):
                began = time.perf_counter()
                records = kinds[name](first, count)
                times[name].append(time.perf_counter() - began)
                if records is not None:
                    began = time.perf_counter()
                    loop.record(records)
                    times["events"].append(time.perf_counter() - began)
        return {
            "blocks": len(times["bare"]),
            "seconds": sum(times["loop"]),
            "seconds_per_step": statistics.median(times["loop"]) / count,
            "loop_overhead": statistics.median([a / b for a, b in zip(times["loop"], times["bare"], strict=True)]) - 1,
            "events_overhead": statistics.median([a / b for a, b in zip(times["events"], times["loop"], strict=True)]),
        }


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """One process a round."""
    settings = {
        **settings_of("sst-2", sizes.rows, 1),
        "training.batch_size": 32,
        "optimizer.learning_rate": 1e-4,
    }
    return {CASE: [Variant("ours", "Trimtab", "overhead:measure", {"settings": settings})]}


def table(_: Cases, results: Results) -> str:
    """Median overhead with the spread over the processes."""
    rounds = results[CASE]["ours"]
    lines = ["| | overhead | aim |", "| --- | ---: | ---: |"]
    for title, key, aim in (
        ("loop beside the bare loop", "loop_overhead", 0.03),
        ("record of events beside the loop", "events_overhead", 0.02),
    ):
        values = [figures[key] for figures in rounds]
        lines.append(
            f"| {title} | {statistics.median(values):+.1%} ({min(values):+.1%} to {max(values):+.1%}) | < {aim:.0%} |"
        )
    step = statistics.median([figures["seconds_per_step"] for figures in rounds])
    return "\n".join(lines) + f"\n\n{rounds[0]['blocks']} blocks a process; a step takes {1000 * step:.0f} ms."


def ratios(_: Cases, results: Results) -> dict[str, Ratio]:
    """Speed beside that without, so that above 1 is better."""
    return {
        f"{CASE}/{key.removesuffix('_overhead')}": summary(
            [1 / (1 + figures[key]) for figures in results[CASE]["ours"]]
        )
        for key in ("loop_overhead", "events_overhead")
    }


if __name__ == "__main__":
    command_line(
        Benchmark("overhead", ABOUT, Sizes(3200, seeds=1), Sizes(800, rounds=1, seeds=1), cases, table, ratios)
    )
