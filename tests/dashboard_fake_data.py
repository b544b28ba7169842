"""What the stand-in for the dashboard's server tells: runs, their curves, a data report, a comparison, a prediction."""

# ruff: noqa: E501 (records as the server writes them, one a line)

from __future__ import annotations

import math
import random
from typing import Any

LABELS = ("network", "billing", "shipping", "other")
EVIL = '<img src=x onerror="window.evil=1">'


def make_run(index: int) -> dict[str, Any]:
    """A finished run; its value depends on the learning rate most, on the strategy less."""
    draw = random.Random(index)
    rate = [1e-5, 3e-5, 1e-4, 3e-4][index % 4]
    strategy = ["full", "lora", "gradual"][index // 4 % 3]
    value = 0.9 - 0.08 * abs(math.log10(rate / 1e-4)) - 0.02 * (strategy == "gradual") + draw.gauss(0, 0.008)
    name = f"tickets-{strategy}-{index + 1}" if index != 3 else f"evil {EVIL}"
    low, high = value - 0.03, value + 0.03
    values = {"seed": index // 12, "strategy": strategy, "optimizer.learning_rate": rate, "data.path": "/data/tickets.csv",
              "training.batch_size": draw.choice([16, 32]), "training.num_epochs": 4}  # fmt: skip
    if strategy == "lora":
        values["strategy.r"] = draw.choice([4, 8, 16])
    summary = {
        "id": name, "name": name, "state": "finished", "started": 1.79e9 + 900 * index, "updated": 1.79e9 + 900 * index + 600,
        "seconds": 600, "model": "starter", "data": "tickets", "task": "text-classification", "strategy": strategy,
        "metric": "macro_f1", "higher_is_better": True, "value": value, "low": low, "high": high, "split": "test",
        "step": 400, "total_steps": 400, "epoch": 4.0, "num_epochs": 4, "loss": 0.2, "seconds_left": None,
        "findings": {"info": 0, "warning": 1, "act": 0}, "worst": None, "curve": {"name": "loss", "points": []}, "tags": [],
        "note": "", "archived": False, "foreign": None, "error": None, "values": {**_defaults(), **values},
    }  # fmt: skip
    metrics = {"macro_f1": value, "accuracy": value + 0.01, "log_loss": 0.9 - value / 2}
    evaluation = {
        "primary_metric": "macro_f1", "rows": 480, "split": "test", "confidence": 0.95,
        "metrics": {key: {"value": number, "low": number - 0.03, "high": number + 0.03} for key, number in metrics.items()},
    }  # fmt: skip
    finding = {
        "index": 0, "name": "overfitting", "severity": "warning", "since": 200, "confidence": 0.9, "source": "", "series": [],
        "message": "Validation loss has risen since step 200 while training loss fell.", "evidence": {}, "rows": [],
        "remedy": "Train for fewer epochs, or regularise.", "by": "doctor", "x_label": "step",
        "change": {"training.num_epochs": 2, "regularization.label_smoothing": 0.1},
    }  # fmt: skip
    return {
        "id": name,
        "summary": summary,
        "values": values,
        "evaluation": evaluation,
        "findings": [finding],
        "rate": rate,
    }


def _defaults() -> dict[str, Any]:
    """Values that a run has without anybody having set them."""
    return {"training.num_epochs": "auto", "model.name": "starter"}


def series_of(run: dict[str, Any]) -> dict[str, Any]:
    """The curves of a run, which fall the faster the higher its learning rate."""
    draw = random.Random(run["id"])
    steps = list(range(1, 401, 4))
    start = run["summary"]["started"]
    pace = 0.012 * (1 + math.log10(run["rate"] / 1e-5))
    losses = [0.15 + 1.2 * math.exp(-pace * step) + draw.gauss(0, 0.02) for step in steps]
    checks = list(range(50, 401, 50))
    falls = [0.2 + 1.2 * math.exp(-pace * step) for step in checks]
    scores = [run["summary"]["value"] * (1 - math.exp(-3 * pace * step)) for step in checks]
    return {
        "step": {"step": steps, "epoch": [step / 100 for step in steps], "time": [start + 1.5 * step for step in steps],
                 "series": {"loss": losses, "learning_rate/head": [run["rate"] * (1 - step / 401) for step in steps]}},
        "evaluation": {"step": checks, "epoch": [step / 100 for step in checks], "time": [start + 1.5 * step for step in checks],
                       "series": {"validation/loss": falls, "validation/macro_f1": scores, "held_in/loss": losses[::13][:8]}},
    }  # fmt: skip


def data_report(*findings: dict[str, Any]) -> dict[str, Any]:
    """A data report of four classes, as `trimtab check --json` prints it."""
    counts = {"train": (210, 140, 60, 30), "validation": (45, 30, 13, 6), "test": (45, 30, 13, 6)}
    rows = {split: sum(numbers) for split, numbers in counts.items()}
    return {
        "name": "tickets", "task": "text-classification", "columns": {"text": ["message"], "label": ["queue"]}, "rows": rows,
        "labels": {split: dict(zip(LABELS, numbers, strict=True)) for split, numbers in counts.items()},
        "imbalance": 7.0, "held_out": ["validation", "test"], "images": None, "label_shares": {}, "duplicates": {},
        "notes": ["text: column 'message' (by its content; override with --text NAME)"],
        "tokens": {"median": 18.0, "p95": 41.0, "maximum": 88, "max_length": 64, "share_longer": 0.013, "unknown_share": 0.0},
        "findings": list(findings) or [
            {"name": "imbalance", "severity": "warning", "message": "The largest class has 7.0 times the rows of the smallest.",
             "evidence": {}, "remedy": "Judge by macro F1, or weigh the classes with regularization.class_weights."},
            {"name": "duplicates", "severity": "info", "message": "7 training rows repeat another one.",
             "evidence": {"examples": [{"row": 64, "content": "thanks router", "label": "network"}]}, "remedy": "Nothing needs doing."},
        ],
    }  # fmt: skip


def comparison(first: str, second: str) -> dict[str, Any]:
    """What `trimtab compare FIRST SECOND --json` prints."""
    example = {
        "row": 12,
        "source": "t.csv",
        "text": f"router {EVIL}",
        "label": "network",
        "first": "other",
        "second": "network",
    }
    pair = {
        "first": first, "second": second, "metric": "macro_f1", "higher_is_better": True, "rows": 480, "first_value": 0.841,
        "second_value": 0.873, "difference": {"value": 0.032, "low": 0.008, "high": 0.057}, "confidence": 0.95,
        "both_right": 390, "first_only": 12, "second_only": 28, "both_wrong": 50, "changed": 46, "p_value": 0.0166,
        "verdict": "second", "sentence": f"{second} is better than {first} by 3.2 points of macro_f1, beyond chance.",
        "notes": ["This speaks of these two trained models."], "examples": [example],
    }  # fmt: skip
    return {"metric": "macro_f1", "higher_is_better": True, "confidence": 0.95, "runs": [], "differs": {}, "groups": [],
            "group_difference": None, "pairs": [pair], "adjusted": [0.0166], "refused": {}, "notes": []}  # fmt: skip


def prediction_of(text: Any, explain: bool) -> dict[str, Any]:
    """An answer of the model: `router` speaks for its label, `refund` against."""
    shares = dict(zip(LABELS, (0.71, 0.18, 0.08, 0.03), strict=True))
    told: dict[str, Any] = {"label": "network", "probability": 0.71, "probabilities": shares}
    if explain and isinstance(text, str):
        words = text.split()
        told["words"] = [
            {"text": word, "effect": 0.3 if word == "router" else -0.12 if word == "refund" else 0.01} for word in words
        ]
    return told
