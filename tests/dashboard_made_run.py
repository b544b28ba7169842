"""One run as the dashboard's server tells it, made up or recorded from a run directory: for tests of its page."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboard_fake import NASTY, NOW, summary

if TYPE_CHECKING:
    import queue
    from pathlib import Path

BLOCKS = ("embeddings", *(f"block {i}" for i in range(6)), "head")
Table = dict[str, Any]


@dataclass
class FakeRun:
    """What the server knows of one run; tests change it and `tell` the pages."""

    summary: dict[str, Any]
    detail: dict[str, Any]
    tables: dict[str, Table]
    matrix: dict[str, Any] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""
    revision: int = 1
    asked: list[str] = field(default_factory=list)
    streams: set[queue.Queue[str]] = field(default_factory=set)

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Sends an event to every page that watches the run."""
        for waiting in list(self.streams):
            waiting.put(f"event: {event}\ndata: {json.dumps(data)}\n\n")

    def add_points(self, tables: dict[str, Table], cut: int | None = None) -> None:
        """New rows, as the stream tells them."""
        self.revision += 1
        self.tell("points", {"revision": self.revision, "tables": tables, "cut": cut})

    def answer(self, tail: str, query: dict[str, list[str]]) -> Any:
        """The answer to a GET below the run's address; None where there is none."""
        if tail == "":
            return {**self.detail, "summary": self.summary}
        if tail == "series":
            return {"revision": self.revision, "tables": self._between(query)}
        if tail == "matrix":
            return self.matrix
        if tail == "rows":
            return self._page(query)
        return None

    def _between(self, query: dict[str, list[str]]) -> dict[str, Table]:
        first, last = int(query.get("from", ["0"])[0]), int(query.get("to", ["1000000000"])[0])
        wanted = query.get("tables", [",".join(self.tables)])[0].split(",")
        return {name: cut_table(self.tables[name], first, last) for name in wanted if name in self.tables}

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        kind = query.get("kind", ["worst"])[0]
        rows = self.detail["suspects"] if kind == "suspect" else self.rows
        for key, name in (("label", "label"), ("predicted", "prediction")):
            if key in query:
                rows = [row for row in rows if row.get(name) == query[key][0]]
        if kind == "worst":
            rows = sorted(rows, key=lambda row: -row["loss"])
        page = int(query.get("page", ["0"])[0])
        return {"rows": rows[20 * page : 20 * page + 20], "total": len(rows), "pages": math.ceil(len(rows) / 20)}


def cut_table(table: Table, first: int, last: int) -> Table:
    """The rows of a table between two steps, both included."""
    kept = [i for i, step in enumerate(table["step"]) if first <= step <= last]
    pick = {name: [table[name][i] for i in kept] for name in ("step", "epoch", "time")}
    return {**table, **pick, "series": {name: [values[i] for i in kept] for name, values in table["series"].items()}}


def rows_of(steps: range, per_epoch: int = 100) -> Table:
    """Steps, epochs and times of a table without series."""
    return {
        "step": list(steps),
        "epoch": [step / per_epoch for step in steps],
        "time": [NOW + 0.5 * step for step in steps],
        "series": {},
    }


def step_table(steps: range, seed: int = 0) -> Table:
    """Numbers of single steps: a loss that falls, with a gap of missing values at step 150."""
    chance = random.Random(seed)
    table = rows_of(steps)
    table["series"] = {
        "loss": [None if step == 150 else 0.2 + math.exp(-step / 120) + chance.gauss(0, 0.05) for step in steps],
        "learning_rate/head": [1e-3 * min(step / 50, 1 - step / 600) for step in steps],
        "learning_rate/body": [1e-4 * min(step / 50, 1 - step / 600) for step in steps],
        "grad_norm": [1 + chance.random() for _ in steps],
        "samples_per_second": [100 + chance.gauss(0, 5) for _ in steps],
        "tokens_per_second": [9000 + chance.gauss(0, 500) for _ in steps],
        "padding_share": [0.1 + 0.02 * chance.random() for _ in steps],
    }
    return table


def made_tables(last: int = 400) -> dict[str, Table]:
    """The four tables of a run of `last` steps."""
    evaluation = rows_of(range(50, last + 1, 50))
    steps = evaluation["step"]
    evaluation["series"] = {
        "validation/loss": [0.35 + 0.9 * math.exp(-step / 90) + step / 2000 for step in steps],
        "held_in/loss": [0.05 + math.exp(-step / 110) for step in steps],
        "validation/macro_f1": [0.85 - 0.5 * math.exp(-step / 90) for step in steps],
        "held_in/macro_f1": [0.99 - 0.6 * math.exp(-step / 90) for step in steps],
        "validation/accuracy": [0.88 - 0.5 * math.exp(-step / 90) for step in steps],
        "validation/ece": [0.02 + step / 4000 for step in steps],
    }
    signals = rows_of(range(5, last + 1, 5))
    depth = {block: i for i, block in enumerate(BLOCKS)}
    signals["series"] = {
        **{
            f"update_ratio/{b}": [
                10 ** (-4 + 0.25 * i - step / 400) if step > 40 * (7 - i) else None for step in signals["step"]
            ]
            for b, i in depth.items()
        },
        **{f"grad_norm/{b}": [0.1 * (i + 1) for _ in signals["step"]] for b, i in depth.items()},
        **{f"weight_norm/{b}": [50.0 + i + step / 100 for step in signals["step"]] for b, i in depth.items()},
        "memory_mib": [700 + step / 10 for step in signals["step"]],
    }
    inspection = rows_of(range(50, last + 1, 50))
    inspection["series"] = {
        f"drift/{b}": [0.001 * step * (i + 1) / 8 for step in inspection["step"]] for b, i in depth.items()
    }
    return {
        "step": step_table(range(1, last + 1)),
        "evaluation": evaluation,
        "signals": signals,
        "inspection": inspection,
    }


def finding(index: int, name: str, severity: str, **fields: Any) -> dict[str, Any]:
    """A finding as the server gives it."""
    base = {
        "index": index,
        "name": name,
        "severity": severity,
        "message": f"Message of {name}.",
        "since": 200,
        "evidence": {},
        "remedy": "",
        "change": {},
        "confidence": 0.97,
        "source": "Prechelt 1998",
        "series": [],
        "x_label": "step",
        "rows": [],
        "by": "doctor",
        "said": {},
    }
    return {**base, **fields}


def made_run(run_id: str = "tickets/lora", **fields: Any) -> FakeRun:
    """A run at step 400 of 600 with three findings, unless the fields of its summary say otherwise."""
    about = (
        summary(
            run_id,
            step=400,
            total_steps=600,
            epoch=4.0,
            num_epochs=6,
            seconds=200.0,
            seconds_left=100.0,
            findings={"info": 1, "warning": 1, "act": 1},
        )
        | {"state": "running", "low": None, "high": None, "value": 0.84, "split": "validation"}
        | fields
    )
    overfit = {
        "evidence": {"training_accuracy": 0.97, "validation_accuracy": 0.81, "limits": [0.15, 0.3]},
        "remedy": "Add rows, or use `--strategy head`.",
        "change": {"augmentation.word_dropout": 0.1, "training.num_epochs": 3},
        "series": [
            {"name": "validation loss", "x": [50, 100, 150, 200], "y": [0.8, 0.6, 0.62, 0.7]},
            {"name": "training loss", "x": [50, 100, 150, 200], "y": [0.7, 0.4, 0.2, 0.1]},
        ],
    }
    detail = {
        "start": {
            "rows": {"train": 1000, "validation": 200, "test": 200},
            "labels": ["billing", "outage", "other"],
            "parameters": 20_000_000,
            "trained_parameters": 300_000,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "device": "cpu",
            "precision": "fp32",
            "max_grad_norm": 1.0,
            "notes": ["The head starts from random weights."],
        },
        "recipe": [
            {"key": "seed", "value": 0, "origin": "default"},
            {"key": "training.num_epochs", "value": 6, "origin": "flag"},
            {"key": "augmentation.word_dropout", "value": 0.0, "origin": "default"},
            {"key": "optimizer.learning_rate", "value": 0.001, "origin": "inferred"},
        ],
        "environment": {
            "python": "3.11.7",
            "command": ["trimtab", "train", "my data.csv"],
            "packages": {"torch": "2.13.0"},
            "git": None,
        },
        "evaluation": {},
        "findings": [
            finding(0, "seed_noise", "info", message="Two seeds may differ by 0.02.", since=100),
            finding(1, "overfitting", "warning", message=f"The gap grows. {NASTY}", **overfit),
            finding(2, "learning_rate_too_high", "act", since=300, change={"optimizer.learning_rate": 0.0005}),
        ],
        "actions": [
            {"step": 120, "time": NOW + 60, "action": "resume", "checkpoint": "step-00000120"},
            {"step": 0, "time": NOW, "action": "fill_cache"},
        ],
        "stages": [{"name": "head", "from": 0, "to": 150}, {"name": "body", "from": 150, "to": None}],
        "suspects": [
            {
                "row": 7,
                "source": "train.csv",
                "split": "train",
                "text": "Nothing works.",
                "label": "billing",
                "suggested": "outage",
                "score": 2.4,
                "image": False,
            }
        ],
        "retention": {},
        "data_findings": [
            finding(0, "duplicates_in_train", "info", message="12 rows are copies.", by="data", since=None)
        ],
        "examined": ["overfitting", "plateau", "leakage"],
        "not_examined": {"forgetting": "no retention was measured"},
        "has": {"predictions": True, "model": True, "images": False, "log": True},
    }
    labels = detail["start"]["labels"]
    matrix = {
        "labels": labels,
        "counts": [[50, 4, 6], [3, 60, 7], [10, 0, 60]],
        "left_out": 0,
        "reliability": {
            "ece": 0.08,
            "bins": [
                {
                    "low": i / 10,
                    "high": (i + 1) / 10,
                    "confidence": i / 10 + 0.05 if i > 2 else None,
                    "accuracy": max(0, i / 10 - 0.05) if i > 2 else None,
                    "rows": 3 * i if i > 2 else 0,
                }
                for i in range(10)
            ],
        },
    }
    log = "\n".join(f"step {i}  loss {1 / (i + 1):.3f}" for i in range(100)) + f"\n{NASTY}\n"
    return FakeRun(about, detail, made_tables(), matrix, [_row(i, labels) for i in range(45)], log)


def _row(i: int, labels: list[str]) -> dict[str, Any]:
    label, prediction = labels[i % 3], labels[(i + (i % 5 == 0)) % 3]
    p = dict.fromkeys(labels, 0.1) | {prediction: 0.8}
    text = NASTY if i == 0 else f"Ticket {i}: the line is dead since this morning."
    return {
        "row": i + 1,
        "source": "test.csv",
        "text": text,
        "image": False,
        "label": label,
        "prediction": prediction,
        "probability": 0.8,
        "probabilities": p,
        "loss": -math.log(p[label]) + i / 1000,
    }


def recorded_run(path: Path) -> FakeRun:
    """A run directory as the server's own reader sees it."""
    from trimtab.core.errors import RunError
    from trimtab.dashboard.reading.store import Store

    store = Store(path.parent)
    store.scan()
    run_id = path.name
    rows = store.rows(run_id)
    detail = store.detail(run_id)
    try:
        told = rows.rows("all")
        every = [row for page in range(told["pages"]) for row in rows.rows("all", page=page)["rows"]]
        matrix = rows.matrix()
    except RunError:  # a run without predictions is shown without them
        every, matrix = [], None
    opened = store.open(run_id)
    return FakeRun(
        store.summary(run_id), detail, opened.series(points=1500)["tables"], matrix, every, "\n".join(opened.lines())
    )
