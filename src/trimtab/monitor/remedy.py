"""The recipe change of a finding for people: as lines of a YAML diff, and as the flags to type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.config.fields import plain_fields, plugin_kinds
from trimtab.config.yaml_text import format_value, parse_text

KEPT, REMOVED, ADDED = "  ", "- ", "+ "


def recipe_diff(recipe: Mapping[str, Any], change: Mapping[str, Any]) -> list[str]:
    """What a change alters in a recipe, as lines of a diff of its YAML; empty where it alters nothing.

    Args:
        recipe: the resolved recipe, dotted key -> value (as `ResolvedRecipe.values`) or nested; of what it does not
            hold, only the new value is shown.
        change: dotted key -> new value. Naming another plugin (`strategy`) removes the options of the one before.
    """
    old, new = _dotted(recipe), _dotted(change)
    altered: dict[str, dict[str, tuple[str | None, str | None]]] = {}
    plugins = [key for key in new if key in plugin_kinds()]
    for key in dict.fromkeys([*plugins, *_options_that_go(old, new), *new]):
        before = format_value(old[key]) if key in old else None
        after = format_value(new[key]) if key in new else None
        if before != after:
            section, name = _place(key)
            altered.setdefault(section, {})[name] = (before, after)
    return [line for section, entries in altered.items() for line in _section_lines(section, entries)]


def command_line(change: Mapping[str, Any]) -> str:
    """The flags that make the change, fit for a shell: `--learning-rate 2e-05 --set regularization.dropout=0.2`."""
    return " ".join(word for key, value in _dotted(change).items() for word in _words(key, value))


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; a plugin's name stands under the section's own key, as in `ResolvedRecipe.values`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        head, _, name = key.partition(".")
        is_section = not name and (head in plugin_kinds() or _is_plain_section(head))
        if is_section and isinstance(value, Mapping):
            flat |= _dotted({f"{head}.{inner}": item for inner, item in value.items()})
        else:
            flat[head if name == "name" and head in plugin_kinds() else key] = value
    return flat


def _is_plain_section(head: str) -> bool:
    return any(field.section == head for field in plain_fields().values())


def _options_that_go(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Options of plugins that the change replaces by others."""
    for head in plugin_kinds():
        if head in new and head in old and new[head] != old[head]:
            yield from (key for key in old if key.startswith(f"{head}.") and key not in new)


def _place(key: str) -> tuple[str, str]:
    """Section (empty at the top) and name of a key as the YAML has them."""
    head, _, name = key.partition(".")
    if not name:
        return (head, "name") if head in plugin_kinds() else ("", head)
    return head, name


def _section_lines(section: str, entries: Mapping[str, tuple[str | None, str | None]]) -> Iterator[str]:
    indent = "  " if section else ""
    if section:
        yield f"{KEPT}{section}:"
    for name, (before, after) in entries.items():
        if before is not None:
            yield f"{REMOVED}{indent}{name}: {before}"
        if after is not None:
            yield f"{ADDED}{indent}{name}: {after}"


def _words(key: str, value: Any) -> list[str]:
    """The flag of a key and its value, or `--set`, where the key has no flag or the flag cannot say the value."""
    head = key.partition(".")[0]
    field = plain_fields().get(key)
    flag = plugin_kinds()[head].flag if key in plugin_kinds() else field.flag if field else None
    if flag and field and field.types == {bool}:
        # Only what is on by default has a flag that turns it off.
        words = [flag] if value is True else [f"--no-{flag.removeprefix('--')}"] if field.default else None
    elif flag and field and list in field.types:
        words = None
    elif flag and value is not None:
        # A flag takes texts as they are; only `--set` reads quotes.
        words = [flag, shlex.quote(value if isinstance(value, str) else _value_text(value))]
    else:
        words = None
    return words or ["--set", shlex.quote(f"{key}={_value_text(value)}")]


def _value_text(value: Any) -> str:
    # Shells and people prefer 2e-05; the point is for files that readers of YAML 1.1 open.
    if isinstance(value, float) and "e" in repr(value):
        return repr(value)
    return value if isinstance(value, str) and parse_text(value) == value else format_value(value)
