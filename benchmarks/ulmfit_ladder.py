"""The ladder of ULMFiT (Howard & Ruder 2018, arXiv 1801.06146, Table 7) with the starter model.

    python benchmarks/ulmfit_ladder.py --seeds 3

Eight ways of fine-tuning, from all layers at once to gradual unfreezing with discriminative and slanted triangular
rates. The paper's errors (validation, AWD-LSTM language model) stand beside ours (test, starter): models, data sizes
and epochs differ, so that only the order of the rows is to be compared. Data: 2,000 training rows each of TREC-6 and
SST-2, and 500 for validation.
"""

from __future__ import annotations

from pathlib import Path

from jobs import Job, command_line, mean_and_spread, read
from text_sets import SETS, settings_of

RESULTS = Path(__file__).parent / "results" / "ulmfit_ladder.jsonl"
# ULMFiT divides the rate by 2.6 from one layer to the one below.
DECAY = 1 / 2.6

SECTION = "ulmfit"
ABOUT = """\
## The ladder of ULMFiT

Made by `python benchmarks/ulmfit_ladder.py --output docs/benchmarks.md`; do not edit by hand.

Test errors in percent, mean and standard deviation over {seeds} seeds, of the eight ways of fine-tuning in Table 7 of
Howard & Ruder (2018, arXiv 1801.06146), with the starter: 2,000 training rows, 500 for validation, 3 epochs (189
steps of 32 rows), rate 2e-4 (the head alone: 1e-3), no decay of the rate where the row names none. The paper's
figures are validation errors of an AWD-LSTM language model on the whole data: only the order of the rows can be
compared.
"""

GRADUAL = {"name": "gradual"}
SLANTED = {"schedule.name": "slanted_triangular"}
CONSTANT = {"schedule.name": "constant", "schedule.warmup_ratio": 0.0}
ROWS = {
    "full": {"strategy": "full", **CONSTANT},
    "full + discr": {"strategy": {"name": "discriminative", "decay": DECAY}, **CONSTANT},
    "last": {"strategy": "partial", "optimizer.learning_rate": 1e-3, **CONSTANT},
    "freez": {"strategy": GRADUAL, **CONSTANT},
    "freez + discr": {"strategy": {**GRADUAL, "decay": DECAY}, **CONSTANT},
    "freez + stlr": {"strategy": GRADUAL, **SLANTED},
    "freez + cos": {"strategy": GRADUAL, "schedule.name": "cosine", "schedule.warmup_ratio": 0.0},
    "freez + discr + stlr": {"strategy": {**GRADUAL, "decay": DECAY}, **SLANTED},
}
# Error rates of the paper's Table 7: IMDb, TREC-6, AG.
PAPER = {
    "full": (6.87, 6.86, 5.81),
    "full + discr": (5.57, 6.21, 5.62),
    "last": (6.49, 16.09, 8.38),
    "freez": (6.37, 6.86, 5.81),
    "freez + discr": (5.39, 5.86, 6.04),
    "freez + stlr": (5.04, 6.02, 5.35),
    "freez + cos": (5.70, 6.38, 5.29),
    "freez + discr + stlr": (5.00, 5.69, 5.38),
}


def jobs(seeds: int) -> list[Job]:
    """Every row on every data set with every seed."""
    common = {"optimizer.learning_rate": 2e-4, "retention.measure": False}
    return [
        Job(name, case, seed, {**settings_of(case, 2000, 3), **common, **settings})
        for seed in range(seeds)
        for case in SETS
        for name, settings in ROWS.items()
    ]


def table(seeds: int) -> str:
    """Errors in percent, ours and the paper's."""
    found = read(RESULTS)
    lines = [
        "| | " + " | ".join(f"{case}, ours" for case in SETS) + " | TREC-6, paper | IMDb, paper |",
        "| --- | " + " | ".join("---:" for _ in range(len(SETS) + 2)) + " |",
    ]
    for name in ROWS:
        cells = []
        for case in SETS:
            keys = [f"{case}/{name}/{seed}" for seed in range(seeds)]
            errors = [100 * (1 - found[key]["metrics"]["accuracy"]["value"]) for key in keys if key in found]
            cells.append("–" if not errors else "{:.2f} ± {:.2f}".format(*mean_and_spread(errors)))
        lines.append(f"| {name} | {' | '.join(cells)} | {PAPER[name][1]:.2f} | {PAPER[name][0]:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command_line(__doc__.splitlines()[0], jobs, table, RESULTS, SECTION, ABOUT)
