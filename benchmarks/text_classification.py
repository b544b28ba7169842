"""Trimtab beside the HF Trainer: same model, rows, splits, epochs, batch size and learning rate, one process tree.

    python benchmarks/text_classification.py --output docs/benchmarks.md
    python benchmarks/text_classification.py --only trec-coarse --rounds 3

Each (library, data set, round) is a process of its own; the libraries take turns (A, B, A, B, …), and the figure to
read is the ratio of their times, since machines differ and are busy. Time is that of training with its evaluations and
checkpoints: `trainer.train()` there, the same phase here. Reading data, loading the model and the final test are left
out on both sides. The data are described in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hf_trainer
from jobs import DATA, machine_line, write_section

LEARNING_RATE = 1e-4
BATCH_SIZE = 32
PEERS = {"hf": "HF Trainer, defaults", "hf-best": "HF Trainer, bf16 + grouped by length"}


DOCUMENT = """\
## Beside the HF Trainer

Made by `python benchmarks/text_classification.py --output docs/benchmarks.md`; do not edit by hand.

The `starter` model (all-MiniLM-L6-v2, 22.7 M parameters), strategy `full`, beside the HF Trainer with the same model,
the same splits, epochs, batch size ({batch}), learning rate ({rate:g}, linear with 10 % warm-up), weight decay and
choice of the best epoch by validation macro F1. Accuracy is on the test rows, with its 95 % bootstrap interval. A time
ratio above 1 means that Trimtab needs less; it compares the training phase with its evaluations and checkpoints on both
sides. Each run is a process of its own, and the libraries take turns.

{table}
Trained on: {cases}.

Machine: {machine}. The machine is
shared and its speed drifts, so that a ratio is worth more than a time, and a single round less than several. Most of
the gain over the defaults comes from bfloat16 and from batches of like length, which the HF Trainer offers as flags;
with both it is about level.

The data sets: SST-2 (GLUE; its public training rows cut in two, tested on the 872 rows of the GLUE development set;
{max_rows:,} training rows drawn by class), TREC questions (coarse: 6 classes, fine: 50), and MR, movie review sentences
(no split of its own: 15 % validation, 15 % test). Some TREC test questions stand in its training rows too: `trimtab
check` names them.
"""


@dataclass(frozen=True)
class Case:
    """A data set of the table.

    Args:
        name: shown in the table.
        path: below the folder of data.
        label: label column.
        epochs: passes, the same for every library.
        max_rows: training rows used; all when None.
    """

    name: str
    path: str
    label: str
    epochs: int
    max_rows: int | None = None

    def settings(self, seed: int) -> dict[str, Any]:
        """Recipe keys of the case."""
        return {
            "data.path": str(DATA / self.path),
            "data.label": self.label,
            "data.max_rows": self.max_rows,
            "training.num_epochs": self.epochs,
            "training.batch_size": BATCH_SIZE,
            "optimizer.learning_rate": LEARNING_RATE,
            "seed": seed,
        }


CASES = {
    case.name: case
    for case in (
        Case("trec-coarse", "trec", "coarse", 3),
        Case("trec-fine", "trec", "fine", 3),
        Case("mr", "mr", "label", 1),
        Case("sst2", "sst2", "label", 1, 20_000),
    )
}


def run_trimtab(case: Case, seed: int, folder: Path) -> dict[str, Any]:
    """Train with Trimtab; return accuracy with interval and the seconds of training."""
    import trimtab

    run = trimtab.train(settings={**case.settings(seed), "output": str(folder / "run")})
    evaluation = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))
    speeds = [event["samples_per_second"] for event in run.events if event["type"] == "step"]
    return {
        "accuracy": evaluation["metrics"]["accuracy"],
        "macro_f1": evaluation["metrics"]["macro_f1"],
        "baseline": evaluation["baselines"]["TF-IDF + logistic regression"]["accuracy"],
        "rows": {"train": run.events[0]["rows"]["train"], "test": evaluation["rows"]},
        "seconds": evaluation["seconds"]["training"],
        "samples_per_second": statistics.median(speeds),
    }


def run_one(library: str, case: Case, seed: int) -> dict[str, Any]:
    """Run one (library, case, seed) in a process of its own and return its figures."""
    command = [sys.executable, __file__, "--one", library, "--only", case.name, "--seed", str(seed)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{library} on {case.name} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The Markdown table: accuracy with interval for each library, and the ratios of times."""
    lines = [
        "| data | test rows | TF-IDF + LR | Trimtab accuracy | HF Trainer accuracy | HF bf16 + grouped, accuracy | "
        "time, HF / Trimtab | time, HF bf16 + grouped / Trimtab |",
        "| --- | ---: | ---: | --- | --- | --- | ---: | ---: |",
    ]
    for name, by_library in results.items():
        ours = by_library["trimtab"]
        cells = [name, f"{ours[0]['rows']['test']:,}", f"{ours[0]['baseline']['value']:.3f}"]
        cells += [_accuracy(by_library.get(library, [])) for library in ("trimtab", *PEERS)]
        cells += [_ratio(by_library.get(library, []), ours) for library in PEERS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def document(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The whole of docs/benchmarks.md: how it was measured, on what, and the table."""
    cases = "; ".join(
        f"{case.name}, {case.epochs} {'epoch' if case.epochs == 1 else 'epochs'} over "
        f"{results[case.name]['trimtab'][0]['rows']['train']:,} rows"
        for case in CASES.values()
        if case.name in results
    )
    return DOCUMENT.format(
        table=table(results),
        cases=cases,
        max_rows=CASES["sst2"].max_rows,
        batch=BATCH_SIZE,
        rate=LEARNING_RATE,
        machine=machine_line(),
    )


def _accuracy(figures: list[dict[str, Any]]) -> str:
    """The first round's accuracy with its interval, and the mean over rounds where there are several."""
    if not figures:
        return "–"
    first = figures[0]["accuracy"]
    words = f"{first['value']:.3f} [{first['low']:.3f}, {first['high']:.3f}]"
    if len(figures) > 1:
        words += f"; mean {statistics.mean(f['accuracy']['value'] for f in figures):.3f} of {len(figures)}"
    return words


def _ratio(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    """Median over rounds of the ratio of times, round by round."""
    if not theirs:
        return "–"
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(theirs, ours, strict=True)]
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CASES, help="data set; repeat for more; all when absent")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, each with a seed of its own")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    parser.add_argument("--peers", default="hf,hf-best", help=f"comma-separated: {', '.join(PEERS)}")
    parser.add_argument("--raw", type=Path, help="JSON file that keeps every figure; what it holds is not run again")
    parser.add_argument("--output", type=Path, help="file for the table; printed when absent")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = [CASES[name] for name in arguments.only or CASES]
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.one == "trimtab":
                figures = run_trimtab(cases[0], arguments.seed, Path(folder))
            else:
                best_flags = arguments.one == "hf-best"
                figures = hf_trainer.train(cases[0].settings(arguments.seed), Path(folder), best_flags=best_flags)
        print(json.dumps(figures))
        return
    libraries = ["trimtab", *(name for name in arguments.peers.split(",") if name)]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    if arguments.raw and arguments.raw.exists():
        results = json.loads(arguments.raw.read_text(encoding="utf-8"))
    for case in cases:
        by_library = results.setdefault(case.name, {library: [] for library in libraries})
        for done, seed in enumerate(range(arguments.seed, arguments.seed + arguments.rounds)):
            for library in libraries:
                if len(by_library[library]) > done:
                    continue
                figures = run_one(library, case, seed)
                by_library[library].append(figures)
                print(f"{case.name} {library} seed {seed}: {json.dumps(figures)}", file=sys.stderr, flush=True)
                if arguments.raw:
                    arguments.raw.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.output:
        write_section(arguments.output, "text-classification", document(results))
    else:
        print(table(results))


if __name__ == "__main__":
    main()
