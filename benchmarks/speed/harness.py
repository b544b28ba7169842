"""What all benchmarks of speed share: variants that take turns, each in a process of its own, and what comes of them.

A benchmark names cases, and in each case the variants to compare. A round runs every variant once, one after the other
(A, B, A, B, …), as fresh processes of one parent with the same environment, so that a machine whose speed drifts does
not favour one of them. A variant with `again` runs twice in a row on one cache: the first run finds it empty, the
second finds what the first has left. Every figure is a line of a JSON Lines file; what stands there is not run again.

Importing this module makes the modules of the folder above importable.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for _folder in (HERE.parent, HERE):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from jobs import machine_line, read, write_section  # noqa: E402
from ratios import Ratio, merged  # noqa: E402

RESULTS = HERE.parent / "results" / "speed"
BASELINES = HERE.parent / "baselines.json"
AGAIN = "-again"

Figures = dict[str, Any]
Results = dict[str, dict[str, list[Figures]]]


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Args:
        rows: training rows (texts, where nothing is trained).
        epochs: passes over them.
        rounds: times that every variant runs.
        seeds: seeds that the rounds take in turn.
    """

    rows: int
    epochs: int = 1
    rounds: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class Variant:
    """One of the things compared.

    Args:
        name: short, for the raw figures and the names of ratios; those of Trimtab begin with `ours`.
        title: for the table.
        function: `module:function`, called in a fresh process with the options and `seed`; gives figures.
        options: its keyword arguments, as JSON knows them.
        again: title of a second run on the cache that the first has left; none when absent.
    """

    name: str
    title: str
    function: str
    options: Mapping[str, Any]
    again: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows that it gives."""
        return (self.name,) if self.again is None else (self.name, self.name + AGAIN)

    def key(self, case: str, name: str, number: int) -> str:
        """What the figures of a round are kept under; other options give another key."""
        text = json.dumps([self.function, dict(self.options)], sort_keys=True)
        return f"{case}/{name}/{hashlib.sha256(text.encode()).hexdigest()[:8]}/{number}"


Cases = dict[str, list[Variant]]


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder.

    Args:
        name: of the script and of its section.
        about: text above the table, with `{rows}`, `{epochs}`, `{rounds}`, `{seeds}`.
        full, quick: what is run without and with `--quick`.
        cases: the variants of each case.
        table: what the figures say, in Markdown.
        ratios: the figures that a later run is compared with, by name; above 1 is better for us.
        arguments: adds options of its own to the command line.
    """

    name: str
    about: str
    full: Sizes
    quick: Sizes
    cases: Callable[[Sizes, argparse.Namespace], Cases]
    table: Callable[[Cases, Results], str]
    ratios: Callable[[Cases, Results], dict[str, Ratio]]
    arguments: Callable[[argparse.ArgumentParser], object] | None = None


def run_rounds(cases: Cases, sizes: Sizes, raw: Path) -> Results:
    """Run what `raw` does not hold, variant after variant and round after round, and give all figures."""
    known = read(raw)
    raw.parent.mkdir(parents=True, exist_ok=True)
    results: Results = {case: {n: [] for v in variants for n in v.names} for case, variants in cases.items()}
    for number in range(sizes.rounds):
        for case, variants in cases.items():
            for variant in variants:
                keys = [variant.key(case, name, number) for name in variant.names]
                if any(key not in known for key in keys):
                    for key, figures in zip(keys, execute(variant, number % sizes.seeds), strict=True):
                        known[key] = {"key": key, **figures}
                        with open(raw, "a", encoding="utf-8") as file:
                            file.write(json.dumps(known[key]) + "\n")
                for name, key in zip(variant.names, keys, strict=True):
                    results[case][name].append(known[key])
    return results


def execute(variant: Variant, seed: int) -> list[Figures]:
    """Run a variant in a fresh process with an empty cache; once more on that cache where it has `again`.

    Raises:
        SystemExit: the process failed.
    """
    found = []
    job = json.dumps({"function": variant.function, "options": {**variant.options, "seed": seed}})
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as cache:
        environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **os.environ, "TRIMTAB_CACHE": cache}
        for name in variant.names:
            began = time.perf_counter()
            command = [sys.executable, __file__, job]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            whole = time.perf_counter() - began
            if done.returncode:
                raise SystemExit(f"{name} failed ({variant.function}, seed {seed}):\n{done.stderr[-4000:]}")
            found.append({**json.loads(done.stdout.splitlines()[-1]), "whole_seconds": whole, "seed": seed})
            short = {key: value for key, value in found[-1].items() if isinstance(value, int | float)}
            print(f"{name}: {json.dumps(short)}", file=sys.stderr, flush=True)
    return found


def command_line(benchmark: Benchmark) -> None:
    """Run a benchmark as its command line says: print its tables, write its section, keep its ratios."""
    parser = _parser(benchmark)
    given = parser.parse_args()
    sizes = chosen_sizes(benchmark.quick if given.quick else benchmark.full, given)
    if given.record == BASELINES and (given.rows or given.epochs):
        parser.error("ratios of other sizes cannot be compared with the committed ones: leave out --rows and --epochs")
    raw = given.raw
    if raw is None:
        # A quick run tells of the code as it is now, and finds no older figures.
        raw = Path(tempfile.mkdtemp()) / "raw.jsonl" if given.quick else RESULTS / f"{benchmark.name}.jsonl"
    if given.fresh:
        raw.unlink(missing_ok=True)
    cases = benchmark.cases(sizes, given)
    results = run_rounds(cases, sizes, raw)
    machine = machine_line()
    about = benchmark.about.format(**vars(sizes)).strip()
    text = f"{about}\n\n{benchmark.table(cases, results)}\n\nMachine: {machine}. {sizes.rounds} round(s).\n"
    print(text)
    if given.output:
        write_section(given.output, f"speed-{benchmark.name}", text)
    if given.record:
        record(given.record, "quick" if given.quick else "full", benchmark, cases, results, machine)


def chosen_sizes(sizes: Sizes, given: argparse.Namespace) -> Sizes:
    """The sizes with what the command line names; as many rounds as there are seeds at least."""
    wanted = {name: getattr(given, name) for name in ("rows", "epochs", "rounds", "seeds")}
    sizes = replace(sizes, **{name: value for name, value in wanted.items() if value is not None})
    if given.rounds is not None and given.seeds is None:
        return replace(sizes, seeds=min(sizes.seeds, sizes.rounds))
    return replace(sizes, rounds=max(sizes.rounds, sizes.seeds))


def record(page: Path, kind: str, benchmark: Benchmark, cases: Cases, results: Results, machine: str) -> None:
    """Merge a benchmark's ratios into a file of them."""
    ratios = {f"{benchmark.name}/{name}": ratio for name, ratio in benchmark.ratios(cases, results).items()}
    before = json.loads(page.read_text(encoding="utf-8")) if page.exists() else {}
    page.write_text(json.dumps(merged(before, kind, ratios, machine), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=benchmark.about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"times that every variant runs; {benchmark.full.rounds}")
    parser.add_argument("--seeds", type=int, help=f"seeds that the rounds take in turn; {benchmark.full.seeds}")
    parser.add_argument("--rows", type=int, help=f"rows; {benchmark.full.rows}")
    parser.add_argument("--epochs", type=int, help=f"passes over the rows; {benchmark.full.epochs}")
    parser.add_argument("--quick", action="store_true", help=f"less: {benchmark.quick}")
    parser.add_argument("--raw", type=Path, help="JSON Lines file of figures; what it holds is not run again")
    parser.add_argument("--fresh", action="store_true", help="forget what the file of figures holds")
    parser.add_argument("--output", type=Path, help="page whose section is written anew")
    parser.add_argument(
        "--record", type=Path, nargs="?", const=BASELINES, help=f"file the ratios go to; {BASELINES.name} when bare"
    )
    if benchmark.arguments is not None:
        benchmark.arguments(parser)
    return parser


def _work(job: Mapping[str, Any]) -> Figures:
    """Do one run in this process."""
    import torch

    module, _, function = job["function"].partition(":")
    figures: Figures = getattr(importlib.import_module(module), function)(**job["options"])
    return {**figures, "threads": torch.get_num_threads(), "peak_mib": _peak_mib()}


def _peak_mib() -> int | None:
    """Most memory that this process held; None where the system does not tell (`ru_maxrss` begins at the parent's)."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    print(json.dumps(_work(json.loads(sys.argv[1]))))
