"""`trimtab resume`: go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trimtab.cli.launch import check_devices, devices_option, launch, processes_to_start
from trimtab.cli.output import json_option
from trimtab.cli.progress import Progress


@click.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@devices_option
@json_option
@click.pass_obj
def command(arguments: Sequence[str], run: Path, devices: int | None, as_json: bool) -> int:
    """Go on with RUN from its newest sound checkpoint.

    With as many processes as before the weights at the end are, bit for bit, those of a run that was never stopped.
    Another number may go on, too: the order of the data stays, dropout draws other numbers.
    """
    if count := processes_to_start(devices):
        return launch(arguments, count, check_devices(count, _device_of(run)))
    from trimtab.cli.results import show_run
    from trimtab.pipeline.train import resume

    with Progress(quiet=as_json) as progress:
        directory = resume(run, progress)
    return show_run(directory, as_json=as_json)


def _device_of(run: Path) -> str:
    """`training.device` of a run that can be resumed.

    Raises:
        RunError: there is no such run.
    """
    from trimtab.config.load import build_recipe
    from trimtab.core.runs import open_run

    return build_recipe(file=open_run(run).recipe).recipe.training.device
