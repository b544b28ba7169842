"""Full fine-tuning beside the HF Trainer: speed, accuracy, and the time to the accuracy that the HF Trainer ends with.

python benchmarks/speed/full_finetuning.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import statistics

from harness import Benchmark, Cases, Figures, Results, Sizes, command_line
from ratios import Ratio, times_as_fast
from runs import HF, text_variants
from tables import accuracy_notes, timing_ratios, timing_table, titles
from text_sets import settings_of

RATE, BATCH_SIZE, EVALUATIONS = 1e-4, 32, 4
REFERENCES = {"hf": "HF defaults", "hf-best": "HF best flags"}
CASE = "sst-2"

ABOUT = """\
## Speed: full fine-tuning

Made by `python benchmarks/speed/full_finetuning.py`; do not edit by hand. {rows:,} rows of SST-2 (a fixed sample by
class), {epochs} epoch(s), batches of 32, the starter; rate 1e-4, linear with 10 % warm-up; evaluated four times on 500
validation rows, with a checkpoint each time, on both sides. Accuracy is on the 872 test rows, of the best checkpoint.
*Training* is the training phase with its evaluations and checkpoints, *samples/s* is without them, and the *whole
command* is the process from its start to its end, imports and the final test included. Every run of Trimtab finds its
cache empty. Ratios are medians of the rounds, with their least and greatest; above 1 means that the variant is faster.
"""


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """One case with the three variants."""
    steps = sizes.epochs * -(-sizes.rows // BATCH_SIZE)
    settings = {
        **settings_of(CASE, sizes.rows, sizes.epochs),
        "training.batch_size": BATCH_SIZE,
        "optimizer.learning_rate": RATE,
        "evaluation.every_steps": max(1, steps // EVALUATIONS),
    }
    return {CASE: text_variants(settings)}


def table(chosen: Cases, results: Results) -> str:
    """Times and accuracy, then the time to the HF Trainer's final accuracy."""
    parts = [timing_table(chosen, results, REFERENCES), accuracy_notes(chosen, results)]
    lines = [
        f"| | seconds to the final validation accuracy of {HF} | reached | samples/s × |",
        "| --- | ---: | ---: | ---: |",
    ]
    rates = _speed(results[CASE]["hf"])
    for name, title in titles(chosen[CASE]).items():
        times = times_to_final(results[CASE][name], results[CASE]["hf"])
        reached = [seconds for seconds in times if seconds is not None]
        median = f"{statistics.median(reached):.1f}" if reached else "–"
        speed = times_as_fast(_inverse(rates), _inverse(_speed(results[CASE][name])))
        lines.append(f"| {title} | {median} | {len(reached)} of {len(times)} | {speed} |")
    return "\n\n".join([*parts, "\n".join(lines)])


def times_to_final(rounds: list[Figures], reference: list[Figures]) -> list[float | None]:
    """Seconds of training until the accuracy that the reference ends with, round by round; None where not reached."""
    return [
        next((seconds for seconds, accuracy in ours["curve"] if accuracy >= theirs["curve"][-1][1]), None)
        for ours, theirs in zip(rounds, reference, strict=True)
    ]


def ratios(chosen: Cases, results: Results) -> dict[str, Ratio]:
    """Phases and whole commands, and samples/s without evaluations."""
    found = timing_ratios(chosen, results, REFERENCES)
    ours = _inverse(_speed(results[CASE]["ours"]))
    for reference in REFERENCES:
        found[f"{CASE}/ours:{reference}/samples"] = times_as_fast(_inverse(_speed(results[CASE][reference])), ours)
    return found


def _speed(rounds: list[Figures]) -> list[float]:
    return [figures["samples_per_second"] for figures in rounds]


def _inverse(values: list[float]) -> list[float]:
    return [1 / value for value in values]


if __name__ == "__main__":
    command_line(Benchmark("full_finetuning", ABOUT, Sizes(6920), Sizes(1000, rounds=1, seeds=1), cases, table, ratios))
