"""The second run of a command, and eight trials of a search, beside the HF Trainer that begins anew each time.

python benchmarks/speed/repeats.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import statistics

from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from ratios import Ratio
from runs import HF, OURS, SECOND_RUN
from tables import timing_ratios, timing_table
from text_sets import settings_of

REFERENCES = {"hf": "HF defaults"}
RATES = (3e-4, 5e-4, 1e-3, 2e-3)
# Eight trials: each rate with two seeds.
TRIALS = [{"optimizer.learning_rate": rate} for rate in RATES for _ in range(2)]
SINGLE, SEARCH = "one run", "eight trials"

ABOUT = """\
## Speed: what is run again

Made by `python benchmarks/speed/repeats.py`; do not edit by hand. {rows:,} rows of SST-2, {epochs} epochs, batches of
32, the starter, its head alone. *One run*: the same command twice, the second time on the cache that the first has
left. *Eight trials*: four learning rates with two seeds each, `trimtab.run_trials` (judged on the validation rows; no
run directories) against as many runs of the HF Trainer in one process that has read and encoded the rows once. Times of
trials are those of all eight together; ours count the building of the model, too.
"""


def cases(sizes: Sizes, given: argparse.Namespace) -> Cases:
    """One run and eight trials."""
    settings = {
        **settings_of("sst-2", sizes.rows, sizes.epochs),
        "training.batch_size": 32,
        "optimizer.learning_rate": 1e-3,
    }
    ours = {**settings, "strategy": {"name": "partial", "last_blocks": 0}}
    peer = {"settings": settings, "last_blocks": 0}
    hf_runs = given.hf_runs or (1 if given.quick else len(TRIALS))
    many = f"{len(TRIALS)} × {HF}" + (f", extrapolated from {hf_runs}" if hf_runs < len(TRIALS) else "")
    return {
        SINGLE: [
            Variant("ours", OURS, "runs:trimtab", {"settings": ours}, SECOND_RUN),
            Variant("hf", HF, "runs:hf", peer),
        ],
        SEARCH: [
            Variant(
                "ours",
                f"{OURS}, trials, cache empty at first",
                "runs:trimtab_trials",
                {"settings": ours, "trials": TRIALS},
                f"{OURS}, trials, cache filled",
            ),
            Variant("hf", many, "runs:hf_trials", {**peer, "trials": TRIALS[:hf_runs]}),
        ],
    }


def extrapolated(results: Results) -> Results:
    """The results with the times of fewer than eight runs scaled up to eight; what a process does once is not."""
    return {
        case: {name: [_scaled(figures) for figures in rounds] for name, rounds in by_variant.items()}
        for case, by_variant in results.items()
    }


def _scaled(figures: Figures) -> Figures:
    if "runs" not in figures or figures["runs"] >= len(TRIALS):
        return figures
    factor = len(TRIALS) / figures["runs"]
    return {
        **figures,
        "seconds": figures["seconds"] * factor,
        "whole_seconds": figures["whole_seconds"] + figures["runs_seconds"] * (factor - 1),
    }


def table(chosen: Cases, results: Results) -> str:
    """Times and ratios, and what the trials found."""
    found = [
        f"{variant}: {statistics.median(figures['best_validation'] for figures in rounds):.3f}"
        for variant, rounds in results[SEARCH].items()
        if rounds
    ]
    best = f"Best validation accuracy over the trials: {'; '.join(found)}."
    return f"{timing_table(chosen, extrapolated(results), REFERENCES)}\n\n{best}"


def ratios(chosen: Cases, results: Results) -> dict[str, Ratio]:
    """Phases and whole commands, first run and second."""
    return timing_ratios(chosen, extrapolated(results), REFERENCES)


def arguments(parser: argparse.ArgumentParser) -> None:
    """How many of the eight runs the HF Trainer really makes."""
    parser.add_argument("--hf-runs", type=int, choices=range(1, len(TRIALS) + 1), help="runs of the HF Trainer; 8")


if __name__ == "__main__":
    command_line(
        Benchmark(
            "repeats",
            ABOUT,
            Sizes(6920, epochs=5, rounds=2, seeds=1),
            Sizes(500, epochs=2, rounds=1, seeds=1),
            cases,
            table,
            ratios,
            arguments,
        )
    )
