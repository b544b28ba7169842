"""Recipes of runs side by side: the keys that differ, and whether two differ in nothing but the seed.

The files are read as they stand and not checked, so that runs of older versions compare too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trimtab.config.load import build_recipe
from trimtab.config.origins import ORIGINS_KEY
from trimtab.core.errors import RunError

CHOSEN = ("file", "flag", "python")
"""Origins of what a person set; the rest follows from data, model and machine."""
NAMES_NOTHING = ("output",)


@dataclass(frozen=True)
class Recipe:
    """The values of a run's recipe.

    Args:
        values: dotted key -> value; a plugin's name stands under the section's own key.
        chosen: the keys that a person set.
    """

    values: Mapping[str, Any]
    chosen: frozenset[str]


def read_recipe(path: Path) -> Recipe:
    """Read `recipe.yaml` of a run; keys that a run of an older version does not have get their default.

    Raises:
        RunError: the file cannot be read as a recipe.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {error}.", remedy="Restore the file, or leave this run out.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is not a recipe.", remedy="Restore the file, or leave this run out.")
    origins = content.pop(ORIGINS_KEY, None) or {}
    values: dict[str, Any] = {}
    for head, value in content.items():
        if not isinstance(value, dict):
            values[str(head)] = value
            continue
        is_plugin = head in _defaults()
        values.update(
            {str(head) if is_plugin and key == "name" else f"{head}.{key}": item for key, item in value.items()}
        )
    chosen = frozenset(str(key) for key, origin in origins.items() if origin in CHOSEN)
    return Recipe({**_absent(values), **values}, chosen)


def _absent(values: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults for the keys that the values lack; options of another plugin are none of them."""
    return {
        key: default
        for key, default in _defaults().items()
        if key not in values and (key.partition(".")[0] not in _defaults() or "." not in key)
    }


@cache
def _defaults() -> dict[str, Any]:
    return build_recipe().values()


def differing_keys(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Key -> run -> value, for the keys in which the recipes differ; None where a recipe has no such key.

    Keys that a person set in some run come first.
    """
    keys = dict.fromkeys(key for recipe in recipes.values() for key in recipe.values)
    found = {}
    for key in keys:
        values = {name: recipe.values.get(key) for name, recipe in recipes.items()}
        alike = {repr(value) for value in values.values()}
        if len(alike) > 1 and key not in NAMES_NOTHING:
            found[key] = values
    chosen = frozenset().union(*(recipe.chosen for recipe in recipes.values()))
    return dict(sorted(found.items(), key=lambda item: item[0] not in chosen))


def same_but_seed(first: Recipe, second: Recipe) -> bool:
    """Whether two recipes differ in nothing that a person set, the seed and the output folder aside.

    What was inferred follows from the rest, or from timing, which differs from one run to the next.
    """
    keys = (first.chosen | second.chosen) - {"seed", *NAMES_NOTHING}
    return all(first.values.get(key) == second.values.get(key) for key in keys)
