"""From files, flags and Python arguments to one checked recipe that knows where each value came from.

Layers, the later over the earlier: defaults, `base` (Python), `file`, `overrides` and `settings` (command line). Every
fault of every layer is collected, and one `RecipeError` lists them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trimtab.config import problems as words
from trimtab.config.fields import FieldInfo, PluginKind, plain_fields, plugin_kinds, sections
from trimtab.config.origins import (
    ORIGINS,
    ORIGINS_KEY,
    Origin,
    ResolvedRecipe,
    flatten,
    recipe_text,
    write_recipe,
)
from trimtab.config.plugins import PluginSection, parse_options
from trimtab.config.recipe import Recipe
from trimtab.config.yaml_text import describe_value, parse_text, parse_value, read_recipe_file
from trimtab.core.errors import RecipeError, nearest

_WHERE: dict[Origin, str] = {"flag": "command line", "python": "argument", "inferred": "inferred"}


@dataclass(frozen=True)
class _Given:
    """A value that somebody gave: `origin` is None where it is a default unless it differs from it."""

    value: Any
    origin: Origin | None
    where: str


_Layer = dict[str, _Given]


def build_recipe(
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    base: Recipe | Mapping[str, Any] | None = None,
    override_origin: Origin = "flag",
) -> ResolvedRecipe:
    """Build the recipe of a run.

    Args:
        file: a recipe in YAML; the `recipe.yaml` of a run does too, and keeps its origins.
        overrides: dotted key -> value, from flags; texts such as `"3e-5"` are read as the key's type.
        settings: `key=value` texts of `--set`, the value in YAML. They go over `overrides`; the last of a key holds.
        base: values under the file's: a recipe, or a mapping with nested or dotted keys.
        override_origin: origin of `overrides`: `flag`, or `python` for the Python API.

    Raises:
        RecipeError: one error that lists every problem.
    """
    problems: list[str] = []
    layers: list[_Layer] = []
    if base is not None:
        values = _explicit(base) if isinstance(base, Recipe) else base
        layers.append(_layer(values, "python", {}, problems))
    if file is not None:
        layers.append(_file_layer(file, problems))
    layers.append(_layer(overrides or {}, override_origin, {}, problems))
    layers.append(_settings_layer(settings, problems))
    return _resolve(layers, problems)


def with_inferred(resolved: ResolvedRecipe, values: Mapping[str, Any]) -> ResolvedRecipe:
    """`resolved` with the values that were worked out for dotted keys, e.g. `{"optimizer.learning_rate": 1e-4}`.

    Raises:
        RecipeError: a value does not fit its key, or an option given does not fit the task that was inferred.
    """
    problems: list[str] = []
    current = resolved.values()
    given = {
        key: _Given(current[key], origin, _WHERE.get(origin, origin))
        for key, origin in resolved.origins.items()
        if origin != "default"
    }
    return _resolve([given, _layer(values, "inferred", {}, problems)], problems)


def _explicit(recipe: Recipe) -> dict[str, Any]:
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


def _file_layer(file: Path, problems: list[str]) -> _Layer:
    content, lines = read_recipe_file(file)
    where = {key: f"{file.name}, line {line}" for key, line in lines.items()}
    if ORIGINS_KEY not in content:
        return _layer(content, "file", where, problems, file.name)
    origins = content.pop(ORIGINS_KEY) or {}
    layer = _layer(content, None, where, problems, file.name)
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
            layer[key] = _Given(layer[key].value, origin, layer[key].where)
    return layer


def _settings_layer(settings: Sequence[str], problems: list[str]) -> _Layer:
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
    return _layer(values, "flag", {}, problems)


def _field_of(key: str) -> FieldInfo | None:
    if key in plain_fields():
        return plain_fields()[key]
    head = key.partition(".")[0]
    options = plugin_kinds()[head].all_options() if head in plugin_kinds() else []
    return next((field for field in options if field.key == key), None)


def _layer(
    values: Mapping[Any, Any], origin: Origin | None, where: Mapping[str, str], problems: list[str], place: str = ""
) -> _Layer:
    """The dotted keys of a mapping whose keys may be nested, dotted, or both."""
    layer: _Layer = {}
    place = place or (_WHERE.get(origin, "") if origin else "")
    for key, value in _leaves(values, where, place, problems):
        if key in layer:
            problems.append(f"{words.at(key, where.get(key, place))}: given twice.")
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        layer[key] = _Given(value, origin, where.get(key) or where.get(key.partition(".")[0]) or place)
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


def _resolve(layers: Sequence[_Layer], problems: list[str]) -> ResolvedRecipe:
    """Check the merged layers.

    Raises:
        RecipeError: with `problems` and all that is found besides.
    """
    given = _merge(layers)
    nested: dict[str, Any] = {}
    for key, item in given.items():
        head, _, name = key.partition(".")
        if key in plain_fields():
            if name:
                nested.setdefault(head, {})[name] = item.value
            else:
                nested[head] = item.value
        elif head not in plugin_kinds():
            problems.append(words.unknown_key(key, item.where))
    for head, kind in plugin_kinds().items():
        section = _plugin_section(kind, given, problems)
        if section is not None:
            nested[head] = section
    try:
        recipe = Recipe.model_validate(nested)
    except ValidationError as error:
        problems.extend(_words_of(error, given))
    if problems:
        unique = list(dict.fromkeys(problems))
        count = "a problem" if len(unique) == 1 else f"{len(unique)} problems"
        raise RecipeError(
            f"The recipe has {count}.", problems=unique, remedy="See every key and what it takes with: trimtab recipe"
        )
    return ResolvedRecipe(recipe, _origins(recipe, given))


def _merge(layers: Sequence[_Layer]) -> _Layer:
    """Later layers over earlier ones; naming another plugin drops the options that were given for the one before."""
    merged: _Layer = {}
    for layer in layers:
        for head, kind in plugin_kinds().items():
            before, now = merged.get(head), layer.get(head)
            if before and now and before.value not in (now.value, kind.placeholder or None):
                merged = {key: item for key, item in merged.items() if not key.startswith(f"{head}.")}
        merged.update(layer)
    return merged


def _plugin_section(kind: PluginKind, given: _Layer, problems: list[str]) -> PluginSection | None:
    """The section with every option filled in, or None after telling the problems."""
    head = kind.kind
    item = given.get(head, _Given(kind.default, "default", "default"))
    options = {key.partition(".")[2]: entry for key, entry in given.items() if key.startswith(f"{head}.")}
    name, names = item.value, kind.names()
    if not isinstance(name, str) or name not in names:
        hint = nearest(name, names) if isinstance(name, str) else ""
        found = f"{words.at(head, item.where)}: no {head} is called {describe_value(name)}."
        problems.append(f"{found}{hint} Known: {', '.join(names)}.")
    if not isinstance(name, str) or name not in names or name == kind.placeholder:
        known = {field.key for field in kind.all_options()}
        unknown = [(f"{head}.{key}", entry) for key, entry in options.items() if f"{head}.{key}" not in known]
        problems.extend(words.unknown_key(key, entry.where) for key, entry in unknown)
        return PluginSection(name=str(name), options={key: entry.value for key, entry in options.items()})
    section = PluginSection(name=name, options={key: entry.value for key, entry in options.items()})
    try:
        return PluginSection(name=name, options=parse_options(head, section).model_dump(mode="json"))
    except ValidationError as error:
        problems.extend(_option_words(kind, name, error, given))
        return None


def _option_words(kind: PluginKind, plugin: str, error: ValidationError, given: _Layer) -> Iterator[str]:
    known = {field.key: field for field in kind.options(plugin)}
    for key, message in words.faults(error, (kind.kind,)).items():
        item = given.get(key, _Given(None, None, ""))
        if key in known and not message:
            yield words.wrong_value(known[key], item.value, item.where)
        elif key in known or key == kind.kind:
            yield f"{words.at(key, item.where)}: {message}."
        else:
            yield words.unknown_option(kind.kind, plugin, key, item.where)


def _words_of(error: ValidationError, given: _Layer) -> Iterator[str]:
    for key, message in words.faults(error).items():
        item = given.get(key, _Given(None, None, ""))
        if message:
            yield f"{words.at(key, item.where)}: {message}." if key else f"{message}."
        elif key in plain_fields():
            yield words.wrong_value(plain_fields()[key], item.value, item.where)


def _origins(recipe: Recipe, given: _Layer) -> dict[str, Origin]:
    values = flatten(recipe)
    origins: dict[str, Origin] = {}
    for key, value in values.items():
        item = given.get(key)
        if item is None:
            origins[key] = "default"
        elif item.origin is None:
            origins[key] = "default" if value == _default_of(key, values) else "file"
        else:
            origins[key] = item.origin
    return origins


def _default_of(key: str, values: Mapping[str, Any]) -> Any:
    """The default of a key, where it is an option, of the plugin that `values` names."""
    head, _, name = key.partition(".")
    if head not in plugin_kinds():
        return plain_fields()[key].default
    kind = plugin_kinds()[head]
    if not name:
        return kind.default
    if values[head] == kind.placeholder:
        return None
    return next((field.default for field in kind.options(values[head]) if field.key == key), None)


__all__ = ["Origin", "ResolvedRecipe", "build_recipe", "flatten", "recipe_text", "with_inferred", "write_recipe"]
