"""`trimtab control`: pause, resume, stop or change a run while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import json_option, message, print_json
from trimtab.core.control import WAIT_SECONDS, ask
from trimtab.core.runs import open_run

# Each command with what it needs as VALUE; the names are those of `core.control`, with hyphens.
VALUES: dict[str, str] = {
    "pause": "",
    "resume": "",
    "stop": "",
    "checkpoint": "",
    "learning-rate": "FACTOR, such as 0.5",
    "remedy": "the name of a FINDING, such as learning_rate_too_high",
}


@click.command("control")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("action", metavar="ACTION", type=click.Choice(list(VALUES)))
@click.argument("value", required=False)
@click.option(
    "--take",
    metavar="REMEDY",
    help="For remedy: the one to apply, where a finding has several. One that ends the training (stop_early) has to be "
    "named.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for the run's answer.",
)
@json_option
def command(run: Path, action: str, value: str | None, take: str | None, wait: float, as_json: bool) -> None:
    """Pause, resume, stop or change RUN while it goes on.

    ACTION is one of these:

    \b
    pause                  wait after the present step
    resume                 let a paused run go on (an ended one: trimtab resume)
    stop                   end with a checkpoint; trimtab resume goes on
    checkpoint             write a checkpoint now
    learning-rate FACTOR   multiply every rate, on top of the schedule
    remedy FINDING         do what the autopilot would do about a finding

    The run answers between two steps. What changes it is part of its checkpoints, so that a run that is stopped and
    resumed goes on with it. Findings and their remedies: docs/doctor.md.

    Exit code: 0 done, or sent and not answered yet; 2 refused, or the run does not go on.
    """
    fields = _fields(action, value, take)
    directory = open_run(run)
    event = ask(directory, action.replace("-", "_"), "cli", wait=wait, **fields)
    if as_json:
        print_json(event)
    elif event["accepted"]:
        click.echo(f"{directory.path}, step {event['step']}: {event['reason']}.")
    else:
        message(f"Asked, and not answered yet: {event['reason']}. The answer will stand in {directory.events}.")


def _fields(action: str, value: str | None, take: str | None) -> dict[str, Any]:
    """The fields of a request, from the words of the command line."""
    needed = VALUES[action]
    if needed and value is None:
        raise click.UsageError(f"{action} needs {needed}.", click.get_current_context())
    if value is not None and not needed:
        raise click.UsageError(f"{action} takes no value; found {value!r}.", click.get_current_context())
    if take is not None and action != "remedy":
        raise click.UsageError(f"--take goes with remedy, not with {action}.", click.get_current_context())
    if action == "remedy":
        return {"finding": value, "remedy": take}
    if action == "learning-rate":
        try:
            return {"factor": float(value or "")}
        except ValueError as error:
            raise click.UsageError(f"{action} needs {needed}; found {value!r}.", click.get_current_context()) from error
    return {}
