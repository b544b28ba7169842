"""`trimtab augment`: training texts beside what augmentation makes of them, without training."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import console, json_option, print_json
from trimtab.cli.train import with_data

if TYPE_CHECKING:
    from rich.text import Text

    from trimtab.pipeline.augment import Pair, Preview

_MARKS = {"original": ("[-", "-]", "red strike"), "augmented": ("{+", "+}", "bold green")}


@click.command("augment")
@click.argument("data", required=False)
@click.option("--rows", type=click.IntRange(min=1), default=10, metavar="N", help="Most rows to show. [default: 10]")
@recipe_flags("data", "model", "task", "seed", "augmentation")
@json_option
def command(data: str | None, rows: int, recipe: RecipeArguments, as_json: bool) -> None:
    """Show training texts of DATA beside what augmentation makes of them.

    The texts are training rows, as the first epoch of a run with this recipe reads them; nothing is trained. Operations
    are turned on in the recipe's section augmentation, for example with --set augmentation.word_dropout=0.1. Words that
    went are struck out (or stand in [-…-]), words that came are bold (or stand in {+…+}).
    """
    recipe, source = with_data(recipe, data)
    from trimtab.pipeline.augment import preview

    found = preview(recipe.resolve(), source, rows)
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


def _show(found: Preview) -> None:
    click.echo(f"on: {', '.join(found.operations)}")
    click.echo(f"changed in an epoch: {found.probability:.0%} of {found.train_rows:,} training rows")
    if found.nothing_found:
        seen = found.nothing_found + len(found.pairs)
        click.echo(f"nothing to change was found in {found.nothing_found:,} of {seen:,} rows drawn for it")
    out = console()
    for pair in found.pairs:
        click.echo(f"\n{pair.source} row {pair.row}, label {pair.label}: {', '.join(pair.operations)}")
        for before, after in _marked(pair, plain=not out.is_terminal or out.no_color):
            out.print(before, soft_wrap=True)
            out.print(after, soft_wrap=True)
    if not found.pairs:
        click.echo("\nNo row was changed.")


def _marked(pair: Pair, *, plain: bool) -> list[tuple[Text, Text]]:
    """The texts before and after, with the words that differ marked."""
    from trimtab.data.augmentation.words import Splitter

    split = Splitter().split
    lines = []
    for before, after in zip(pair.original, pair.augmented, strict=False):
        old, new = split(before).texts, split(after).texts
        codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        gone = [(old[start:end], tag != "equal") for tag, start, end, _, _ in codes]
        come = [(new[start:end], tag != "equal") for tag, _, _, start, end in codes]
        lines.append((_line("  - ", gone, "original", plain), _line("  + ", come, "augmented", plain)))
    return lines


def _line(lead: str, parts: list[tuple[list[str], bool]], side: str, plain: bool) -> Text:
    from rich.text import Text

    opening, closing, style = _MARKS[side]
    line = Text(lead)
    for pieces, differs in parts:
        words = "".join(pieces)
        if differs and words and plain:
            line.append(f"{opening}{words}{closing}")
        else:
            line.append(words, style=style if differs else None)
    return line
