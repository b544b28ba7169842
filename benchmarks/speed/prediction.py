"""Prediction of texts of mixed length, beside the pipeline of transformers with the same model.

python benchmarks/speed/prediction.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from runs import EQUAL_WORK, OURS
from tables import timing_ratios, timing_table
from text_sets import settings_of

REFERENCES = {"pipeline": "the pipeline"}
# Calls before the one that is timed, with so many texts.
WARM_UP_TEXTS = 64

ABOUT = """\
## Speed: prediction

Made by `python benchmarks/speed/prediction.py`; do not edit by hand. {rows:,} texts of mixed length from SST-2 and MR,
a fixed sample in random order, labelled by a fine-tuned starter: `trimtab.load(…).predict(texts)` beside
`pipeline("text-classification", batch_size=32, truncation=True)` of transformers on the same model directory. Column
*training* is here the prediction alone, in a warm process with the model loaded; the whole command begins with imports.
"""


def model_directory() -> Path:
    """A fine-tuned starter, made once."""
    import trimtab

    run = Path(tempfile.gettempdir()) / "trimtab-benchmarks" / "prediction-model"
    if not (run / "evaluation.json").exists():
        trimtab.train(settings={**settings_of("sst-2", 1000, 1), **EQUAL_WORK, "output": str(run)})
    return run / "model"


def texts(count: int) -> list[str]:
    """A fixed sample, half of SST-2's short phrases and half of MR's whole sentences, shuffled."""
    import pandas as pd
    from jobs import DATA

    phrases = pd.read_csv(DATA / "sst2" / "train.tsv", sep="\t", quoting=3)["sentence"]
    sentences = pd.read_csv(DATA / "mr" / "mr.csv")["text"]
    half = count // 2
    both = pd.concat([phrases.sample(half, random_state=0), sentences.sample(count - half, random_state=0)])
    return [str(text).strip() for text in both.sample(frac=1, random_state=0)]


def predict_trimtab(model: str, count: int, seed: int) -> Figures:
    """Our labels and seconds."""
    import trimtab

    run = trimtab.load(model)
    return _timed(lambda some: [prediction.label for prediction in run.predict(some)], texts(count))


def predict_pipeline(model: str, count: int, seed: int) -> Figures:
    """The labels and seconds of transformers."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=model, batch_size=32, truncation=True)
    return _timed(lambda some: [answer["label"] for answer in classify(some)], texts(count))


def _timed(labels_of: Callable[[list[str]], list[str]], given: list[str]) -> Figures:
    labels_of(given[:WARM_UP_TEXTS])
    began = time.perf_counter()
    labels = labels_of(given)
    seconds = time.perf_counter() - began
    names = sorted(set(labels))
    return {
        "seconds": seconds,
        "samples_per_second": len(given) / seconds,
        "names": names,
        "labels": "".join(str(names.index(label)) for label in labels),
    }


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """One case with both."""
    options: dict[str, Any] = {"model": str(model_directory()), "count": sizes.rows}
    return {
        "sst-2 and mr": [
            Variant("ours", OURS, "prediction:predict_trimtab", options),
            Variant("pipeline", "transformers, pipeline", "prediction:predict_pipeline", options),
        ]
    }


def table(chosen: Cases, results: Results) -> str:
    """Times, and the share of texts with the same label."""
    (by_variant,) = results.values()
    agree = agreement(by_variant["ours"][0], by_variant["pipeline"][0])
    return f"{timing_table(chosen, results, REFERENCES)}\n\nThe same label for {agree:.2%} of the texts."


def agreement(one: Figures, other: Figures) -> float:
    """Share of texts that both give the same label."""
    first, second = ([figures["names"][int(index)] for index in figures["labels"]] for figures in (one, other))
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


if __name__ == "__main__":
    command_line(
        Benchmark(
            "prediction",
            ABOUT,
            Sizes(5000, rounds=5, seeds=1),
            Sizes(1500, rounds=1, seeds=1),
            cases,
            table,
            lambda chosen, results: timing_ratios(chosen, results, REFERENCES),
        )
    )
