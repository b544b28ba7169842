"""The diagnosis of a run as one page that opens anywhere, offline: an overview, then each finding with its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trimtab.core.files import write_atomic
from trimtab.evaluation.diagnosis import diagnosis_view
from trimtab.evaluation.diagnosis_charts import overview_charts
from trimtab.evaluation.rendering import render
from trimtab.monitor.coverage import not_examined as lacking
from trimtab.monitor.diagnose import all_conditions
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace

ORIGINS = {
    "trimtab": "a run of Trimtab",
    "trainer_state": "the state of a Hugging Face Trainer",
    "tensorboard": "a TensorBoard log",
    "csv": "a table of losses",
    "trainer": "a run of the Hugging Face Trainer",
    "lightning": "a run of Lightning",
}


def write_diagnosis(
    path: Path,
    trace: Trace,
    findings: Sequence[Finding],
    title: str,
    not_examined: Mapping[str, str] | None = None,
) -> None:
    """Write the page, whole or not at all. Nothing in it comes from outside, and all that it was given is escaped.

    Args:
        path: the file to write.
        trace: the record that was examined.
        findings: what was found in it.
        title: heading, e.g. the name of the run.
        not_examined: name of a condition -> what the record lacks for it; worked out from the record when None.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_atomic(path, render_diagnosis(trace, findings, title, not_examined))


def render_diagnosis(
    trace: Trace, findings: Sequence[Finding], title: str, not_examined: Mapping[str, str] | None = None
) -> str:
    """The page as HTML; see `write_diagnosis`."""
    missing = lacking(trace, all_conditions()) if not_examined is None else dict(not_examined)
    content = {"findings": [finding.to_dict() for finding in findings], "not_examined": missing}
    return render(
        "diagnosis.html.j2",
        title=title,
        diagnosis=diagnosis_view(content, trace.facts.recipe),
        charts=[Markup(chart) for chart in overview_charts(trace)],
        facts=list(_facts(trace)),
    )


def _facts(trace: Trace) -> list[tuple[str, Any]]:
    """What is known of the run, name and value."""
    facts = trace.facts
    planned = "" if facts.total_steps is None else f" of {facts.total_steps:,}"
    rows = ", ".join(f"{count:,} {split}" for split, count in facts.rows.items())
    known = [
        ("record", ORIGINS.get(facts.origin, facts.origin)),
        ("model", facts.model),
        ("strategy", facts.strategy),
        ("rows", rows),
        ("steps", f"{trace.last_step:,}{planned}"),
        ("evaluations", f"{len(trace.evaluations):,}"),
        ("state", "finished" if trace.end or trace.final else "not finished, as far as the record tells"),
    ]
    return [(name, value) for name, value in known if value]
