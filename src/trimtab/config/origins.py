"""A recipe with the origin of every value, and the file that keeps both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trimtab.config.fields import plugin_kinds
from trimtab.config.plugins import PluginSection
from trimtab.config.recipe import Recipe
from trimtab.config.yaml_text import comment, format_value
from trimtab.core.files import write_atomic

Origin = Literal["default", "inferred", "file", "flag", "python", "autopilot"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
ORIGINS_KEY = "origins"

_HEADER = """\
# The resolved recipe of a run: every value that it used, and where the value came from.
# Do the same again with: trimtab train THIS_FILE --output NEW_DIR
"""


@dataclass(frozen=True)
class ResolvedRecipe:
    """A checked recipe, plugin options filled in.

    Args:
        recipe: the values.
        origins: for every dotted key, where its value came from.
    """

    recipe: Recipe
    origins: dict[str, Origin]

    def values(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of the recipe."""
        return flatten(self.recipe)


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe by dotted key; a plugin's name stands under the section's own key."""
    flat: dict[str, Any] = {}
    for name in Recipe.model_fields:
        value = getattr(recipe, name)
        if isinstance(value, PluginSection):
            flat[name] = value.name
            flat.update({f"{name}.{key}": item for key, item in value.options.items()})
        elif hasattr(value, "model_fields_set"):
            flat.update({f"{name}.{key}": getattr(value, key) for key in type(value).model_fields})
        else:
            flat[name] = value
    return flat


def recipe_text(resolved: ResolvedRecipe, notes: Mapping[str, str] | None = None) -> str:
    """The resolved recipe as YAML: a comment on each line tells the value's origin, and the note for its key.

    The mapping `origins` at the end holds the same for programs, for every key that is not a default. Reading the text
    with `build_recipe` gives an equal `ResolvedRecipe`.
    """
    notes = notes or {}
    lines = [*_value_lines(resolved, notes), f"{ORIGINS_KEY}:  # where each value that is not a default came from"]
    origins = {key: origin for key, origin in resolved.origins.items() if origin != "default"}
    lines += [f"  {format_value(key)}: {origin}" for key, origin in origins.items()]
    if not origins:
        lines[-1] = f"{ORIGINS_KEY}: {{}}"
    return _HEADER + "\n".join(lines) + "\n"


def write_recipe(path: Path, resolved: ResolvedRecipe, notes: Mapping[str, str] | None = None) -> None:
    """Write `recipe_text` to `path`, whole or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_atomic(path, recipe_text(resolved, notes))


def _value_lines(resolved: ResolvedRecipe, notes: Mapping[str, str]) -> Iterator[str]:
    section = ""
    for key, value in resolved.values().items():
        head, _, name = key.partition(".")
        if head in plugin_kinds() and not name:
            name = "name"
        if head != section and name:
            yield f"{head}:"
        section = head
        entry = f"{'  ' if name else ''}{format_value(name or head)}: {format_value(value)}"
        told = ": ".join(part for part in (resolved.origins[key], comment(notes.get(key, ""))) if part)
        yield f"{entry:<40}  # {told}"
