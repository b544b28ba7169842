"""A diagnosis as the pages show it: each finding with its plots, its evidence and its change of the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trimtab.core.registry import CONDITIONS
from trimtab.evaluation.diagnosis_charts import finding_charts
from trimtab.monitor.findings import Finding, worst_first
from trimtab.monitor.remedy import command_line, recipe_diff
from trimtab.monitor.wording import evidence_rows, how_many, row_cell, row_columns, title_of

MOST_ROWS = 50
"""Suspect rows that a page shows of a finding; the file of the diagnosis holds all."""

HEADLINES = {"act": "act", "warning": "warning", "info": "good to know"}


def diagnosis_view(diagnosis: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the template of a diagnosis takes.

    Args:
        diagnosis: content of `diagnosis.json`: `findings`, `examined` (names), `not_examined` (name -> why); empty
            where nothing was examined.
        recipe: the resolved recipe, dotted or nested; empty where there is none, and then no change of it is shown.

    Returns:
        `known` (whether there is a diagnosis at all), `findings`, `summary` (a sentence), `not_examined`.
    """
    found = worst_first([Finding.from_dict(finding) for finding in diagnosis.get("findings", ())])
    missing = dict(diagnosis.get("not_examined") or {})
    examined = diagnosis.get("examined")
    count = len(CONDITIONS.names()) - len(missing) if examined is None else len(examined)
    return {
        "known": bool(diagnosis),
        "findings": [finding_view(finding, recipe) for finding in found],
        "summary": summary(found, count),
        "not_examined": {title_of(name): str(why) for name, why in missing.items()},
    }


def summary(findings: Sequence[Finding], examined: int) -> str:
    """How many conditions were looked for, and how many findings of each severity there are."""
    looked = f"The doctor looked for {how_many(examined, 'condition')}"
    if not findings:
        return f"{looked} and found nothing."
    counts = {name: sum(finding.severity == name for finding in findings) for name in HEADLINES}
    told = ", ".join(f"{count} × {HEADLINES[name]}" for name, count in counts.items() if count)
    return f"{looked} and found {how_many(len(findings), 'thing')}: {told}."


def finding_view(finding: Finding, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """One finding, its texts unescaped (the template escapes them), its plots as SVG."""
    change = finding.change if recipe else {}
    columns = row_columns(finding.rows)
    return {
        "name": finding.name,
        "title": title_of(finding.name),
        "severity": finding.severity,
        "headline": HEADLINES[finding.severity],
        "since": finding.since,
        "confidence": "over 99 %" if finding.confidence > 0.99 else f"{100 * finding.confidence:.0f} %",
        "message": finding.message,
        "remedy": finding.remedy,
        "source": finding.source,
        "charts": [Markup(chart) for chart in finding_charts(finding)],
        "is_marked": finding.since > 0 and finding.x_label == "step",
        "evidence": list(evidence_rows(finding.evidence)),
        "diff": [(_DIFF_CLASSES[line[:1]], line) for line in recipe_diff(recipe, change)],
        "command": command_line(change),
        "columns": columns,
        "rows": [[row_cell(row, column) for column in columns] for row in finding.rows[:MOST_ROWS]],
        "more_rows": max(0, len(finding.rows) - MOST_ROWS),
    }


_DIFF_CLASSES = {" ": "same", "-": "removed", "+": "added"}
