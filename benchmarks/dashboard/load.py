"""A hundred long runs: how long the dashboard's first list takes, what it holds in memory, and what one run costs.

The runs are written into a temporary folder, 3 GB at the full size, and removed afterwards. What is measured runs in a
fresh process, whose peak of resident memory is that of a server that did the same.

    python benchmarks/dashboard/load.py --runs 100 --steps 100000

Aims: the first list in under 2 s, and under 300 MB after a run was opened. Beside times stands how much of the files
was read: a list may not depend on their length.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

AIM_LIST_SECONDS, AIM_MEGABYTES = 2.0, 300.0
EVALUATIONS = 100
NEW_STEPS = 200
_STEP = (
    '{{"type": "step", "time": {time:.3f}, "step": {step}, "epoch": {epoch:.4f}, "loss": {loss:.16f}, '
    '"learning_rates": {{"head": {rate:.6g}, "body": {half:.6g}}}, "grad_norm": {norm:.16f}, "weight": 32, '
    '"tokens": 890, "padded_tokens": 928, "pieces": 1, "seconds": 0.0638, "stage": 0, "data_seconds": 0.0002, '
    '"samples_per_second": 501.25, "padding_share": 0.0409}}\n'
)


def main() -> None:
    """Make the runs, measure in a fresh process, print, and clean up."""
    options = _options()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    folder = Path(tempfile.mkdtemp(prefix="trimtab-load-", dir=options.folder))
    try:
        began = time.perf_counter()
        make_runs(folder, options.runs, options.steps)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(
            f"{options.runs} runs of {options.steps:,} steps: {size / 1e9:.2f} GB, {time.perf_counter() - began:.0f} s"
        )
        command = [sys.executable, __file__, "--measure", str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for name, value in found.items():
            print(f"  {name:<52}{value:>12,.3f}")
        kept = found["first list, seconds"] < AIM_LIST_SECONDS and found["memory at its peak, MB"] < AIM_MEGABYTES
        print(f"aims ({AIM_LIST_SECONDS:.0f} s, {AIM_MEGABYTES:.0f} MB): {'kept' if kept else 'missed'}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_runs(folder: Path, runs: int, steps: int) -> None:
    """Write runs that ended, and one, the last, that goes on."""
    body = "".join(_lines(steps))
    for number in range(runs):
        run = folder / f"run-{number:03d}"
        (run / "data").mkdir(parents=True)
        start = {"type": "start", "time": 1.7e9 + number, "step": 0, "model": f"bert-{number % 3}", "strategy": "full"}
        start |= {"total_steps": steps, "num_epochs": 10, "metric": "macro_f1", "higher_is_better": True}
        (run / "events.jsonl").write_text(json.dumps(start) + "\n" + body, encoding="utf-8")
        about = {"model": f"bert-{number % 3}", "data": "t.csv", "task": "text-classification", "strategy": "full"}
        (run / "environment.json").write_text(json.dumps({"run": about}))
        (run / "recipe.yaml").write_text(_recipe(number))
        if number < runs - 1:
            value = {"value": 0.8 + number / 1000, "low": 0.7, "high": 0.95}
            evaluation = {"split": "test", "primary_metric": "macro_f1", "metrics": {"macro_f1": value}}
            (run / "evaluation.json").write_text(json.dumps(evaluation))
            curve = {"name": "loss", "steps": list(range(400)), "values": [0.5] * 400}
            finding = {"name": "plateau", "severity": "warning", "message": "It stands still.", "series": [curve] * 3}
            (run / "diagnosis.json").write_text(json.dumps({"findings": [finding] * 4}))


def _lines(steps: int, first: int = 1) -> Any:
    for step in range(first, first + steps):
        loss = 2.0 / (1 + step / 5000) + 0.1 * ((step * 7919) % 1000) / 1000
        now = 1.7e9 + step / 15
        yield _STEP.format(
            time=now, step=step, epoch=step / 1e4, loss=loss, rate=2e-4 / step, half=1e-4 / step, norm=loss / 3
        )
        if step % max(1, steps // EVALUATIONS) == 0:
            metrics = {"loss": loss, "accuracy": 0.5, "macro_f1": 0.5, "ece": 0.1}
            detail = {"rows": 1000, "recall": [0.5] * 20, "label_rows": [50] * 20, "predicted": [50] * 20}
            event = {"type": "evaluation", "time": now, "step": step, "split": "validation", "metric": "macro_f1"}
            yield json.dumps(event | {"metrics": metrics, "detail": detail, "held_in": metrics}) + "\n"
            blocks = {f"block {k}": {"grad_norm": 0.1, "weight_norm": 9.0, "update_ratio": 1e-3} for k in range(14)}
            yield json.dumps({"type": "signals", "time": now, "step": step, "blocks": blocks, "memory_mib": 512}) + "\n"


def _recipe(number: int) -> str:
    lines = [f"seed: {number}  # flag", "output: null  # default"]
    for section in ("model", "task", "strategy", "optimizer", "schedule", "training", "monitor", "evaluation"):
        lines += [f"{section}:", "  name: full                             # default"]
        lines += [f"  option_{index}: {index / 7:.3f}                   # default" for index in range(15)]
    return "\n".join([*lines, "origins:", "  seed: flag", ""])


def measure(folder: Path) -> dict[str, float]:
    """What a server does, in this process: the list, opening runs, an increment of one."""
    import psutil

    process = psutil.Process()
    before = time.perf_counter()
    from trimtab.dashboard.reading.store import Store

    found = {"imports, seconds": time.perf_counter() - before, "memory after imports, MB": _megabytes(process)}
    store = Store(folder)
    read = _bytes_read(process)
    found["first list, seconds"] = _seconds(store.scan)
    found["first list, MB read"] = (_bytes_read(process) - read) / 1e6
    found["memory after the list, MB"] = _megabytes(process)
    found["list again, nothing changed, seconds"] = _seconds(store.scan)
    ids = [summary["id"] for summary in store.summaries()]
    found["opening a run, seconds"] = _seconds(lambda: store.open(ids[0]))
    run = store.open(ids[0])
    found["its series at 1,500 points, seconds"] = _seconds(lambda: json.dumps(run.series()))
    found["series sent, kB"] = len(json.dumps(run.series())) / 1e3
    revision, steps = run.revision(), len(run.columns("step").step)
    with open(folder / ids[0] / "events.jsonl", "a", encoding="utf-8") as file:
        file.writelines(_lines(NEW_STEPS, steps + 1))
    read = _bytes_read(process)
    found[f"an increment of {NEW_STEPS} steps, seconds"] = _seconds(lambda: run.since(revision))
    found[f"an increment of {NEW_STEPS} steps, kB read"] = (_bytes_read(process) - read) / 1e3
    found["list again, one run grew, seconds"] = _seconds(store.scan)
    for run_id in ids[:8]:
        store.open(run_id)
    found["memory with eight runs open, MB"] = _megabytes(process)
    found["memory at its peak, MB"] = _peak_megabytes()
    store.close()
    return found


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _megabytes(process: Any) -> float:
    return float(process.memory_info().rss / 1e6)


def _peak_megabytes() -> float:
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3 / 1.024)


def _bytes_read(process: Any) -> float:
    return float(process.io_counters().read_chars) if hasattr(process, "io_counters") else 0.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; needs 3 GB at the full size")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
