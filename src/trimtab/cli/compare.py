"""`trimtab compare`: is the difference between runs beyond chance, and in what do their recipes differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import format_interval, json_option, print_json, print_table

if TYPE_CHECKING:
    from trimtab.evaluation.comparison import Comparison

LONGEST_VALUE = 60


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN [RUN]...")
@click.option("--metric", default="auto", show_default=True, help="Metric to compare; auto takes the first run's.")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Level of the intervals.",
)
@click.option(
    "--samples", type=click.IntRange(100), default=2000, show_default=True, help="Resamples of the paired bootstrap."
)
@json_option
def command(runs: tuple[Path, ...], metric: str, confidence: float, samples: int, as_json: bool) -> None:
    """Say whether finished runs differ beyond chance, and in what their recipes do.

    The first RUN is tested against each other one, on the rows that both were judged on: a paired bootstrap of the
    metric, and McNemar's exact test of the rows predicted right. Runs that differ in nothing but the seed are grouped,
    with the mean and the spread of their metric.
    """
    from trimtab.evaluation.comparison import compare_runs

    found = compare_runs(runs, metric=metric, confidence=confidence, samples=samples)
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found)


def _show(found: Comparison) -> None:
    _show_figures(found)
    _show_differences(found)
    _show_groups(found)
    for pair, adjusted in zip(found.pairs, found.adjusted, strict=True):
        click.echo("")
        click.echo(click.style(pair.sentence, bold=pair.verdict in ("first", "second")))
        if len(found.pairs) > 1:
            click.echo(f"Adjusted for {len(found.pairs)} comparisons: p = {adjusted:.3f}.")
    for name, why in found.refused.items():
        click.echo(f"\nNot tested against {name}: {why}")
    for note in dict.fromkeys((*found.notes, *(note for pair in found.pairs for note in pair.notes))):
        click.echo(click.style(f"Note: {note}", dim=True))


def _show_figures(found: Comparison) -> None:
    names = dict.fromkeys(name for run in found.runs for name in run.metrics)
    ordered = [found.metric, *(name for name in names if name != found.metric)]
    rows = []
    for name in ordered:
        figures = [run.metrics.get(name) for run in found.runs]
        rows.append([name, *(format_interval(x.value, x.low, x.high) if x else None for x in figures)])
    rows.append(["rows", *(f"{run.rows:,} {run.split}" for run in found.runs)])
    print_table(["metric", *(run.name for run in found.runs)], rows, title=f"{found.confidence:.0%} intervals")


def _show_differences(found: Comparison) -> None:
    names = [run.name for run in found.runs]
    rows = [[key, *(_short(values[name]) for name in names)] for key, values in found.differs.items()]
    if rows:
        print_table(["recipe key", *names], rows, title="\nWhere the recipes differ")
    else:
        click.echo("\nThe recipes are the same.")


def _show_groups(found: Comparison) -> None:
    if not found.groups:
        return
    rows = []
    for group in found.groups:
        mean, deviation, low, high = (f"{x:.3f}" for x in (group.mean, group.deviation, group.low, group.high))
        rows.append([group.name, len(group.runs), mean, deviation, f"{low} to {high}"])
    columns = ["recipe", "seeds", f"mean {found.metric}", "deviation", "range"]
    print_table(columns, rows, title="\nSeeds of one recipe", numeric=columns[1:4])
    if found.group_difference is not None:
        click.echo(f"\n{found.group_difference.sentence}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
