"""The starter, an English model, on Chinese news titles: with its own vocabulary, and with a longer one.

    python benchmarks/vocabulary.py --rows 8000 --epochs 5 --seeds 3

Three ways to train on THUCNews titles (10 classes): with the model's own vocabulary, which has to be forced; with
`model.extend_vocabulary`; and with new tokens that start from the Tencent character vectors. Beside the table of test
accuracies stands the share of unknown tokens in the test titles. Titles of `dev.txt` train and validate, those of
`test.txt` test, as the 180,000 training titles are not at hand.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from jobs import DATA, Job, mean_and_spread, read, run_jobs

from trimtab.config.recipe import ModelSection
from trimtab.data.tokens import token_statistics
from trimtab.models.processors import load_processor
from trimtab.models.sources import resolve_model
from trimtab.models.vocabulary import extended_tokenizer

RESULTS = Path(__file__).parent / "results" / "vocabulary.jsonl"
LEARNING_RATE = 2e-4
SUMMARY = RESULTS.with_suffix(".json")
VECTORS = DATA / "weights" / "tencent_char_embeddings_zh"
ON = {"model.extend_vocabulary": True}
ROWS: dict[str, dict[str, Any]] = {
    "off": {"data.force": True},
    "on": ON,
    "on, with vectors": {**ON, "model.vocabulary_vectors": str(VECTORS)},
}


def treatments(factors: list[float]) -> dict[str, dict[str, Any]]:
    """The rows of the table: `ROWS`, and the new tokens at other multiples of the base rate."""
    other = {
        f"{name}, rate × {factor:g}": {**ROWS[name], "model.vocabulary_learning_rate": factor * LEARNING_RATE}
        for factor in factors
        for name in ("on", "on, with vectors")
    }
    return {**ROWS, **other}


def titles(rows: int, test_rows: int) -> Path:
    """A folder with `rows` titles to train on, 1,500 to validate and `test_rows` to test, of all classes alike."""
    folder = Path(tempfile.gettempdir()) / "trimtab-benchmarks" / f"thucnews-{rows}-{test_rows}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    source = DATA / "thucnews_titles_zh"
    names = (source / "class.txt").read_text(encoding="utf-8").split()
    frames = {}
    for split in ("dev", "test"):
        lines = (source / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        frame = pd.DataFrame([line.rsplit("\t", 1) for line in lines], columns=["text", "label"])
        frame["label"] = [names[int(label)] for label in frame["label"]]
        # Shuffled, then the first of each class in turn, so that every beginning holds all classes alike.
        frame = frame.sample(frac=1, random_state=0)
        order = frame.groupby("label").cumcount().sort_values(kind="stable").index
        frames[split] = frame.loc[order]
    dev = frames["dev"]
    parts = {"validation": dev[:1500], "train": dev[1500 : 1500 + rows], "test": frames["test"][:test_rows]}
    for split, frame in parts.items():
        frame.to_csv(folder / f"{split}.csv", index=False)
    (folder / "done").touch()
    return folder


def jobs(arguments: argparse.Namespace) -> list[Job]:
    """Every treatment with every seed."""
    common = {
        "data.path": str(titles(arguments.rows, arguments.test_rows)),
        "model.name": "starter",
        "training.num_epochs": arguments.epochs,
        "optimizer.learning_rate": LEARNING_RATE,
        "evaluation.baselines": False,
        "retention.measure": False,
        "checkpoint.keep_last": 1,
    }
    return [
        Job(name, case_of(arguments), seed, {**common, **settings})
        for seed in range(arguments.seeds)
        for name, settings in treatments(arguments.factors).items()
    ]


def case_of(arguments: argparse.Namespace) -> str:
    """Names the data, their rows and the epochs."""
    return f"thucnews-{arguments.rows}-{arguments.test_rows}x{arguments.epochs}"


def unknown_shares(arguments: argparse.Namespace) -> dict[str, float]:
    """Share of the test titles' tokens that are unknown, without and with the longer vocabulary."""
    folder = titles(arguments.rows, arguments.test_rows)
    texts = {split: pd.read_csv(folder / f"{split}.csv")["text"].astype(str).tolist() for split in ("train", "test")}
    tokenizer = load_processor(resolve_model("starter"), "text")
    longer = extended_tokenizer(tokenizer, texts["train"], ModelSection(extend_vocabulary=True))
    shares = [token_statistics(texts["test"], each, None).unknown_share for each in (tokenizer, longer)]
    return {name: shares[name != "off"] for name in treatments(arguments.factors)}


def summary(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of the table."""
    found, shares = read(RESULTS), unknown_shares(arguments)
    rows = {}
    for name in treatments(arguments.factors):
        keys = [f"{case_of(arguments)}/{name}/{seed}" for seed in range(arguments.seeds)]
        results = [found[key] for key in keys if key in found]
        rows[name] = {
            "unknown_share": shares[name],
            "accuracy": [result["metrics"]["accuracy"]["value"] for result in results],
            "macro_f1": [result["metrics"]["macro_f1"]["value"] for result in results],
            "parameters": results[0]["parameters"] if results else None,
            "seconds_per_step": [result["seconds_per_step"] for result in results],
        }
    return {"case": case_of(arguments), "rows": rows}


def table(figures: dict[str, Any]) -> str:
    """Accuracy with its spread over seeds, as Markdown."""
    lines = [
        "| vocabulary | unknown tokens | parameters | test accuracy | test macro F1 | seconds a step |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in figures["rows"].items():
        if row["accuracy"]:
            cells = [f"{100 * row['unknown_share']:.1f} %", f"{row['parameters']:,}"]
            for key in ("accuracy", "macro_f1"):
                mean, spread = mean_and_spread(row[key])
                cells.append(f"{mean:.4f} ± {spread:.4f}" if len(row[key]) > 1 else f"{mean:.4f}")
            cells.append(f"{mean_and_spread(row['seconds_per_step'])[0]:.2f}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8000, help="titles to train on, at most 8,500")
    parser.add_argument("--test-rows", type=int, default=10_000, help="titles to test")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--factors", type=float, nargs="*", default=[], help="rates of the new tokens to try besides, × the base rate"
    )
    parser.add_argument("--table", action="store_true", help="remake the table, run nothing")
    given = parser.parse_args()
    if not given.table:
        run_jobs(jobs(given), RESULTS, given.workers)
    SUMMARY.write_text(json.dumps(made := summary(given), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(made))
