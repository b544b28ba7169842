"""What was given for a recipe, layer by layer: dotted keys from files, settings and mappings, each with its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.config import problems as words
from trimtab.config.fields import FieldInfo, plain_fields, plugin_kinds, sections
from trimtab.config.origins import ORIGINS, ORIGINS_KEY, Origin, flatten
from trimtab.config.plugins import PluginSection
from trimtab.config.recipe import Recipe
from trimtab.config.yaml_text import describe_value, parse_text, parse_value, read_recipe_file

PLACES: dict[Origin, str] = {"flag": "command line", "python": "argument", "inferred": "inferred"}


@dataclass(frozen=True)
class Given:
    """A value that somebody gave: `origin` is None where it is a default unless it differs from it."""

    value: Any
    origin: Origin | None
    where: str


Layer = dict[str, Given]


def explicit_values(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe made in Python that were set, or that differ from the defaults."""
    defaults = flatten(Recipe())
    chosen = {}
    for key, value in flatten(recipe).items():
        head, _, name = key.partition(".")
        holder = getattr(recipe, head) if name and head not in plugin_kinds() else recipe
        was_set = (name or head) in holder.model_fields_set or (head in plugin_kinds() and bool(name))
        if was_set or key not in defaults or value != defaults[key]:
            chosen[key] = value
    return chosen


def file_layer(file: Path, problems: list[str]) -> Layer:
    """The keys of a recipe file; with a mapping `origins` (a run's own recipe), each with the origin it had there.

    Raises:
        RecipeError: the file cannot be read as a mapping.
    """
    content, lines = read_recipe_file(file)
    where = {key: f"{file.name}, line {line}" for key, line in lines.items()}
    if ORIGINS_KEY not in content:
        return make_layer(content, "file", where, problems, file.name)
    origins = content.pop(ORIGINS_KEY) or {}
    layer = make_layer(content, None, where, problems, file.name)
    if not isinstance(origins, dict):
        problems.append(f"{words.at(ORIGINS_KEY, where[ORIGINS_KEY])}: found {describe_value(origins)}, not a mapping.")
        return layer
    for key, origin in origins.items():
        place = where.get(f"{ORIGINS_KEY}.{key}", file.name)
        if key not in layer:
            problems.append(f"{words.at(f'{ORIGINS_KEY}.{key}', place)}: the recipe gives no such key.")
        elif origin not in ORIGINS:
            found = describe_value(origin)
            problems.append(f"{words.at(f'{ORIGINS_KEY}.{key}', place)}: found {found}; allowed: {', '.join(ORIGINS)}.")
        else:
            layer[key] = Given(layer[key].value, origin, layer[key].where)
    return layer


def settings_layer(settings: Sequence[str], problems: list[str]) -> Layer:
    """The keys of `key=value` texts, each value read as YAML, or as it stands where the key holds text."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            problems.append(f"--set {setting}: not of the form key=value, for example optimizer.learning_rate=3e-5.")
            continue
        field = _field_of(key)
        takes_text = field is not None and all(issubclass(kind, str | list) for kind in field.types)
        values[key] = parse_text(text) if takes_text else parse_value(text)
    return make_layer(values, "flag", {}, problems)


def _field_of(key: str) -> FieldInfo | None:
    if key in plain_fields():
        return plain_fields()[key]
    head = key.partition(".")[0]
    options = plugin_kinds()[head].all_options() if head in plugin_kinds() else []
    return next((field for field in options if field.key == key), None)


def make_layer(
    values: Mapping[Any, Any], origin: Origin | None, where: Mapping[str, str], problems: list[str], place: str = ""
) -> Layer:
    """The dotted keys of a mapping whose keys may be nested, dotted, or both."""
    layer: Layer = {}
    place = place or (PLACES.get(origin, "") if origin else "")
    for key, value in _leaves(values, where, place, problems):
        if key in layer:
            problems.append(f"{words.at(key, where.get(key, place))}: given twice.")
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        layer[key] = Given(value, origin, where.get(key) or where.get(key.partition(".")[0]) or place)
    return layer


def _leaves(
    values: Mapping[Any, Any], where: Mapping[str, str], place: str, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        head, _, rest = key.partition(".") if isinstance(key, str) else (repr(key), "", "")
        position = where.get(key, place) if isinstance(key, str) else place
        if head in plugin_kinds():
            yield from _plugin_leaves(head, {rest: value} if rest else value, position, problems)
        elif rest:
            yield f"{head}.{rest}", value
        elif head not in sections():
            yield head, value
        elif isinstance(value, Mapping):
            yield from ((f"{head}.{name}", item) for name, item in value.items())
        elif value is not None:
            problems.append(words.not_a_section(head, value, position))


def _plugin_leaves(head: str, value: Any, where: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, PluginSection):
        value = value.flat()
    if isinstance(value, str):
        yield head, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name == "options" and isinstance(item, Mapping):
                yield from ((f"{head}.{option}", given) for option, given in item.items())
            else:
                yield (head if name == "name" else f"{head}.{name}"), item
    elif value is not None:
        found = f"{words.at(head, where)}: found {describe_value(value)}"
        problems.append(f"{found}; allowed: a name, or a mapping with name and options.")
