"""Where the time of a training step goes, and how far it is from what this machine's matrix products reach.

python benchmarks/speed/step_profile.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from harness import Benchmark, Cases, Figures, Results, Sizes, Variant, command_line
from inside import Loop, loop_of, seconds_of
from ratios import Ratio, summary
from text_sets import settings_of

CASE = "full"
WARM_UP = 3
MOST_STEPS = 30
# Parts of a step by the names of operators; the first that matches takes it.
PARTS = {
    "optimizer and clipping": r"Optimizer|_fused_adam|_foreach|clip|linalg_vector_norm",
    "attention (batched products, softmax)": r"bmm|scaled_dot_product|softmax|flash|flex",
    "matrix products": r"mm$|linear|matmul|gemm|einsum|mkldnn",
    "dropout and random numbers": r"dropout|bernoulli|rand|uniform|exponential_",
    "casts and copies": r"copy|_to$|::to$|clone|contiguous|cat$|pad|empty|fill|zero",
    "embeddings and indexing": r"embedding|index|gather|scatter|select|slice",
    "element by element, norms, reductions": r"aten::",
}
DISPATCH = "Python and dispatch"

ABOUT = """\
## Where a step's time goes

Made by `python benchmarks/speed/step_profile.py`; do not edit by hand. Full fine-tuning of the starter on {rows:,} rows
of SST-2, batches of 32, in the precision that Trimtab takes here; up to 30 steps of one process under the profiler of
torch (which itself lengthens what lies between the operators), and as many without it for the rates. The matrix rate is
what products of [N, 384] × [384, 1536] reach in bfloat16 in the same process, N being the tokens of a step, or 4,096.
Work counts 2 × 3 operations a weight and token for the blocks' matrices, without padding and without attention's own
products.
"""


def measure(settings: Mapping[str, Any], seed: int) -> Figures:
    """Shares of the step, rates, and the fraction of the matrix rate."""
    with loop_of(settings, seed) as loop:
        steps = min(MOST_STEPS, loop.engine.steps_per_epoch)
        loop.ours(0, min(WARM_UP, steps))
        began = time.perf_counter()
        records = loop.ours(0, steps)
        seconds = time.perf_counter() - began
        tokens, padded = (sum(getattr(record, name) for record in records) for name in ("tokens", "padded_tokens"))
        by_tokens, best = matrix_rate(max(1, padded // steps)), matrix_rate(4096)
        reached = 6.0 * matrix_weights(loop) * tokens / seconds
        return {
            "seconds": seconds,
            "precision": loop.engine.precision,
            "steps": steps,
            "shares": shares(loop, steps),
            "padding": 1 - tokens / padded,
            "tokens_per_step": tokens / steps,
            "tokens_per_second": tokens / seconds,
            "samples_per_second": sum(record.weight for record in records) / seconds,
            "matrix_gflops": {"tokens of a step": by_tokens / 1e9, "4096": best / 1e9},
            "reached_gflops": reached / 1e9,
            "fraction": reached / max(by_tokens, best),
        }


def matrix_weights(loop: Loop) -> int:
    """Elements of the matrices that every token passes: those of the blocks, without embeddings and head."""
    blocks = {name for block in loop.parts.loaded.blocks.body for name in block.parameters}
    named = loop.parts.model.named_parameters()
    return sum(parameter.numel() for name, parameter in named if name in blocks and parameter.ndim == 2)


def matrix_rate(rows: int, inner: int = 384, outer: int = 1536, seconds: float = 1.0) -> float:
    """Operations a second of bfloat16 products `[rows, inner]` × `[inner, outer]`, the median of many."""
    left, right = (torch.randn(shape).bfloat16() for shape in ((rows, inner), (inner, outer)))
    for _ in range(3):
        torch.mm(left, right)
    times: list[float] = []
    while sum(times) < seconds:
        times.append(seconds_of(lambda: torch.mm(left, right)))
    return 2.0 * rows * inner * outer / statistics.median(times)


def shares(loop: Loop, steps: int) -> dict[str, float]:
    """Share of the wall time of each part of a step, from the operators' own time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        wall = seconds_of(lambda: loop.ours(0, steps))
    found = dict.fromkeys((*PARTS, DISPATCH), 0.0)
    for event in profiler.key_averages():
        found[part_of(event.key)] += event.self_cpu_time_total / 1e6 / wall
    # What no operator accounts for was spent in Python between them.
    found[DISPATCH] += max(0.0, 1 - sum(found.values()))
    return found


def part_of(operator: str) -> str:
    """The part of a step that an operator belongs to."""
    if not re.match(r"aten::|mkldnn|Optimizer|trimtab::|torch_", operator):
        return DISPATCH
    return next((part for part, pattern in PARTS.items() if re.search(pattern, operator)), DISPATCH)


def cases(sizes: Sizes, _: argparse.Namespace) -> Cases:
    """One process a round."""
    settings = {
        **settings_of("sst-2", sizes.rows, 1),
        "training.batch_size": 32,
        "optimizer.learning_rate": 1e-4,
    }
    return {CASE: [Variant("ours", "Trimtab", "step_profile:measure", {"settings": settings})]}


def table(_: Cases, results: Results) -> str:
    """Shares, then rates, medians over the processes."""
    rounds = results[CASE]["ours"]
    lines = ["| part of a step | share of its time |", "| --- | ---: |"]
    for part in (*PARTS, DISPATCH):
        lines.append(f"| {part} | {statistics.median([figures['shares'][part] for figures in rounds]):.1%} |")
    rates = {
        "precision": rounds[0]["precision"],
        "padding": f"{_median(rounds, 'padding'):.1%}",
        "tokens a step, without padding": f"{_median(rounds, 'tokens_per_step'):,.0f}",
        "tokens/s": f"{_median(rounds, 'tokens_per_second'):,.0f}",
        "samples/s": f"{_median(rounds, 'samples_per_second'):,.0f}",
        "reached in the blocks' matrices": f"{_median(rounds, 'reached_gflops'):,.0f} GFLOP/s",
        **{
            f"matrix rate, N = {size}": f"{statistics.median([f['matrix_gflops'][size] for f in rounds]):,.0f} GFLOP/s"
            for size in rounds[0]["matrix_gflops"]
        },
        "fraction of the better matrix rate": f"{_median(rounds, 'fraction'):.1%}",
    }
    lines += ["", "| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rates.items())]
    return "\n".join(lines)


def _median(rounds: list[Figures], key: str) -> float:
    return statistics.median([figures[key] for figures in rounds])


def ratios(_: Cases, results: Results) -> dict[str, Ratio]:
    """The fraction of the matrix rate, and the share of tokens that are not padding."""
    rounds = results[CASE]["ours"]
    return {
        f"{CASE}/fraction of the matrix rate": summary([figures["fraction"] for figures in rounds]),
        f"{CASE}/tokens without padding": summary([1 - figures["padding"] for figures in rounds]),
    }


if __name__ == "__main__":
    command_line(
        Benchmark("step_profile", ABOUT, Sizes(1600, seeds=1), Sizes(800, rounds=1, seeds=1), cases, table, ratios)
    )
