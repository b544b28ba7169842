"""Runs of Trimtab as processes of their own, whose results are kept: what the benchmarks of strategies are made from.

A job is a name, a seed and recipe keys. Its result goes to a line of a JSON Lines file; a job that stands there is not
run again, so that a benchmark can be stopped and continued, and its tables remade without running anything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TRIMTAB_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        name: row of the table.
        case: data set.
        seed: the run's seed.
        settings: recipe keys by dotted name.
    """

    name: str
    case: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it from all others of its file."""
        return f"{self.case}/{self.name}/{self.seed}"


def subset(name: str, files: dict[str, str], rows: dict[str, int], label: str) -> Path:
    """A folder with so many rows of each split, the same every time; made when first asked for.

    Args:
        name: of the folder, below the temporary directory.
        files: split -> file below the folder of data.
        rows: split -> most rows; all where a split is not named. A split without a file of its own is taken from
            `train`.
        label: column by which the rows are drawn.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split

    folder = (
        Path(tempfile.gettempdir()) / "trimtab-benchmarks" / "-".join([name, *(f"{k}{v}" for k, v in rows.items())])
    )
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    frames = {
        split: pd.read_csv(DATA / file, sep="\t" if file.endswith("tsv") else ",") for split, file in files.items()
    }
    for split, count in rows.items():
        if split not in frames:
            frames["train"], frames[split] = train_test_split(
                frames["train"], test_size=count, random_state=0, stratify=frames["train"][label]
            )
        elif count < len(frames[split]):
            frames[split] = train_test_split(
                frames[split], train_size=count, random_state=0, stratify=frames[split][label]
            )[0]
    for split, frame in frames.items():
        frame.to_csv(folder / f"{split}.csv", index=False)
    (folder / "done").touch()
    return folder


def run_jobs(jobs: Iterable[Job], results: Path, workers: int = 1) -> None:
    """Run what is missing in `results`, `workers` jobs at a time; where there are several, each has one thread."""
    known = read(results)
    results.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if workers > 1 else {})}

    def run_one(job: Job) -> None:
        began = time.perf_counter()
        command = [sys.executable, __file__, json.dumps(asdict(job))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            print(f"{job.key}: failed\n{done.stderr[-3000:]}", file=sys.stderr, flush=True)
            return
        with open(results, "a", encoding="utf-8") as file:
            file.write(done.stdout.splitlines()[-1] + "\n")
        print(f"{job.key}: {time.perf_counter() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run_one, [job for job in jobs if job.key not in known]))


def read(results: Path) -> dict[str, dict[str, Any]]:
    """The results in a file, by key; none where there is no file."""
    if not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: line for line in lines}


def run(job: Job) -> dict[str, Any]:
    """Run one job in this process."""
    import trimtab

    with tempfile.TemporaryDirectory() as folder:
        finished = trimtab.train(settings={**job.settings, "seed": job.seed, "output": f"{folder}/run"})
        evaluation = json.loads((finished.path / "evaluation.json").read_text(encoding="utf-8"))
        retention = finished.path / "retention.json"
        start = next(event for event in finished.events if event["type"] == "start")
        steps = [event for event in finished.events if event["type"] == "step"]
        return {
            "key": job.key,
            "metrics": evaluation["metrics"],
            "rows": evaluation["rows"],
            "seconds": evaluation["seconds"],
            "steps": len(steps),
            "seconds_per_step": statistics.median(event["seconds"] for event in steps),
            "parameters": start["parameters"],
            "trained_parameters": start["trained_parameters"],
            "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "retention": json.loads(retention.read_text(encoding="utf-8")) if retention.exists() else None,
            "cpu_seconds": time.process_time(),
            "notes": evaluation["notes"],
        }


def machine_line() -> str:
    """The machine, its threads, and the versions that a benchmark ran with, in a few words."""
    import torch
    import transformers

    from trimtab.core.devices import hardware

    found = hardware()
    accelerators = ", ".join(found["accelerators"]) or "no GPU"
    return (
        f"{found['cores']} cores ({found['processor']}), {found['threads']} threads, {found['memory_gib']} GiB, "
        f"{accelerators}; torch {torch.__version__}, transformers {transformers.__version__}"
    )


def write_section(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks `<!-- begin NAME -->` and `<!-- end NAME -->` of a page, or at its end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    if begin not in before:
        before = f"{before.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    head, _, rest = before.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def command_line(
    summary: str,
    jobs: Callable[[int], list[Job]],
    table: Callable[[int], str],
    results: Path,
    section: str,
    about: str,
) -> None:
    """Run a benchmark of several seeds, print its table, and write its section of a page.

    Args:
        summary: one line on the benchmark, for `--help`.
        jobs: the jobs of so many seeds.
        table: the table of so many seeds, from what was run.
        results: file of the results.
        section: name of the section.
        about: what stands above the table; `{seeds}` is their number.
    """
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, help="page whose section is written anew")
    parser.add_argument("--table", action="store_true", help="only print the table of what was run")
    given = parser.parse_args()
    if not given.table:
        run_jobs(jobs(given.seeds), results, given.workers)
    made = table(given.seeds)
    print(made)
    if given.output:
        write_section(given.output, section, f"{about.format(seeds=given.seeds)}\n{made}")


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is NaN for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="the job as JSON")
    print(json.dumps(run(Job(**json.loads(parser.parse_args().job)))))
