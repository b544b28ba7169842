"""YAML as recipes use it: the core schema of YAML 1.2, safely, with the line of every key.

PyYAML follows YAML 1.1, where `3e-5` is a text, `no` and `on` are booleans, `010` is eight and `1:30` is ninety. Here
numbers are what they look like, and only `true` and `false` are booleans: a label called `no` stays the text `no`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from trimtab.core.errors import RecipeError

_RESOLVERS = [
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("null", r"(?:~|null|Null|NULL|)", "~nN"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
]
_PLAIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


class _Loader(yaml.SafeLoader):
    """Safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Decimal always: a leading zero does not make it octal."""
        return int(str(self.construct_scalar(node)), 10)


for _tag, _pattern, _first in _RESOLVERS:
    _characters: list[Any] = [*_first, ""] if _tag == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _characters)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_recipe_file(path: Path) -> tuple[dict[Any, Any], dict[str, int]]:
    """Read a recipe file.

    Returns:
        The mapping it holds, and for each dotted key the line (from 1) on which it stands.

    Raises:
        RecipeError: the file is missing, unreadable, empty, not text, not YAML, or not a mapping.
    """
    text = _read_text(path)
    if not text.strip():
        raise RecipeError(f"The recipe {path} is empty.", remedy="Make one with: trimtab recipe --output FILE")
    try:
        value, lines = _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"The recipe {path}{place} is not valid YAML: {reason}.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"The recipe {path} is not valid YAML: {error}.") from error
    if value is None:
        raise RecipeError(f"The recipe {path} holds no keys.", remedy="See every key with: trimtab recipe")
    if not isinstance(value, dict):
        raise RecipeError(
            f"The recipe {path} is not a mapping of keys to values: found {describe_value(value)}.",
            remedy="Write lines such as 'seed: 1'. See every key with: trimtab recipe",
        )
    return value, lines


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"Cannot read the recipe {path}: {error.strerror or error}.",
            remedy="Check the name, or make a recipe with: trimtab recipe --output FILE",
        ) from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"The recipe {path} is not text: byte {error.start} (0x{data[error.start]:02x}) is not valid "
            f"{'UTF-16' if encoding == 'utf-16' else 'UTF-8'}.",
            remedy="Save it as UTF-8.",
        ) from error


def _parse(text: str) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: dict[str, int] = {}
        _walk(node, (), (), set(), lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node, path: tuple[str, ...], above: tuple[int, ...], seen: set[int], lines: dict[str, int]
) -> None:
    """Record the line of each key below `node`; refuse a key given twice and a value that holds itself."""
    if id(node) in above:
        raise yaml.constructor.ConstructorError(None, None, "a value refers to itself", node.start_mark)
    if id(node) in seen:
        return
    seen.add(id(node))
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _walk(item, (*path, "[]"), above, seen, lines)
    elif isinstance(node, yaml.MappingNode):
        keys: set[Hashable] = set()
        for key, value in node.value:
            name = str(key.value)
            if isinstance(key, yaml.ScalarNode) and (key.tag, name) in keys:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
            keys.add((key.tag, name))
            lines[".".join((*path, name))] = key.start_mark.line + 1
            _walk(value, (*path, name), above, seen, lines)


def parse_value(text: str) -> Any:
    """The value of `--set key=TEXT`: a YAML scalar, list or mapping; what is no YAML stays the text it is."""
    try:
        return _parse(text)[0]
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def parse_text(text: str) -> Any:
    """As `parse_value`, for a key that holds text: `1` and `true` stay texts, lists become lists of texts."""
    if text in ("", "null", "~"):
        return None
    if text.lstrip()[:1] in ("'", '"', "["):
        try:
            value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (makes texts, lists and mappings only)
        except (yaml.YAMLError, ValueError, RecursionError):
            return text
        return value if isinstance(value, str | list) else text
    return text


def format_value(value: Any) -> str:
    """Write a value on one line, so that reading it gives the same value and type back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    if isinstance(value, int | float):
        # `1.0e-08`: readers of YAML 1.1 take a number without a point for a text.
        return re.sub(r"^(-?[0-9]+)e", r"\1.0e", repr(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(format_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{format_value(key)}: {format_value(item)}' for key, item in value.items())}}}"
    return _format_text(str(value))


def _format_text(text: str) -> str:
    # Quoted where a reader of YAML 1.1 would see a boolean (`no`), too.
    if _PLAIN_TEXT.fullmatch(text) and isinstance(parse_value(text), str) and isinstance(yaml.safe_load(text), str):
        return text
    quoted: str = yaml.dump(text, Dumper=yaml.SafeDumper, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.rstrip("\n")


def describe_value(value: Any) -> str:
    """A value as error messages show it: short, and with its kind where that may be the fault."""
    if isinstance(value, dict):
        return f"a mapping ({', '.join(map(_shorten, list(value)[:3]))}{', …' if len(value) > 3 else ''})"
    if isinstance(value, list | tuple):
        return f"a list ({', '.join(map(_shorten, value[:3]))}{', …' if len(value) > 3 else ''})"
    return _shorten(value)


def _shorten(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return "…"
    shown = repr(value) if isinstance(value, str) else format_value(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def comment(text: str) -> str:
    """`text` on one line, fit to stand behind `# `."""
    return "".join(character if character.isprintable() else "�" for character in " ".join(text.split()))
