"""`trimtab runs`: the runs in a folder, with their state and result."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import format_interval, json_option, print_json, print_table
from trimtab.core.runs import list_runs

DEFAULT_FOLDER = Path("runs")


@click.command("runs")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List the runs in a folder with their results.

    FOLDER is 'runs' when it is not given. The oldest run comes first; the metric stands with its interval.
    """
    nothing_yet = folder == DEFAULT_FOLDER and not folder.exists()
    summaries = [] if nothing_yet else list(list_runs(folder))
    if as_json:
        print_json({"folder": str(folder), "runs": summaries})
    elif not summaries:
        click.echo(f"No runs in {folder}. Make one with: trimtab train DATA")
    else:
        print_table(
            ["run", "state", "step", "metric", "value", "model", "data", "strategy", "time"],
            [_row(summary) for summary in summaries],
            numeric=["step"],
        )


def _row(summary: dict[str, Any]) -> list[Any]:
    started = summary["time"]
    time = datetime.fromtimestamp(started).strftime("%Y-%m-%d %H:%M") if isinstance(started, int | float) else None
    value = format_interval(summary["value"], summary["low"], summary["high"])
    names = [summary[key] for key in ("model", "data", "strategy")]
    return [summary["run"], summary["state"], summary["step"], summary["metric"], value, *names, time]
