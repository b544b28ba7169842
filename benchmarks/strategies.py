"""Every strategy on three real sets, one of images: what trains, what it costs, what it gives, what it keeps.

    python scripts/convert_mobilenetv2.py <weights> <folder>
    python benchmarks/strategies.py --images-model <folder>

Text: the starter on 1,000 rows each of TREC-6 and SST-2. Images: MobileNetV2 with ImageNet weights on `hymenoptera`
(ants and bees, which ImageNet knows). Two epochs of text, eight of images; the learning rate is each strategy's own
default. What a strategy refuses is left out of its column.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jobs import DATA, Job, read, run_jobs, write_section
from text_sets import SETS, settings_of

RESULTS = Path(__file__).parent / "results" / "strategies.jsonl"
IMAGES = "hymenoptera"
SECTION = "strategies"
ABOUT = """\
Made by `python benchmarks/strategies.py --output docs/strategies.md`; do not edit by hand. One run each, seed 0;
accuracy on the test rows with its 95 % interval; rank agreement of similarities with the pretrained model on general
rows (1 is unchanged); time a step over that of `full`; peak memory of the process, libraries included. The runs
shared two cores with other work, so that the times are rough.
"""
TITLES = {
    "trec-6": "TREC-6, 1,000 training rows, 2 epochs, 500 test rows, starter",
    "sst-2": "SST-2, 1,000 training rows, 2 epochs, 872 test rows, starter",
    IMAGES: "Hymenoptera, 207 training photos, 8 epochs, 37 test photos, MobileNetV2 (ImageNet knows these classes)",
}

STRATEGIES: dict[str, Any] = {
    "full": "full",
    "partial: head": "partial",
    "partial: last 2 blocks": {"name": "partial", "last_blocks": 2},
    "discriminative": "discriminative",
    "gradual": "gradual",
    "lp-ft": "lp-ft",
    "importance: tensors": "importance",
    "importance: elements": {"name": "importance", "unit": "element"},
    "bitfit": "bitfit",
    "lora": "lora",
    "lora: rslora": {"name": "lora", "variant": "rslora"},
    "lora: dora": {"name": "lora", "variant": "dora"},
    "lora: pissa": {"name": "lora", "variant": "pissa"},
    "adalora": "adalora",
    "ia3": "ia3",
    "oft": "oft",
    "vera": "vera",
    "prompt": "prompt",
    "prefix": "prefix",
}


# Those that run on every set; `--all` runs the others there, too.
MAIN = (
    "full",
    "partial: head",
    "partial: last 2 blocks",
    "discriminative",
    "gradual",
    "lp-ft",
    "importance: tensors",
    "bitfit",
    "lora",
)
FIRST = "trec-6"


def jobs(images_model: str | None, everything: bool) -> list[Job]:
    """Every strategy on the first set, and the main ones, or all, on the others."""

    def text_jobs(case: str) -> list[Job]:
        common = settings_of(case)
        return [
            Job(name, case, 0, {**common, "strategy": strategy})
            for name, strategy in STRATEGIES.items()
            if everything or case == FIRST or name in MAIN
        ]

    found = text_jobs(FIRST)
    if images_model:
        common = {
            "data.path": str(DATA / "hymenoptera"),
            "model.name": images_model,
            "training.num_epochs": 8,
            "evaluation.baselines": False,
            "retention.image_rows": 50,
        }
        wanted = {name: s for name, s in STRATEGIES.items() if everything or name in MAIN}
        found += [Job(name, IMAGES, 0, {**common, "strategy": s}) for name, s in wanted.items()]
    return found + [job for case in SETS if case != FIRST for job in text_jobs(case)]


def table(case: str) -> str:
    """One set: a row for each strategy that fits it."""
    found = read(RESULTS)
    lines = [
        "| strategy | trained parameters | accuracy | rank agreement | time a step | peak memory |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    plain = found.get(f"{case}/full/0")
    for name in STRATEGIES:
        run = found.get(f"{case}/{name}/0")
        if run is None or plain is None:
            continue
        accuracy = run["metrics"]["accuracy"]
        agreement = (run["retention"] or {}).get("rank_agreement")
        cells = [
            f"{run['trained_parameters']:,} ({run['trained_parameters'] / run['parameters']:.1%})",
            f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]",
            "–" if agreement is None else f"{agreement['value']:.3f}",
            f"{run['seconds_per_step'] / plain['seconds_per_step']:.2f}",
            f"{run['peak_megabytes']:,.0f} MB",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images-model", help="folder with MobileNetV2; without it, only text is run")
    parser.add_argument("--all", action="store_true", help="every strategy on every set")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, help="page whose section is written anew")
    parser.add_argument("--table", action="store_true", help="only print the tables of what was run")
    arguments = parser.parse_args()
    if not arguments.table:
        run_jobs(jobs(arguments.images_model, arguments.all), RESULTS, arguments.workers)
    tables = "\n\n".join(f"### {title}\n\n{table(case)}" for case, title in TITLES.items())
    print(tables)
    if arguments.output:
        write_section(arguments.output, SECTION, f"{ABOUT}\n{tables}")
