"""`trimtab resume`: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.output import json_option
from trimtab.cli.progress import Progress


@click.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def command(run: Path, as_json: bool) -> int:
    """Go on with RUN from its newest sound checkpoint.

    On one device the weights at the end are, bit for bit, those of a run that was never stopped.
    """
    from trimtab.cli.results import show_run
    from trimtab.pipeline.train import resume

    with Progress(quiet=as_json) as progress:
        directory = resume(run, progress)
    return show_run(directory, as_json=as_json)
