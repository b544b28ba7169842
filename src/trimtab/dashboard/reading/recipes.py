"""The values of a run's `recipe.yaml` with their origins, unchecked, read fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trimtab.core.registry import REGISTRIES
from trimtab.dashboard.reading.plain import mapping, plain, read_bytes, text

ORIGINS_KEY = "origins"
MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """The scalars of YAML 1.2, as recipes are written: PyYAML takes `1e-5` for a text and `no` for a boolean."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)


_SCALARS = [
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("null", r"(?:~|null|Null|NULL|)", "~nN"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
]
for _tag, _pattern, _first in _SCALARS:
    _characters: list[Any] = [*_first, ""] if _tag == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _characters)
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(str(loader.construct_scalar(node)).lstrip("+"), 10)
)


def read_recipe(path: Path) -> dict[str, Any]:
    """The content of a recipe file, nested; empty where it cannot be read."""
    content = read_bytes(path, MOST_BYTES)
    if content is None:
        return {}
    try:
        value = yaml.load(content.decode("utf-8", "replace"), Loader=_Loader)  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}
    return plain(value) if isinstance(value, dict) and _is_small(value) else {}


def _is_small(value: Any) -> bool:
    """Whether a value has no more than `MOST_VALUES` in it: aliases of aliases can stand for more than fit anywhere."""
    waiting, count = [value], 0
    while waiting:
        found = waiting.pop()
        inner = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
        waiting.extend(inner)
        count += len(inner)
        if count > MOST_VALUES:
            return False
    return True


def flat_values(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value. A plugin's name stands under the section's own key: `strategy`, beside `strategy.rank`."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        if key == ORIGINS_KEY:
            continue
        if isinstance(value, dict):
            named = str(key) if key in REGISTRIES else f"{key}.name"
            flat |= {named if name == "name" else f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[str(key)] = value
    return flat


def with_origins(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`key`, `value` and `origin` of each value, in the order of the file."""
    origins = mapping(recipe.get(ORIGINS_KEY))
    return [
        {"key": key, "value": value, "origin": text(origins.get(key), "default")}
        for key, value in flat_values(recipe).items()
    ]
