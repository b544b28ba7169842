"""What the doctor costs: the seconds spent in it, as share of the training phase of the same run.

python benchmarks/speed/monitoring.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from ratios import Ratio, summary
from runs import EQUAL_WORK, figures_of_events, training_seconds
from text_sets import settings_of

AIM = 0.02
TITLES = {"full": "full fine-tuning", "head": "head only, on kept activations"}

ABOUT = """\
## Cost of the doctor

Made by `python benchmarks/speed/monitoring.py`; do not edit by hand. Fine-tuning of the starter on {rows:,} rows of
SST-2 with default settings, {epochs} epochs, batches of 32. Clocks stand around everything that the doctor does in the
run: margins of rows, signals by depth, the loss on the sample of training rows, looks inside the model, the diagnosis
itself, and its files. Their sum is divided by the training phase (steps, evaluations, checkpoints) of the same run.
"""


def measure(settings: Mapping[str, Any], seed: int) -> Figures:
    """Seconds of each part of the doctor, and of the training phase, in one run."""
    import trimtab

    with tempfile.TemporaryDirectory() as folder, clocks() as spent:
        run = trimtab.train(settings={**EQUAL_WORK, **settings, "seed": seed, "output": f"{folder}/run"})
        laps = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))["seconds"]
        seconds = training_seconds(laps)
        steps = sum(event["type"] == "step" for event in run.events)
        return {
            "steps": steps,
            "cost": sum(spent.values()) / seconds,
            "parts": {name: round(value / seconds, 6) for name, value in sorted(spent.items())},
            **figures_of_events(run.events, seconds),
        }


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Clocks around the doctor's methods; what one clocked method calls of another counts once."""
    from trimtab.monitor.signals.depth import DepthSignals
    from trimtab.monitor.signals.inspection import Inspector
    from trimtab.monitor.signals.row_watch import RowWatch
    from trimtab.pipeline import doctor, judge

    spent: dict[str, float] = defaultdict(float)
    watched: list[tuple[Any, str, str]] = [
        (DepthSignals, name, "signals by depth")
        for name in ("after_backward", "before_update", "after_update", "_catch", "_note")
    ]
    watched += [(RowWatch, name, "margins of rows") for name in ("reduce", "save")]
    watched += [(Inspector, name, "looks inside") for name in ("__init__", "look")]
    watched += [(judge, "_on_training_rows", "loss on training rows"), (judge, "describe_scores", "detail")]
    watched += [(doctor.LiveDoctor, name, "diagnosis") for name in ("_hear", "__init__")]
    inside: list[str] = []

    def clocked(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if inside:
                return function(*args, **options)
            inside.append(part)
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[part] += time.perf_counter() - began
                inside.pop()

        return call

    before = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for owner, name, part in watched:
        setattr(owner, name, clocked(getattr(owner, name), part))
    loss = RowWatch.loss
    RowWatch.loss = _own_part(loss, spent)
    try:
        yield spent
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
        RowWatch.loss = loss


def _own_part(loss: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    """`RowWatch.loss` with a clock that stands still while the objective itself runs."""

    def call(self: Any, forward: Any, batch: Any, step: int) -> Any:
        inner, inner_seconds = self.objective, [0.0]

        class Timed:
            def loss(self, *args: Any) -> Any:
                began = time.perf_counter()
                try:
                    return inner.loss(*args)
                finally:
                    inner_seconds[0] += time.perf_counter() - began

        began = time.perf_counter()
        self.objective = Timed()
        try:
            return loss(self, forward, batch, step)
        finally:
            self.objective = inner
            spent["margins of rows"] += time.perf_counter() - began - inner_seconds[0]

    return call


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """Full fine-tuning, whose steps are long, and a head on kept activations, whose steps are short."""
    settings = {
        **settings_of("sst-2", sizes.rows, sizes.epochs),
        "training.batch_size": 32,
        "optimizer.learning_rate": 1e-4,
    }
    strategies = {"full": {}, "head": {"strategy.name": "partial"}}
    return {
        name: [Variant("ours", "Trimtab", "monitoring:measure", {"settings": {**settings, **further}})]
        for name, further in strategies.items()
    }


def table(_: Cases, results: Results) -> str:
    """The median share of each part."""
    lines = ["| | steps | cost | aim |", "| --- | ---: | ---: | ---: |"]
    for case, by_variant in results.items():
        rounds = by_variant["ours"]
        values = [figures["cost"] for figures in rounds]
        lines.append(
            f"| {TITLES[case]} | {rounds[0]['steps']} | {statistics.median(values):.1%} ({min(values):.1%} to "
            f"{max(values):.1%}) | < {AIM:.0%} |"
        )
    for case, by_variant in results.items():
        parts = dict.fromkeys(name for figures in by_variant["ours"] for name in figures["parts"])
        shares = {name: statistics.median([f["parts"].get(name, 0) for f in by_variant["ours"]]) for name in parts}
        listed = ", ".join(f"{name} {share:.2%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
        lines.append(f"\nOf these, with {TITLES[case]}: {listed}.")
    return "\n".join(lines)


def ratios(_: Cases, results: Results) -> dict[str, Ratio]:
    """Speed beside that without the doctor, so that above 1 is better."""
    return {case: summary([1 - figures["cost"] for figures in found["ours"]]) for case, found in results.items()}


if __name__ == "__main__":
    command_line(
        Benchmark("monitoring", ABOUT, Sizes(3200, 2, seeds=3), Sizes(800, 2, rounds=1, seeds=1), cases, table, ratios)
    )
