"""All runs of the doctor's benchmark that a folder does not hold yet.

python benchmarks/doctor/run_all.py --raw DIR --workers 2 [--split test] [--only rate-30 healthy] [--list]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from planned import plan  # noqa: E402
from pool import Task, do_all  # noqa: E402


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--split", default="all", choices=("calibration", "test", "all"))
    parser.add_argument("--only", nargs="*", default=(), help="faults, worlds, whole ids, or `healthy`")
    parser.add_argument("--seeds", type=int, help="runs of each fault in each world")
    parser.add_argument("--list", action="store_true", help="print the plan, and do nothing")
    given = parser.parse_args()
    tasks = [Task(run, given.raw) for run in plan(given.split, given.seeds, given.only)]
    if given.list:
        print("\n".join(f"{task.run.key}{'  (done)' if task.done else ''}" for task in tasks))
        print(f"{len(tasks)} runs, {sum(not task.done for task in tasks)} to do")
        return
    do_all(tasks, given.workers)


if __name__ == "__main__":
    main()
