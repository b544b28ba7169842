"""The autopilot at work against switched off: final metrics on sound test rows, where a fault was planted and not.

    python benchmarks/doctor/autopilot.py --raw DIR --workers 2 [--output benchmarks/results/doctor_autopilot.json]

Both arms of a pair have the same rows, fault and seed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent, HERE.parent / "speed", HERE):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from planned import Planned, planned_run  # noqa: E402
from pool import Task, do_all  # noqa: E402
from ratios import paired_difference  # noqa: E402

ARMS = ("off", "act")
FAULTS = ("rate-30", "rate-100th", "few-rows", "flipped-20", "frozen-head", "cut-at-8", "rare-class")
WORLDS = ("tickets-distil", "numbers-bert5")
HEALTHY = (
    ("tickets-distil", "healthy-default"),
    ("numbers-bert5", "healthy-default"),
    ("digits-mobilenet", "healthy-default"),
    ("genres-bert5", "healthy-lora"),
)
# Wrong labels among so many rows that their share can be told.
MANY_ROWS = (("diseases-distil", "flipped-20-of-1200"), ("mr-starter", "flipped-20-of-1200"))
SEEDS = 3
TEST_ROWS = 200


def runs(seeds: int) -> list[Planned]:
    """What both arms run."""
    planted = [(world, fault) for fault in FAULTS for world in WORLDS]
    pairs = [(seed, world, name) for seed in range(seeds) for world, name in (*planted, *MANY_ROWS, *HEALTHY)]
    return [planned_run(world, name, seed, TEST_ROWS) for seed, world, name in pairs]


def read_value(folder: Path) -> tuple[float, bool] | None:
    """The main figure of a run on its test rows, and whether the run failed; None where it was not done.

    A run that delivered no model is worth what always guessing the most frequent class is.
    """
    if not (folder / "meta.json").exists():
        return None
    judged = folder / "evaluation.json"
    if judged.exists():
        evaluation = json.loads(judged.read_text(encoding="utf-8"))
        return float(evaluation["metrics"][evaluation["primary_metric"]]["value"]), False
    import pandas as pd

    shares = pd.read_parquet(folder / "data" / "test.parquet")["label"].value_counts(normalize=True)
    most = float(shares.iloc[0])
    # Macro F1 of always saying the most frequent class: F1 of that class over the number of classes.
    return 2 * most / (1 + most) / len(shares), True


def actions(folder: Path) -> list[str]:
    """Remedies that the autopilot applied in a run."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if '"autopilot"' in line]
    return [str(event.get("remedy")) for event in events if event.get("action") == "autopilot"]


def compare(raw: Path, seeds: int) -> dict[str, Any]:
    """Arms compared, by fault and for all healthy runs: figures paired by world and seed."""
    groups: dict[str, dict[str, Any]] = {}
    for run in runs(seeds):
        found = {arm: read_value(raw / arm / run.key) for arm in ARMS}
        off, act = found["off"], found["act"]
        if off is None or act is None:
            continue
        name = run.fault.name if run.fault else "healthy"
        group = groups.setdefault(name, {"off": [], "act": [], "failed_off": 0, "failed_act": 0, "actions": {}})
        for arm, (value, failed) in (("off", off), ("act", act)):
            group[arm].append(value)
            group[f"failed_{arm}"] += failed
        for remedy in actions(raw / "act" / run.key):
            group["actions"][remedy] = group["actions"].get(remedy, 0) + 1
    for group in groups.values():
        mean, half = paired_difference(group["act"], group["off"])
        ends = [None if math.isnan(half) else round(mean + sign * half, 4) for sign in (-1, 1)]
        group["difference"] = [round(mean, 4), *ends]
    return groups


def table(groups: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    lines = [
        "| planted | pairs | off | act | difference (95 %) | no model, off / act | remedies applied |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in groups.items():
        mean, low, high = group["difference"]
        interval = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
        off, act = (sum(group[arm]) / len(group[arm]) for arm in ARMS)
        applied = ", ".join(f"{remedy} {count}" for remedy, count in group["actions"].items()) or "–"
        lines.append(
            f"| {name} | {len(group['off'])} | {off:.3f} | {act:.3f} | {mean:+.3f}{interval} "
            f"| {group['failed_off']} / {group['failed_act']} | {applied} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what was run")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    if not given.table:
        tasks = [Task(run, given.raw / arm, {"monitor.autopilot": arm}) for run in runs(given.seeds) for arm in ARMS]
        do_all(tasks, given.workers)
    groups = compare(given.raw, given.seeds)
    print(table(groups))
    if given.output:
        import torch

        measured = {"torch": torch.__version__, "threads": 1, "date": datetime.date.today().isoformat()}
        text = json.dumps({"groups": groups, "measured": measured}, indent=1)
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
