"""Score the doctor on the runs of a folder: recall, precision and delay of each condition, and false alarms.

    python benchmarks/doctor/score.py --raw DIR [--split test] [--output benchmarks/results/doctor.json] [--explain]

Each record is diagnosed anew with the conditions of the present code.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent, HERE):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from jobs import write_section  # noqa: E402
from replay import replay  # noqa: E402
from scoring import Scored, score  # noqa: E402

SECTION = "doctor-benchmark"


def read_runs(raw: Path, split: str = "all", workers: int = 1) -> list[Scored]:
    """The finished runs of a folder, each with its diagnosis; one that cannot be diagnosed is named and left out."""
    folders = [file.parent for file in sorted(raw.glob("*/meta.json"))]
    folders = [folder for folder in folders if split in ("all", folder.name.partition("--")[0])]
    with ProcessPoolExecutor(workers) as pool:
        return [run for run in pool.map(_read, folders) if run is not None]


def _read(folder: Path) -> Scored | None:
    try:
        return Scored(json.loads((folder / "meta.json").read_text(encoding="utf-8")), replay(folder))
    except Exception:  # noqa: BLE001 (a condition that fails on one record must not hide the others)
        print(f"{folder.name} cannot be diagnosed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return None


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| condition | recall (95 %) | planted runs | precision (95 %) | delay, steps |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in figures["conditions"].items():
        delay = "–" if found["delay_steps"] is None else f"{found['delay_steps']:g}"
        cells = (name, _rate(found["recall"]), found["planted"] or "–", _rate(found["precision"]), delay)
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    healthy = figures["healthy"]
    acts = ", ".join(f"{name} {count}" for name, count in healthy["acts"].items()) or "none"
    warnings = ", ".join(f"{name} {count}" for name, count in healthy["warnings"].items()) or "none"
    lines += [
        "",
        f"Healthy runs with a false finding of severity `act`: {healthy['with_act']} of {healthy['runs']} "
        f"({_rate(healthy['share'])}; {acts}); with a false warning or more: {healthy['with_warning']} ({warnings}).",
    ]
    return "\n".join(lines)


def fault_table(figures: dict[str, Any]) -> str:
    """What was found of each fault, as Markdown."""
    lines = ["| fault | runs | found | severe enough | false `act` |", "| --- | --- | --- | --- | --- |"]
    for name, found in figures["faults"].items():
        acts = ", ".join(f"{condition} {count}" for condition, count in found["false_acts"].items()) or "–"
        lines.append(f"| {name} | {found['runs']} | {found['found']} | {found['severe_enough']} | {acts} |")
    return "\n".join(lines)


def _rate(values: list[float]) -> str:
    value, low, high = values
    return "–" if math.isnan(value) else f"{value:.2f} ({low:.2f}–{high:.2f})"


def explain(runs: list[Scored]) -> str:
    """What was missed, and what was said wrongly, a line each."""
    lines = []
    for run in runs:
        name, told = run.meta["id"], run.told
        if run.expected and not run.found:
            lines.append(f"MISSED {name}: wanted {sorted(run.expected)}, said {told.last}")
        for condition in sorted(run.false_warnings):
            lines.append(f"FALSE {told.last[condition]} {condition} in {name}: {told.messages[condition]}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """NaN as None, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Score what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=("calibration", "test", "all"), help="for the tables")
    parser.add_argument("--output", type=Path, help="JSON file for the figures of both splits")
    parser.add_argument("--record", type=Path, help="page whose section is written anew")
    parser.add_argument("--explain", action="store_true", help="name what was missed and what was said wrongly")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    runs = read_runs(given.raw, "all" if given.output else given.split, given.workers)
    chosen = [run for run in runs if given.split in ("all", run.meta["split"])]
    figures = score(chosen)
    text = f"{table(figures)}\n\n{fault_table(figures)}"
    print(text)
    if given.explain:
        print(f"\n{explain(chosen)}")
    if given.record:
        write_section(given.record, SECTION, text)
    if given.output:
        import torch

        test, calibration = (score([r for r in runs if r.meta["split"] == split]) for split in ("test", "calibration"))
        measured = {"torch": torch.__version__, "threads": 1, "date": datetime.date.today().isoformat()}
        content = {**test, "calibration": calibration, "measured": measured}
        given.output.write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
