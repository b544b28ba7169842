"""`trimtab diagnose`: what is wrong with a run, ours or of another program."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.output import json_option, print_json

if TYPE_CHECKING:
    from trimtab.monitor.findings import Finding
    from trimtab.monitor.trace import Trace


@click.command("diagnose")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the findings with their plots as one page that opens offline; a file in its place is replaced.",
)
@click.option(
    "--events",
    "as_events",
    is_flag=True,
    help="Print the record, and then the findings, as the lines of an events.jsonl, for programs.",
)
@json_option
def command(run: Path, html: Path | None, as_events: bool, as_json: bool) -> int:
    """Say what is wrong with RUN, ours or of another program, going on or ended.

    RUN is a run directory; or the trainer_state.json of a Hugging Face Trainer, or a folder that holds one; or a log of
    TensorBoard (needs the extra 'tensorboard'); or a CSV with columns such as step, train_loss and val_loss.

    The exit code is 0 whatever is found.
    """
    from trimtab.monitor.coverage import not_examined
    from trimtab.monitor.diagnose import all_conditions, diagnose
    from trimtab.monitor.reading import open_trace

    trace = open_trace(run)
    conditions = all_conditions()
    findings = diagnose(trace, conditions)
    missing = not_examined(trace, conditions)
    examined = sorted(condition.name for condition in conditions if condition.name not in missing)
    if html is not None:
        from trimtab.evaluation.diagnosis_page import write_diagnosis

        write_diagnosis(html, trace, findings, run.resolve().name, missing)
    if as_events:
        _print_events(trace, findings)
        return 0
    if as_json:
        print_json(
            {
                "run": str(run),
                "origin": trace.facts.origin,
                "step": trace.last_step,
                "total_steps": trace.facts.total_steps,
                "finished": _is_finished(trace),
                "findings": [finding.to_dict() for finding in findings],
                "examined": examined,
                "not_examined": missing,
            }
        )
        return 0
    from trimtab.cli.findings import show_findings

    click.echo(_summary(run, trace))
    recipe = run / "recipe.yaml" if run.is_dir() else run.parent / "recipe.yaml"
    show_findings(
        findings,
        trace.facts.recipe,
        examined=len(examined),
        recipe_file=recipe if trace.facts.recipe and recipe.is_file() else None,
    )
    _show_missing(missing)
    if html is not None:
        click.echo(f"Written: {html}")
    return 0


def _print_events(trace: Trace, findings: Iterable[Finding]) -> None:
    """One JSON object a line; of the findings, with their plots."""
    from trimtab.core.files import jsonable
    from trimtab.monitor.replay import events_of_trace

    found = ({"type": "finding", "step": trace.last_step, "by": "doctor", **item.to_dict()} for item in findings)
    for events in (events_of_trace(trace), found):
        for event in events:
            # Plain ASCII: it is read by programs, whatever the encoding of the output.
            click.echo(json.dumps(jsonable(event), allow_nan=False))


def _is_finished(trace: Trace) -> bool:
    return bool(trace.end or trace.final)


def _summary(run: Path, trace: Trace) -> str:
    """What was read, in one line."""
    planned = f" of {trace.facts.total_steps:,}" if trace.facts.total_steps else ""
    state = ""
    if trace.facts.origin in ("trimtab", "trainer", "lightning"):
        state = ", finished" if _is_finished(trace) else ", not finished"
    evaluations = len(trace.evaluations)
    counted = f"{evaluations:,} evaluation{'' if evaluations == 1 else 's'}"
    return f"{run}: step {trace.last_step:,}{planned}, {counted}{state}"


def _show_missing(missing: Mapping[str, str]) -> None:
    """The conditions that could not be looked for, those with the same reason together."""
    if not missing:
        return
    from trimtab.monitor.wording import title_of

    groups: dict[str, list[str]] = defaultdict(list)
    for name, why in missing.items():
        groups[why].append(title_of(name))
    click.echo("")
    click.echo("Not looked for:")
    for why, titles in groups.items():
        click.echo(click.style(f"  {', '.join(titles)} ({why})", dim=True))
