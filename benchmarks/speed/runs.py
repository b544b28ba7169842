"""What the benchmarks of speed run in processes of their own: a training of Trimtab, one of the HF Trainer, trials."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import Figures, Variant

# What neither library counts as training: reading, loading, and the judgement and reports at the end.
OUTSIDE = ("data", "model", "preflight", "retention", "evaluation", "report", "weights")
# The peer does neither of these, so that neither counts in a comparison of whole commands.
EQUAL_WORK = {"retention.measure": False, "evaluation.baselines": False}

OURS = "Trimtab"
SECOND_RUN = "Trimtab, second run (cache filled)"
HF = "HF Trainer, defaults"
HF_BEST = "HF Trainer, bf16 + group by length"


def trimtab(settings: Mapping[str, Any], seed: int) -> Figures:
    """One run of Trimtab from recipe keys; `seconds` is the training phase, evaluations and checkpoints included."""
    import trimtab as library

    with tempfile.TemporaryDirectory() as folder:
        run = library.train(settings={**EQUAL_WORK, **settings, "seed": seed, "output": f"{folder}/run"})
        evaluation = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))
        return {
            "accuracy": evaluation["metrics"]["accuracy"],
            "macro_f1": evaluation["metrics"]["macro_f1"],
            "laps": evaluation["seconds"],
            **figures_of_events(run.events, training_seconds(evaluation["seconds"])),
        }


def training_seconds(laps: Mapping[str, float]) -> float:
    """The training phase: every lap that is not named as outside of it, so that one that is new counts against us."""
    return sum(seconds for phase, seconds in laps.items() if phase not in OUTSIDE)


def figures_of_events(events: list[dict[str, Any]], seconds: float) -> Figures:
    """Speed, padding and the curve of validation accuracy from a run's events.

    Args:
        events: in order.
        seconds: of the training phase.
    """
    start = next(event for event in events if event["type"] == "start")
    steps = [event for event in events if event["type"] == "step"]
    # An evaluation or checkpoint begins when what is noted before it has ended.
    aside = sum(
        after["time"] - before["time"]
        for before, after in pairwise(events)
        if after["type"] in ("evaluation", "checkpoint")
    )
    tokens, padded = (sum(event[name] for event in steps) for name in ("tokens", "padded_tokens"))
    rows = sum(event["weight"] for event in steps)
    return {
        "rows": start["rows"],
        "precision": start["precision"],
        "seconds": seconds,
        "aside_seconds": aside,
        "samples_per_second": rows / (seconds - aside),
        "tokens_per_second": tokens / (seconds - aside),
        "useful_tokens": tokens / padded,
        "frozen_prefix": next((event for event in events if event["type"] == "frozen_prefix"), None),
        "curve": [
            (round(event["time"] - start["time"], 3), event["metrics"]["accuracy"])
            for event in events
            if event["type"] == "evaluation"
        ],
    }


def hf(settings: Mapping[str, Any], seed: int, **options: Any) -> Figures:
    """One run of the HF Trainer from the same recipe keys; see `hf_trainer.fit` for the options."""
    import hf_trainer

    with tempfile.TemporaryDirectory() as folder:
        return hf_trainer.train({**settings, "seed": seed}, Path(folder), **options)


def trimtab_trials(settings: Mapping[str, Any], trials: list[dict[str, Any]], seed: int) -> Figures:
    """Several trials of Trimtab in this process; each holds the recipe keys that it changes."""
    import trimtab as library

    began = time.perf_counter()
    seeded = [{**trial, "seed": seed + number} for number, trial in enumerate(trials)]
    results = library.run_trials(trials=seeded, settings={**EQUAL_WORK, **settings})
    return {
        "runs": len(results),
        "seconds": sum(result.seconds for result in results),
        "runs_seconds": time.perf_counter() - began,
        "each_seconds": [round(result.seconds, 2) for result in results],
        "best_validation": max(metrics["accuracy"] for result in results for _, metrics in result.evaluations),
    }


def hf_trials(
    settings: Mapping[str, Any], trials: list[dict[str, Any]], seed: int, last_blocks: int | None = None
) -> Figures:
    """Several runs of the HF Trainer in this process; the rows are read and encoded once for all of them."""
    import hf_trainer

    from trimtab.config.load import build_recipe

    material = hf_trainer.read_material(build_recipe(overrides=dict(settings)).recipe)

    def run(trial: dict[str, Any], number: int) -> Figures:
        recipe = build_recipe(overrides={**settings, **trial, "seed": seed + number}).recipe
        with tempfile.TemporaryDirectory() as folder:
            return hf_trainer.fit(material, recipe, Path(folder), last_blocks=last_blocks)

    return _sum(trials, run)


def _sum(trials: list[dict[str, Any]], run: Callable[[dict[str, Any], int], Figures]) -> Figures:
    """Run all trials; seconds of all together, and the best validation accuracy, by which a search would choose."""
    found = []
    for number, trial in enumerate(trials):
        began = time.perf_counter()
        figures = run(trial, number)
        found.append({**figures, "run_seconds": time.perf_counter() - began})
    return {
        "runs": len(found),
        "seconds": sum(figures["seconds"] for figures in found),
        "runs_seconds": sum(figures["run_seconds"] for figures in found),
        "each_seconds": [round(figures["run_seconds"], 2) for figures in found],
        "best_validation": max(accuracy for figures in found for _, accuracy in figures["curve"]),
    }


def text_variants(
    settings: Mapping[str, Any], *, last_blocks: int | None = None, strategy: Any = "full", again: bool = False
) -> list[Variant]:
    """Trimtab, and the HF Trainer with its defaults and with its best flags, on the same recipe keys.

    Args:
        settings: recipe keys.
        last_blocks: blocks that train besides the head in the HF Trainer.
        strategy: the same for Trimtab.
        again: whether Trimtab runs once more on its filled cache.
    """
    settings = dict(settings)
    peer = {"settings": settings, "last_blocks": last_blocks}
    ours = {"settings": {**settings, "strategy": strategy}}
    return [
        Variant("ours", OURS, "runs:trimtab", ours, SECOND_RUN if again else None),
        Variant("hf", HF, "runs:hf", peer),
        Variant("hf-best", HF_BEST, "runs:hf", {**peer, "best_flags": True}),
    ]
