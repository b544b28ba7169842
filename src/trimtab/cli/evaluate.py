"""`trimtab evaluate`: judge a trained model on labelled data."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import json_option, print_json
from trimtab.core.errors import EXIT_TARGET_MISSED


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data")
@recipe_flags("data.text", "data.label", "evaluation", "training.device", "training.precision")
@json_option
def command(run: Path, data: str, recipe: RecipeArguments, as_json: bool) -> int:
    """Judge the model of RUN on DATA, with intervals and beside the baselines.

    DATA is whatever `trimtab train` takes; of a folder with splits, the test split is used. RUN may also be a model
    directory. Exit code 3 when a --target is not reached. Precision `auto` computes 256 rows and more in bfloat16 where
    the hardware has it and a sample gets the labels of float32; the result names the precision.
    """
    from trimtab.cli.results import show_result
    from trimtab.pipeline.trained import TrainedModel, find_model

    settings = recipe.resolve().recipe
    trained = TrainedModel(find_model(run), settings.training.device, settings.training.precision)
    result, _ = trained.evaluate(data, settings.data, settings.evaluation)
    if as_json:
        print_json(result.to_dict())
    else:
        show_result(result)
    return EXIT_TARGET_MISSED if result.target is not None and not result.target.reached else 0
