"""`trimtab train`: from data to a fine-tuned, evaluated model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.launch import check_devices, devices_option, launch, processes_to_start
from trimtab.cli.output import json_option
from trimtab.cli.progress import Progress
from trimtab.core.errors import RecipeError

RECIPE_SUFFIXES = (".yaml", ".yml")


@click.command("train")
@click.argument("data", required=False)
@recipe_flags()
@devices_option
@json_option
@click.pass_obj
def command(
    arguments: Sequence[str], data: str | None, recipe: RecipeArguments, devices: int | None, as_json: bool
) -> int:
    """Fine-tune a model on DATA, evaluate it, and keep it.

    DATA is a CSV, TSV, JSON Lines or Parquet file, a folder with train/validation/test files, a folder of image
    classes, a saved `datasets` directory, or a Hub data-set id; or a recipe (recipe.yaml) that names its data.

    Exit code: 0 done, 2 bad input, 3 the target was not reached, 130 or 143 interrupted (a checkpoint was written).
    """
    recipe, source = with_data(recipe, data)
    if count := processes_to_start(devices):
        return launch(arguments, count, check_devices(count, recipe.resolve().recipe.training.device))
    from trimtab.cli.results import show_run
    from trimtab.pipeline.train import train

    with Progress(quiet=as_json) as progress:
        run = train(recipe.resolve(), source, progress)
    return show_run(run, as_json=as_json)


def with_data(recipe: RecipeArguments, data: str | None) -> tuple[RecipeArguments, str]:
    """Settle whether DATA is data or a recipe, and what the data are.

    Raises:
        RecipeError: two recipes, or no data anywhere.
    """
    if data is not None and Path(data).suffix.lower() in RECIPE_SUFFIXES:
        if recipe.file is not None:
            raise RecipeError(
                f"Two recipes are named: {data} and {recipe.file}.",
                remedy="Name one, or give data in place of the first.",
            )
        recipe, data = RecipeArguments(Path(data), recipe.overrides, recipe.settings), None
    if data is not None:
        recipe = recipe.override(data__path=data)
    source = recipe.resolve().recipe.data.path
    if source is None:
        raise RecipeError("No data were named.", remedy="Name them: trimtab train DATA, or data.path in the recipe.")
    return recipe, source
