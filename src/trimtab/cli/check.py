"""`trimtab check`: the data report, without training."""

from __future__ import annotations

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import json_option, print_json
from trimtab.cli.train import with_data
from trimtab.core.errors import EXIT_BAD_INPUT


@click.command("check")
@click.argument("data", required=False)
@recipe_flags("data", "model", "task", "seed")
@json_option
def command(data: str | None, recipe: RecipeArguments, as_json: bool) -> int:
    """Report on DATA before training, as the model would see them.

    Rows, columns, labels, token lengths against the model's maximum, unknown tokens, empty and duplicate rows, the same
    text with different labels, and rows shared by train, validation and test. Exit code 2 where training is refused.
    """
    recipe, source = with_data(recipe, data)
    from trimtab.cli.results import show_report
    from trimtab.pipeline.check import report_on

    resolved = recipe.resolve()
    report = report_on(resolved, source)
    if as_json:
        print_json(report.to_dict())
    else:
        show_report(report)
    return EXIT_BAD_INPUT if report.refusals and not resolved.recipe.data.force else 0
