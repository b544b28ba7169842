"""`trimtab lr-find`: the learning-rate range test."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import json_option, print_json
from trimtab.cli.progress import Progress
from trimtab.cli.train import with_data

SECTIONS = ("seed", "data", "model", "task", "strategy", "optimizer", "training")


@click.command("lr-find")
@click.argument("data", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("lr-find"),
    show_default=True,
    metavar="DIR",
    help="Folder for the chart (lr_find.svg) and the numbers (lr_find.json); an earlier test in it is written over.",
)
@click.option(
    "--lowest", type=float, metavar="RATE", help="First learning rate; a thousandth of the recipe's by default."
)
@click.option(
    "--highest", type=float, metavar="RATE", help="Last learning rate; a thousand times the recipe's by default."
)
@click.option("--steps", type=int, default=100, show_default=True, help="Optimizer steps of the test.")
@recipe_flags(*SECTIONS)
@json_option
def command(
    data: str | None,
    recipe: RecipeArguments,
    output: Path,
    lowest: float | None,
    highest: float | None,
    steps: int,
    as_json: bool,
) -> int:
    """Test on DATA which learning rates are of use, and suggest one.

    The rate grows from step to step, by the recipe's strategy and optimizer, until the loss gets out of hand (Smith
    2017). The model is not kept. A suggestion is a start, not the best rate: it comes from a few steps.
    """
    recipe, source = with_data(recipe, data)
    from trimtab.core.devices import process_index
    from trimtab.pipeline.lr_find import CHART, NUMBERS, find_learning_rate

    with Progress(quiet=as_json) as progress:
        found = find_learning_rate(
            recipe.resolve(), source, output, lowest=lowest, highest=highest, steps=steps, listener=progress
        )
    if process_index() > 0:
        return 0
    if as_json:
        print_json({"output": output, **found.to_dict()})
        return 0
    suggestion = found.suggestion
    click.echo(f"Ended after {len(found.rates)} steps: {found.stopped}.")
    if suggestion.recommended is None:
        click.echo(f"No suggestion. {suggestion.reason}")
    else:
        click.echo(f"Steepest fall of the loss     {suggestion.steepest:.2g}")
        click.echo(f"A tenth of the lowest point   {suggestion.tenth_of_minimum:.2g}")
        click.echo(f"Suggested                     --learning-rate {suggestion.recommended:.2g}")
        click.echo(suggestion.reason)
    click.echo(f"Written: {output / CHART}, {output / NUMBERS}")
    return 0
