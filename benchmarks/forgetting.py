"""What each treatment against forgetting costs and keeps: the front of accuracy and retention, with the starter.

    python benchmarks/forgetting.py --seeds 3

Two epochs of fine-tuning on 1,000 TREC-6 questions. Accuracy is on the 500 test questions. What is kept is measured
on what the starter was made for, sentence similarity: rank correlation with the scores of STS-B's test pairs (before
fine-tuning, the row "pretrained"), and the agreement with the original's similarities on general sentences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs import DATA, Job, command_line, mean_and_spread, read
from text_sets import settings_of

RESULTS = Path(__file__).parent / "results" / "forgetting.jsonl"
CASE = "trec-6"
SECTION = "forgetting"
ABOUT = """\
## Accuracy and retention

Made by `python benchmarks/forgetting.py --output docs/benchmarks.md`; do not edit by hand.

The starter, fine-tuned on 1,000 TREC-6 questions for 2 epochs (64 steps), mean and standard deviation over {seeds}
seeds. Accuracy is on the 500 test questions. What was kept: Spearman correlation of cosine similarities with the
scores of STS-B's test pairs; rank agreement with the original's similarities on general sentences; debiased linear
CKA of the block that moved most (1 is unchanged). Time is processor time of the whole run over that of `full`. One
set of options a treatment, not searched; replay has a language-model head that is new, as the starter brings none.
"""

TREATMENTS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, a quarter of the rate": {"optimizer.learning_rate": 5e-5},
    "head only (freezing)": {"strategy": "partial"},
    "LoRA": {"strategy": "lora"},
    "L2-SP": {"regularization.l2_sp": 0.03},
    "EWC": {"forgetting.ewc": 0.03},
    "distillation": {"forgetting.distillation": 1.0},
    "replay": {"forgetting.replay": 0.1, "forgetting.replay_text": "{general}"},
    "WiSE-FT, half": {"weights.interpolation": 0.5},
}


def jobs(seeds: int) -> list[Job]:
    """Every treatment with every seed."""
    common = {**settings_of(CASE), "retention.pairs": str(DATA / "stsb" / "sts-test.csv")}
    general = general_text()
    return [
        Job(name, CASE, seed, {**common, **{k: general if v == "{general}" else v for k, v in settings.items()}})
        for seed in range(seeds)
        for name, settings in TREATMENTS.items()
    ]


def general_text() -> str:
    """A file of general English sentences for replay: those of STS-B's training pairs; the meter has its test pairs."""
    import csv
    import tempfile

    path = Path(tempfile.gettempdir()) / "trimtab-benchmarks" / "general.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(DATA / "stsb" / "sts-train.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        texts = dict.fromkeys(text.strip() for row in rows for text in row[5:7] if text.strip())
        path.write_text("\n".join(texts), encoding="utf-8")
    return str(path)


def table(seeds: int) -> str:
    """Accuracy and what was kept, mean and standard deviation over the seeds."""
    found = read(RESULTS)
    lines = [
        "| treatment | accuracy | STS-B Spearman | rank agreement | lowest CKA | trained | time |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    before: list[float] = []
    for name in TREATMENTS:
        runs = [found[key] for seed in range(seeds) if (key := f"{CASE}/{name}/{seed}") in found]
        if not runs:
            continue
        plain = [found[key] for seed in range(seeds) if (key := f"{CASE}/full/{seed}") in found]
        kept = [run["retention"] for run in runs]
        before += [one["pair_spearman"]["before"]["value"] for one in kept]
        cells = [
            _cell([run["metrics"]["accuracy"]["value"] for run in runs]),
            _cell([one["pair_spearman"]["after"]["value"] for one in kept]),
            _cell([one["rank_agreement"]["value"] for one in kept]),
            _cell([min(value for value in one["cka"].values() if value is not None) for one in kept]),
            f"{runs[0]['trained_parameters']:,}",
            f"{_mean(run['cpu_seconds'] for run in runs) / _mean(run['cpu_seconds'] for run in plain):.2f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if before:
        lines.insert(2, f"| pretrained | – | {before[0]:.3f} | 1 | 1 | 0 | – |")
    return "\n".join(lines)


def _mean(values: Any) -> float:
    return mean_and_spread(list(values))[0]


def _cell(values: list[float]) -> str:
    return "{:.3f} ± {:.3f}".format(*mean_and_spread(values))


if __name__ == "__main__":
    command_line(__doc__.splitlines()[0], jobs, table, RESULTS, SECTION, ABOUT)
