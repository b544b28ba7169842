"""`trimtab recipe`: every option of a run, with its default and what it does."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trimtab.cli.output import json_option, print_json
from trimtab.core.errors import RecipeError
from trimtab.core.files import write_atomic


@click.command("recipe")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE; nothing is printed then."
)
@click.option("--force", is_flag=True, help="Write over FILE when it exists.")
@click.option("--markdown", is_flag=True, help="A reference table in Markdown in place of YAML.")
@json_option
def command(output: Path | None, force: bool, markdown: bool, as_json: bool) -> None:
    """Print a commented recipe with every option and its default.

    The YAML it prints is a recipe: keep the lines you change and use it with 'trimtab train DATA --recipe FILE'. With
    --json it prints the JSON schema of recipes.
    """
    from trimtab.config.render import recipe_markdown, recipe_schema, recipe_yaml

    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other.")
    if as_json and output is None:
        print_json(recipe_schema())
        return
    if as_json:
        text = json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"
    else:
        text = recipe_markdown() if markdown else recipe_yaml()
    if output is None:
        click.echo(text, nl=False)
        return
    _write(output, text, force)
    if as_json:
        print_json({"written": str(output)})
    else:
        click.echo(f"Wrote {output}.", err=True)


def _write(path: Path, text: str, force: bool) -> None:
    if path.is_dir():
        raise RecipeError(f"{path} is a directory.", remedy="Name a file with --output FILE.")
    if path.exists() and not force:
        raise RecipeError(f"{path} exists already.", remedy="Choose another name, or write over it with --force.")
    if not path.parent.is_dir():
        raise RecipeError(f"The folder {path.parent} does not exist.", remedy="Make it first, or name another file.")
    write_atomic(path, text)
