"""The recipe written out: commented YAML, the reference table of the documents, and a JSON schema."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from trimtab.config.fields import FieldInfo, PluginKind, fields, plain_fields, plugin_kinds, sections
from trimtab.config.recipe import Recipe
from trimtab.config.yaml_text import format_value
from trimtab.core.registry import REGISTRIES

_WIDTH = 100
_YAML_HEADER = """\
# A recipe of Trimtab: every key, with its default. Keep the lines that you change; the others may go.
# Use it with: trimtab train DATA --recipe THIS_FILE
# One key, without a file: trimtab train DATA --set optimizer.learning_rate=3e-5
"""


def recipe_yaml() -> str:
    """Every key with its default under its description, as YAML that reads as the default recipe.

    The options of plugins stand as comments below the section that names the plugin, the default's own as keys.
    """
    blocks = [_YAML_HEADER.rstrip("\n")]
    for name in Recipe.model_fields:
        if name in plugin_kinds():
            lines = list(_plugin_yaml(plugin_kinds()[name]))
        elif name in sections():
            lines = [f"# {sections()[name]}", f"{name}:"]
            for field in plain_fields().values():
                if field.section == name:
                    lines += _field_yaml(field, "  ")
        else:
            lines = _field_yaml(plain_fields()[name], "")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _field_yaml(field: FieldInfo, indent: str, hidden: str = "") -> list[str]:
    """A comment and the key; `hidden` (`# `) makes the key a comment too."""
    about = f"{field.description} ({field.type_words}{f'; {field.flag}' if field.flag else ''})"
    value = "" if field.required else format_value(field.default)
    return [*_comment(about, indent + hidden), f"{indent}{hidden}{field.name}: {value}".rstrip()]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plugin_yaml(kind: PluginKind) -> Iterator[str]:
    yield f"# {kind.description}"
    yield f"{kind.kind}:"
    yield from _field_yaml(_name_field(kind), "  ")
    for name in REGISTRIES[kind.kind].names():
        options = kind.options(name)
        yield from _comment(f"With `name: {name}`. {_summary(kind, name)}{'' if options else ' No options.'}", "  ")
        for field in options:
            yield from _field_yaml(field, "  ", "" if name == kind.default and not field.required else "# ")


def _name_field(kind: PluginKind) -> FieldInfo:
    chosen = next(field for field in fields() if field.key == kind.kind)
    return FieldInfo(f"{kind.kind}.name", chosen.type_words, kind.default, "Which one.", kind.flag, chosen.choices)


def _summary(kind: PluginKind, name: str) -> str:
    """The first line of a plugin's docstring."""
    lines = (REGISTRIES[kind.kind].get(name).__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def recipe_markdown() -> str:
    """The reference of all keys: a heading and a table for each section, in the order of the recipe."""
    parts = []
    for head, group in groupby(fields(), key=_heading):
        parts.append(f"## {head or 'Top level'}\n")
        if head in sections():
            parts.append(f"{sections()[head]}\n")
        rows = list(group)
        parts.append(_table([field for field in rows if field.plugin is None]))
        for plugin in sorted({field.plugin for field in rows if field.plugin}):
            parts.append(f"### {head}: `{plugin}`\n")
            parts.append(f"{_summary(plugin_kinds()[head], plugin)}\n")
            parts.append(_table([field for field in rows if field.plugin == plugin]))
    return "\n".join(parts)


def _heading(field: FieldInfo) -> str:
    head = field.key.partition(".")[0]
    return head if head in sections() or head in plugin_kinds() else ""


def _table(rows: list[FieldInfo]) -> str:
    lines = ["| key | takes | default | flag | description |", "| --- | --- | --- | --- | --- |"]
    for field in rows:
        default = "required" if field.required else f"`{format_value(field.default)}`"
        flag = f"`{field.flag}`" if field.flag else ""
        cells = [f"`{field.key}`", field.type_words, default, flag, field.description]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe file; a plugin section is a name, or a mapping with the options of the plugin named."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    definitions.pop("PluginSection", None)
    schema["title"] = "Trimtab recipe"
    for head, kind in plugin_kinds().items():
        variants: list[dict[str, Any]] = [{"type": "string", "enum": kind.names()}]
        if kind.placeholder:
            variants.append(_object_schema(kind.placeholder, {}, []))
        for name in REGISTRIES[head].names():
            options = REGISTRIES[head].get(name).Options.model_json_schema()
            definitions.update(options.pop("$defs", {}))
            variants.append(_object_schema(name, options.get("properties", {}), options.get("required", [])))
        entry = {"description": kind.description, "default": kind.default, "anyOf": variants}
        schema["properties"][head] = {**entry, **({"flag": kind.flag} if kind.flag else {})}
    return schema


def _object_schema(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, **properties},
        "required": ["name", *required],
        "additionalProperties": False,
    }


__all__ = ["FieldInfo", "fields", "recipe_markdown", "recipe_schema", "recipe_yaml"]
