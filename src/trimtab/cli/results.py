"""Results as tables: an evaluation beside its baselines, a finished run, a data report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import format_interval, print_json, print_table
from trimtab.core.errors import EXIT_TARGET_MISSED

if TYPE_CHECKING:
    from trimtab.core.runs import RunDirectory
    from trimtab.evaluation.result import EvalResult, Interval


def show_run(run: RunDirectory, *, as_json: bool) -> int:
    """Show a finished run and what to type next; return the exit code."""
    from trimtab.evaluation.result import EvalResult

    written = json.loads(run.evaluation.read_text(encoding="utf-8"))
    known = EvalResult.__dataclass_fields__
    result = EvalResult.from_dict({key: value for key, value in written.items() if key in known})
    if as_json:
        print_json({"run": str(run.path), "evaluation": written})
    else:
        show_result(result)
        _show_next(run, result)
    return EXIT_TARGET_MISSED if result.target is not None and not result.target.reached else 0


def show_result(result: EvalResult) -> None:
    """The metrics with their intervals beside the baselines, then the verdict."""
    baselines = list(result.baselines)
    rows = [
        [name, _shown(interval), *(_shown(result.baselines[baseline].get(name)) for baseline in baselines)]
        for name, interval in result.metrics.items()
    ]
    title = f"\n{result.rows:,} {result.split} rows, {result.confidence:.0%} intervals"
    print_table(["metric", "fine-tuned", *baselines], rows, title=title)
    click.echo(f"\n{result.verdict}")
    if result.target is not None:
        click.echo(result.target.sentence)
    for note in result.notes:
        click.echo(f"Note: {note}")


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else format_interval(interval.value, interval.low, interval.high)


def _show_next(run: RunDirectory, result: EvalResult) -> None:
    path = shlex.quote(str(run.path))
    example = "photo.jpg" if any("image" in name for name in _task_words(run)) else "'some text'"
    rows = [
        ("Report", f"{run.path}/report.html"),
        ("Predict", f"trimtab predict {path} {example}"),
        ("Judge on other data", f"trimtab evaluate {path} DATA"),
        ("All runs", f"trimtab runs {shlex.quote(str(run.path.parent))}"),
    ]
    click.echo("")
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        click.echo(f"{name:<{width}}  {words}")


def _task_words(run: RunDirectory) -> list[str]:
    description = json.loads((run.model / "trimtab.json").read_text(encoding="utf-8"))
    return [str(description["task"]["name"])]


def show_report(notes: Sequence[str], report: dict[str, Any]) -> None:
    """The data report: how the data were read, their figures, and the findings, the gravest first."""
    for note in notes:
        click.echo(note)
    splits = list(report["rows"])
    click.echo("")
    labels = sorted({label for counts in report["labels"].values() for label in counts})
    rows = [[label, *(report["labels"][split].get(label, 0) for split in splits)] for label in labels]
    rows.append(["all", *(report["rows"][split] for split in splits)])
    print_table(["label", *splits], rows, numeric=splits)
    order = {"refuse": 0, "warning": 1, "info": 2}
    for finding in sorted(report["findings"], key=lambda finding: order[finding["severity"]]):
        colour = {"refuse": "red", "warning": "yellow"}.get(finding["severity"])
        click.echo(click.style(f"{finding['severity']}: ", fg=colour) + finding["message"])
        if finding.get("remedy"):
            click.echo(f"    {finding['remedy']}")
    if not report["findings"]:
        click.echo("Nothing found that stands in the way of training.")
