"""`trimtab cache`: what is kept on disk for later runs, and how to be rid of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import json_option, print_json, print_table
from trimtab.core.cache import MIB, DiskCache, cache_folder, clear, kinds
from trimtab.core.errors import RecipeError, nearest

ALL = "all"


@click.command("cache")
@click.option(
    "--clear", "what", metavar="[KIND]", is_flag=False, flag_value=ALL, help="Remove what is kept: of KIND, or all."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder of the cache, where the recipe names one (cache.folder).",
)
@json_option
def command(what: str | None, folder: Path | None, as_json: bool) -> None:
    """List what is kept on disk for later runs, or remove it.

    Tokens, decoded images, outputs of frozen blocks, searches of the data report, baselines, and what was measured of
    pretrained models. All of it is made anew where it is missing. The folder is that of the environment variable
    TRIMTAB_CACHE, or ~/.cache/trimtab.
    """
    place = cache_folder(None if folder is None else str(folder))
    found = kinds(place)
    if what is not None:
        found = found if what == ALL else [_named(what, found)]
    summaries = [_summary(cache) for cache in found]
    for cache in found if what is not None else ():
        clear(cache)
    if as_json:
        print_json({"folder": str(place), "kinds": summaries, "cleared": what is not None})
    elif not summaries:
        click.echo(f"Nothing is kept in {place}.")
    else:
        print_table(
            ["kind", "entries", "MiB", "last used"],
            [[*_cells(summary)] for summary in summaries],
            title=f"Removed from {place}" if what is not None else str(place),
            numeric=["entries", "MiB"],
        )


def _named(name: str, found: list[DiskCache]) -> DiskCache:
    """The cache of a kind.

    Raises:
        RecipeError: there is none.
    """
    names = [cache.path.name for cache in found]
    if name not in names:
        raise RecipeError(
            f"Nothing of the kind {name!r} is kept.{nearest(name, names)}",
            remedy=f"There is: {', '.join(names) or 'nothing at all'}.",
        )
    return found[names.index(name)]


def _summary(cache: DiskCache) -> dict[str, Any]:
    entries = cache.entries()
    return {
        "kind": cache.path.name,
        "entries": len(entries),
        "mib": round(sum(size for _, size, _ in entries) / MIB, 2),
        "last_used": max((used for _, _, used in entries), default=None),
    }


def _cells(summary: dict[str, Any]) -> list[Any]:
    used = summary["last_used"]
    day = None if used is None else datetime.fromtimestamp(used).strftime("%Y-%m-%d %H:%M")
    return [summary["kind"], summary["entries"], f"{summary['mib']:,.1f}", day]
