"""Recipes of runs to be: from an earlier run's recipe, with the changes of a remedy, and written as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from trimtab.core.files import write_atomic
from trimtab.dashboard.failures import Refusal

_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)*")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# What a new run does not take over: its own name.
OWN_KEYS = frozenset({"output"})


def draft_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The values to start another run from: all that are not defaults.

    What was inferred or timed stays as it was, so that the new run differs in what its user changes and nothing else.

    Args:
        rows: `key`, `value` and `origin` of each key of the run's recipe.
    """
    return {row["key"]: row["value"] for row in rows if row.get("origin") != "default" and row["key"] not in OWN_KEYS}


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the changes of a remedy.

    Naming another plugin (`strategy`) drops the options that were given to the one before, as the recipe does it.
    """
    result = dict(values)
    for key, value in changes.items():
        if "." not in key and result.get(key) not in (None, value):
            result = {other: kept for other, kept in result.items() if not other.startswith(f"{key}.")}
    return {**result, **changes}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as the sections of a recipe file; a plugin's name stands as `name` beside its options.

    Raises:
        Refusal: a key is none of a recipe.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        if not _KEY.fullmatch(key):
            raise Refusal(400, f"{key!r} is no key of a recipe.", "See every key with: trimtab recipe")
        head, _, name = key.partition(".")
        if not name and not any(other.startswith(f"{key}.") for other in values):
            result[key] = value
        else:
            result.setdefault(head, {})[name or "name"] = value
    return result


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not a plain word: to readers of YAML 1.2, `3e-5` would be a number."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out, each in its place."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _PLAIN.fullmatch(text) else '"')


_Dumper.add_representer(str, _represent_text)


def recipe_file(values: Mapping[str, Any]) -> str:
    """A recipe file of dotted values.

    Raises:
        Refusal: a key is none of a recipe.
    """
    text = yaml.dump(nested(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return f"# Written by the dashboard from its form.\n{text}"


def write_recipe(path: Path, values: Mapping[str, Any]) -> Path:
    """Write `recipe_file` to `path`.

    Raises:
        Refusal: a key is none of a recipe.
        RunError: it cannot be written.
    """
    write_atomic(path, recipe_file(values))
    return path
