"""The doctor's findings on a terminal: what is the matter, by which numbers, and what to type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trimtab.core.runs import RunDirectory
    from trimtab.monitor.findings import Finding

STYLES: dict[str, dict[str, Any]] = {
    "act": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
    "info": {"dim": True},
}
MOST_ROWS = 5
LONGEST_TEXT = 100


def show_findings(
    findings: Sequence[Finding],
    recipe: Mapping[str, Any],
    *,
    examined: int | None = None,
    recipe_file: Path | None = None,
) -> None:
    """Print findings with their evidence, remedy, and the command that follows it; or that there are none.

    Args:
        findings: the gravest first.
        recipe: of the run, dotted or nested; empty where there is none (a foreign run), and then no command is shown.
        examined: how many conditions were looked for; all that are known when None.
        recipe_file: the run's recipe, for the command; DATA stands in its place when None.
    """
    from trimtab.core.registry import CONDITIONS
    from trimtab.monitor.wording import how_many

    count = how_many(len(CONDITIONS.names()) if examined is None else examined, "condition")
    if not findings:
        click.echo(f"Nothing found: the doctor looked for {count}.")
        return
    click.echo(f"The doctor looked for {count} and found:")
    source = "DATA" if recipe_file is None else shlex.quote(str(recipe_file))
    if recipe_file is not None and recipe.get("output"):
        # The recipe names the directory of the run that is there already.
        source += " --output NEW_DIR"
    for finding in findings:
        _show_finding(finding, recipe, source)


def show_diagnosis(run: RunDirectory) -> None:
    """The findings at the end of a run, as its `diagnosis.json` has them; nothing where there is no such file."""
    from trimtab.monitor.findings import Finding
    from trimtab.monitor.reading import recipe_values

    diagnosis = read_diagnosis(run)
    if not diagnosis:
        return
    findings = [Finding.from_dict(finding) for finding in diagnosis["findings"]]
    click.echo("")
    show_findings(
        findings,
        recipe_values(run.recipe) if findings else {},
        examined=len(diagnosis["examined"]),
        recipe_file=run.recipe,
    )


def read_diagnosis(run: RunDirectory) -> dict[str, Any]:
    """Content of `diagnosis.json`; empty where the doctor did not look at the run."""
    if not run.diagnosis.is_file():
        return {}
    content: dict[str, Any] = json.loads(run.diagnosis.read_text(encoding="utf-8"))
    return content


def diagnosis_for_programs(run: RunDirectory) -> dict[str, Any]:
    """The diagnosis without what is there to be plotted."""
    diagnosis = read_diagnosis(run)
    plain = [
        {key: value for key, value in finding.items() if key != "series"} for finding in diagnosis.get("findings", ())
    ]
    return {**diagnosis, "findings": plain} if diagnosis else {}


def headline(severity: str, message: str) -> str:
    """The first line of a finding, its severity coloured."""
    return click.style(f"{severity}:", **STYLES.get(severity, {})) + f" {message}"


def _show_finding(finding: Finding, recipe: Mapping[str, Any], source: str) -> None:
    from trimtab.monitor.remedy import command_line
    from trimtab.monitor.wording import short_evidence

    click.echo("")
    click.echo(headline(finding.severity, finding.message))
    since = f"since step {finding.since:,}" if finding.since else "before the first step"
    click.echo(click.style(f"    {', '.join(filter(None, (since, short_evidence(finding.evidence))))}", dim=True))
    if finding.remedy:
        click.echo(f"    {finding.remedy}")
    if finding.change and recipe:
        click.echo(f"    $ trimtab train {source} {command_line(finding.change)}")
    _show_rows(finding)


def _show_rows(finding: Finding) -> None:
    from trimtab.monitor.wording import row_cell, row_columns

    columns = row_columns(finding.rows)
    for row in finding.rows[:MOST_ROWS]:
        cells = ((column, row_cell(row, column, LONGEST_TEXT)) for column in columns)
        click.echo(f"      {'  '.join(f'{column} {cell}' for column, cell in cells if cell)}")
    if len(finding.rows) > MOST_ROWS:
        click.echo(f"      and {len(finding.rows) - MOST_ROWS:,} more in diagnosis.json")
