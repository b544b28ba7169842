"""All benchmarks of speed one after the other, and their ratios beside those that were committed.

    python benchmarks/speed/run_all.py --quick              what `make bench` does
    python benchmarks/speed/run_all.py --quick --compare    what `make bench-compare` does
    python benchmarks/speed/run_all.py --output docs/benchmarks.md --record      everything; takes hours

With --compare, the exit code is 1 where a ratio has fallen by more than the tolerance, and 2 where there is nothing to
compare with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import BASELINES, HERE
from ratios import TOLERANCE, compared

# In the order of what they tell; those at the end are left out first when the time is up.
QUICK = (
    "full_finetuning",
    "frozen",
    "prediction",
    "step_profile",
    "overhead",
    "monitoring",
    "repeats",
    "gradual",
    "images",
)
FULL = (*QUICK, "batching")


def run_scripts(names: tuple[str, ...], options: list[str], minutes: float | None) -> tuple[list[str], list[str]]:
    """Run the scripts until the time is up.

    Args:
        names: of scripts.
        options: for each of them.
        minutes: after which no further script begins; no limit when None.

    Returns:
        The names of those that ran, and of those that failed.
    """
    began = time.monotonic()
    ran, failed = [], []
    for name in names:
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            print(f"{name}: left out, {minutes:g} minutes are over", file=sys.stderr)
            continue
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options], check=False)
        (failed if done.returncode else ran).append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s since the beginning", file=sys.stderr, flush=True)
    return ran, failed


def compare(kind: str, today: Path, baselines: Path, ran: list[str], tolerance: float) -> int:
    """Print each committed ratio beside today's; the exit code."""
    committed, found = (
        json.loads(page.read_text(encoding="utf-8")).get(kind, {}) if page.exists() else {}
        for page in (baselines, today)
    )
    changes = compared({k: v for k, v in committed.items() if k.split("/")[0] in ran}, found, tolerance)
    if not changes:
        print(f"{baselines.name} holds no {kind} ratio of {', '.join(ran) or 'these scripts'}: add them with --record.")
        return 2
    print("\n".join(map(str, changes)))
    count = sum(change.is_regression for change in changes)
    print(f"{count} of {len(changes)} ratios fell by more than {tolerance:.0%}, or are missing.")
    return 1 if count else 0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--only", action="append", choices=FULL, help="script; repeat for more; all when absent")
    parser.add_argument("--minutes", type=float, help="begin no further script after so many minutes; 13 with --quick")
    parser.add_argument("--output", type=Path, help="page whose sections are written anew")
    parser.add_argument("--record", action="store_true", help=f"put the ratios into {BASELINES.name}")
    parser.add_argument("--compare", action="store_true", help=f"compare with {BASELINES.name}; nothing is recorded")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="share by which a ratio may fall; 0.15")
    given = parser.parse_args()
    if given.compare and given.record:
        parser.error("--record would replace what --compare compares with: give one of them")
    names = tuple(given.only) if given.only else QUICK if given.quick else FULL
    minutes = given.minutes or (13.0 if given.quick else None)
    options = ["--quick"] * given.quick + (["--output", str(given.output)] if given.output else [])
    with tempfile.TemporaryDirectory() as folder:
        today = Path(folder) / "ratios.json"
        if given.compare:
            options += ["--record", str(today)]
        elif given.record:
            options.append("--record")
        ran, failed = run_scripts(names, options, minutes)
        if failed:
            print(f"failed: {', '.join(failed)}", file=sys.stderr)
        code = (
            compare("quick" if given.quick else "full", today, BASELINES, ran, given.tolerance) if given.compare else 0
        )
    return 1 if failed else code


if __name__ == "__main__":
    sys.exit(main())
