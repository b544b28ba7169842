"""From files, flags and Python arguments to one checked recipe that knows where each value came from.

Layers, the later over the earlier: defaults, `base` (Python), `file`, `overrides` and `settings` (command line). Every
fault of every layer is collected, and one `RecipeError` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trimtab.config import problems as words
from trimtab.config.fields import PluginKind, plain_fields, plugin_kinds
from trimtab.config.goals import goal_problems
from trimtab.config.layers import PLACES, Given, Layer, explicit_values, file_layer, make_layer, settings_layer
from trimtab.config.origins import Origin, ResolvedRecipe, flatten, recipe_text, write_recipe
from trimtab.config.plugins import PluginSection, parse_options
from trimtab.config.recipe import Recipe
from trimtab.config.yaml_text import describe_value
from trimtab.core.errors import RecipeError, nearest
from trimtab.core.registry import REGISTRIES


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
    layers: list[Layer] = []
    if base is not None:
        values = explicit_values(base) if isinstance(base, Recipe) else base
        layers.append(make_layer(values, "python", {}, problems))
    if file is not None:
        layers.append(file_layer(file, problems))
    layers.append(make_layer(overrides or {}, override_origin, {}, problems))
    layers.append(settings_layer(settings, problems))
    return _resolve(layers, problems)


def with_inferred(resolved: ResolvedRecipe, values: Mapping[str, Any]) -> ResolvedRecipe:
    """`resolved` with the values that were worked out for dotted keys, e.g. `{"optimizer.learning_rate": 1e-4}`.

    Raises:
        RecipeError: a value does not fit its key, or an option given does not fit the task that was inferred.
    """
    problems: list[str] = []
    current = resolved.values()
    given = {
        key: Given(current[key], origin, PLACES.get(origin, origin))
        for key, origin in resolved.origins.items()
        if origin != "default"
    }
    return _resolve([given, make_layer(values, "inferred", {}, problems)], problems)


def _resolve(layers: Sequence[Layer], problems: list[str]) -> ResolvedRecipe:
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
    problems.extend(goal_problems(given))
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


def _merge(layers: Sequence[Layer]) -> Layer:
    """Later layers over earlier ones; naming another plugin drops the options that were given for the one before."""
    merged: Layer = {}
    for layer in layers:
        for head, kind in plugin_kinds().items():
            before, now = merged.get(head), layer.get(head)
            if before and now and before.value not in (now.value, kind.placeholder or None):
                merged = {key: item for key, item in merged.items() if not key.startswith(f"{head}.")}
        merged.update(layer)
    return merged


def _plugin_section(kind: PluginKind, given: Layer, problems: list[str]) -> PluginSection | None:
    """The section with every option filled in, or None after telling the problems."""
    head = kind.kind
    item = given.get(head, Given(kind.default, "default", "default"))
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
        problems.extend(_unfit_options(kind, given))
        return PluginSection(name=str(name), options={key: entry.value for key, entry in options.items()})
    section = PluginSection(name=name, options={key: entry.value for key, entry in options.items()})
    try:
        return PluginSection(name=name, options=parse_options(head, section).model_dump(mode="json"))
    except ValidationError as error:
        problems.extend(_option_words(kind, name, error, given))
        return None


def _unfit_options(kind: PluginKind, given: Layer) -> Iterator[str]:
    """Values of options that no plugin would take, while it is open which plugin it will be."""
    plugins = REGISTRIES[kind.kind].names()
    for field in {field.key: field for field in kind.all_options()}.values():
        if field.key in given and not any(_takes(kind, plugin, field.key, given) for plugin in plugins):
            yield words.wrong_value(field, given[field.key].value, given[field.key].where)


def _takes(kind: PluginKind, plugin: str, key: str, given: Layer) -> bool:
    """Whether a plugin has the option and takes its value."""
    if key not in {field.key for field in kind.options(plugin)}:
        return False
    section = PluginSection(name=plugin, options={key.partition(".")[2]: given[key].value})
    try:
        parse_options(kind.kind, section)
    except ValidationError as error:
        return key not in words.faults(error, (kind.kind,))
    return True


def _option_words(kind: PluginKind, plugin: str, error: ValidationError, given: Layer) -> Iterator[str]:
    known = {field.key: field for field in kind.options(plugin)}
    for key, message in words.faults(error, (kind.kind,)).items():
        item = given.get(key, Given(None, None, ""))
        if key in known and not message:
            yield words.wrong_value(known[key], item.value, item.where)
        elif key in known or key == kind.kind:
            yield f"{words.at(key, item.where)}: {message}."
        else:
            yield words.unknown_option(kind.kind, plugin, key, item.where)


def _words_of(error: ValidationError, given: Layer) -> Iterator[str]:
    for key, message in words.faults(error).items():
        item = given.get(key, Given(None, None, ""))
        if message:
            yield f"{words.at(key, item.where)}: {message}." if key else f"{message}."
        elif key in plain_fields():
            yield words.wrong_value(plain_fields()[key], item.value, item.where)


def _origins(recipe: Recipe, given: Layer) -> dict[str, Origin]:
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
