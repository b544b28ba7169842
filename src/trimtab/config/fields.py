"""The fields of a recipe, one after the other, as flags, documents, forms and error messages need them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo as PydanticField

from trimtab.config.recipe import Recipe
from trimtab.core.registry import REGISTRIES

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class FieldInfo:
    """One key of the recipe.

    Args:
        key: dotted key, e.g. `optimizer.learning_rate`.
        type_words: what it takes, in words.
        default: its default; the name, for a section that names a plugin.
        description: the one help text.
        flag: its command-line flag, if it has one of its own.
        choices: the values allowed, where they are listed.
        types: the Python types it takes, null aside; choices count as their own type.
        plugin: for an option of a plugin, the plugin's name.
        required: whether a plugin's option has no default.
    """

    key: str
    type_words: str
    default: Any
    description: str
    flag: str | None = None
    choices: tuple[str, ...] = ()
    types: frozenset[type] = frozenset()
    plugin: str | None = None
    required: bool = False

    @property
    def section(self) -> str:
        """The section it stands in; empty for keys at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The key without its section."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class PluginKind:
    """A section that names a plugin.

    Args:
        kind: `task` or `strategy`: the key, and the kind of the registry.
        default: the name when none is given.
        placeholder: a name that stands for none yet (`auto`), or empty.
        description: what the section is for.
        flag: its flag, or None.
    """

    kind: str
    default: str
    placeholder: str
    description: str
    flag: str | None

    def names(self) -> list[str]:
        """The placeholder, then every registered name."""
        return [*([self.placeholder] if self.placeholder else []), *REGISTRIES[self.kind].names()]

    def options(self, plugin: str) -> list[FieldInfo]:
        """The options of one plugin."""
        return _model_fields(REGISTRIES[self.kind].get(plugin).Options, f"{self.kind}.", plugin)

    def all_options(self) -> list[FieldInfo]:
        """The options of every registered plugin of this kind, the plugins in order of their names."""
        return [field for name in REGISTRIES[self.kind].names() for field in self.options(name)]


def sections() -> dict[str, str]:
    """The plain sections and what they are for, in order."""
    return {name: field.description or "" for name, field in Recipe.model_fields.items() if _is_section(field)}


@cache
def plugin_kinds() -> dict[str, PluginKind]:
    """The sections that name a plugin, in order."""
    found = {}
    for name, field in Recipe.model_fields.items():
        extra = _extra(field)
        if "plugin" in extra:
            found[name] = PluginKind(
                extra["plugin"], extra["default_name"], extra["placeholder"], field.description or "", extra.get("flag")
            )
    return found


@cache
def plain_fields() -> dict[str, FieldInfo]:
    """Every key that does not hang on a plugin, in the order of the recipe."""
    found: list[FieldInfo] = []
    for name, field in Recipe.model_fields.items():
        if _is_section(field):
            found.extend(_model_fields(field.annotation, f"{name}."))
        elif name not in plugin_kinds():
            found.append(_field(name, field))
    return {field.key: field for field in found}


def fields(*, plugins: bool = True) -> Iterator[FieldInfo]:
    """Yield every field of the recipe in order; with `plugins`, a plugin section's choices and options too.

    Naming choices imports the plugins' modules (not torch); without `plugins` nothing is imported.
    """
    plain, kinds = plain_fields(), plugin_kinds()
    for name in Recipe.model_fields:
        if name in kinds:
            kind = kinds[name]
            choices = tuple(kind.names()) if plugins else ()
            words = _join([f"`{choice}`" for choice in choices]) or "text"
            yield FieldInfo(name, words, kind.default, kind.description, kind.flag, choices, frozenset({str}))
            if plugins:
                yield from kind.all_options()
        else:
            yield from (field for key, field in plain.items() if key == name or field.section == name)


def _is_section(field: PydanticField) -> bool:
    is_model = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    return is_model and "plugin" not in _extra(field)


def _extra(field: PydanticField) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _model_fields(model: Any, prefix: str, plugin: str | None = None) -> list[FieldInfo]:
    return [_field(f"{prefix}{name}", field, plugin) for name, field in model.model_fields.items()]


def _field(key: str, field: PydanticField, plugin: str | None = None) -> FieldInfo:
    return FieldInfo(
        key=key,
        type_words=_join(_type_words(field.annotation, field.metadata)),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        description=field.description or "",
        flag=_extra(field).get("flag"),
        choices=_choices(field.annotation),
        types=frozenset(_types(field.annotation)),
        plugin=plugin,
        required=field.is_required(),
    )


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _type_words(annotation: Any, metadata: list[Any]) -> list[str]:
    if _is_union(annotation):
        return [words for part in get_args(annotation) for words in _type_words(part, metadata)]
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        unfolded = [item for entry in extra for item in getattr(entry, "metadata", None) or [entry]]
        return _type_words(inner, [*metadata, *unfolded])
    if get_origin(annotation) is Literal:
        return [f"`{choice}`" for choice in get_args(annotation)]
    if get_origin(annotation) is list:
        items = _join(_type_words(get_args(annotation)[0], []))
        one = [items] if any(isinstance(item, BeforeValidator) for item in metadata) else []
        return [*one, f"list of {items}"]
    if get_origin(annotation) is dict:
        key, value = (_join(_type_words(part, [])) for part in get_args(annotation))
        return [f"mapping of {key} to {value}"]
    words = _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return [words + _range_words(metadata) if annotation in (int, float) else words]


def _range_words(metadata: list[Any]) -> str:
    low = high = ""
    for item in metadata:
        if isinstance(item, annotated_types.Ge):
            low = f"of at least {item.ge}"
        elif isinstance(item, annotated_types.Gt):
            low = f"above {item.gt}"
        elif isinstance(item, annotated_types.Le):
            high = f"at most {item.le}"
        elif isinstance(item, annotated_types.Lt):
            high = f"below {item.lt}"
    if low.startswith("of at least") and high.startswith("at most"):
        return f" from {low.removeprefix('of at least ')} to {high.removeprefix('at most ')}"
    bounds = " and ".join(part for part in (low, high) if part)
    return f" {bounds}" if bounds else ""


def _join(parts: list[str]) -> str:
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The literals of a field that takes nothing else."""
    parts = [
        part for part in (get_args(annotation) if _is_union(annotation) else [annotation]) if part is not type(None)
    ]
    if all(get_origin(part) is Literal for part in parts):
        return tuple(str(choice) for part in parts for choice in get_args(part))
    return ()


def _types(annotation: Any) -> Iterator[type]:
    if _is_union(annotation):
        for part in get_args(annotation):
            yield from _types(part)
    elif get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    elif get_origin(annotation) is Literal:
        yield from (type(choice) for choice in get_args(annotation))
    elif annotation is not type(None):
        origin = get_origin(annotation) or annotation
        if isinstance(origin, type):
            yield origin
