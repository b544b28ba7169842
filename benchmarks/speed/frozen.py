"""Head only and the last blocks, beside the HF Trainer with the same layers frozen; the filling of the cache counts.

python benchmarks/speed/frozen.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse

from harness import Benchmark, Cases, Results, Sizes, command_line
from runs import text_variants
from tables import accuracy_notes, timing_ratios, timing_table
from text_sets import settings_of

REFERENCES = {"hf": "HF defaults", "hf-best": "HF best flags"}
# Case -> blocks that train besides the head, learning rate.
FROZEN = {"head": (0, 1e-3), "last-1": (1, 2e-4), "last-2": (2, 2e-4)}

ABOUT = """\
## Speed: frozen layers

Made by `python benchmarks/speed/frozen.py`; do not edit by hand. {rows:,} rows of SST-2, {epochs} epochs, batches of
32, the starter; the head alone, or with the last one or two of six blocks. The same layers are frozen in the HF
Trainer (`requires_grad = False`). The training phase of Trimtab holds the filling of its cache, which is empty at the
beginning; the second run is the same command on the cache that the first has left. An evaluation on 500 validation rows
and a checkpoint after each epoch on both sides; accuracy on the 872 test rows.
"""


def cases(sizes: Sizes, given: argparse.Namespace) -> Cases:
    """A case for each number of blocks that train; the quick run leaves out the last."""
    common = {**settings_of("sst-2", sizes.rows, sizes.epochs), "training.batch_size": 32}
    wanted = list(FROZEN)[: 2 if given.quick else None]
    return {
        case: text_variants(
            {**common, "optimizer.learning_rate": FROZEN[case][1]},
            last_blocks=FROZEN[case][0],
            strategy={"name": "partial", "last_blocks": FROZEN[case][0]},
            again=True,
        )
        for case in wanted
    }


def table(chosen: Cases, results: Results) -> str:
    """Times, ratios, accuracy."""
    return f"{timing_table(chosen, results, REFERENCES)}\n\n{accuracy_notes(chosen, results)}"


if __name__ == "__main__":
    command_line(
        Benchmark(
            "frozen",
            ABOUT,
            Sizes(6920, epochs=5),
            Sizes(1000, epochs=2, rounds=1, seeds=1),
            cases,
            table,
            lambda chosen, results: timing_ratios(chosen, results, REFERENCES),
        )
    )
