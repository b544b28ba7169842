"""Faults of a recipe in plain words: what was found where, what is allowed, which key was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from trimtab.config.fields import FieldInfo, plain_fields, plugin_kinds, sections
from trimtab.config.yaml_text import describe_value
from trimtab.core.errors import nearest

# Names that other trainers give to a key of ours, beyond what likeness finds.
_OTHER_NAMES = {
    "lr": "optimizer.learning_rate",
    "per_device_train_batch_size": "training.batch_size",
    "device_batch_size": "training.batch_size",
}


def at(key: str, where: str) -> str:
    """`key (where)`: how a problem begins."""
    return f"{key} ({where})" if where else key


def unknown_key(key: str, where: str) -> str:
    """A key that the recipe does not have, with the one that was probably meant."""
    return f"{at(key, where)}: unknown key.{_hint(key)}"


def unknown_option(kind: str, plugin: str, key: str, where: str) -> str:
    """An option that the named plugin does not have; says so when another plugin of the kind has it."""
    options = plugin_kinds()[kind].options(plugin)
    owners = [field.plugin for field in plugin_kinds()[kind].all_options() if field.key == key]
    if owners:
        hint = f" It is an option of {' and '.join(repr(owner) for owner in owners)}."
    elif options:
        hint = nearest(key, [field.key for field in options]) or _hint(key)
        hint += f" Options: {', '.join(field.name for field in options)}."
    else:
        hint = f"{_hint(key)} It has no options."
    return f"{at(key, where)}: unknown option of the {kind} {plugin!r}.{hint}"


def wrong_value(field: FieldInfo, value: Any, where: str) -> str:
    """A value of a wrong type or out of range."""
    hint = nearest(value, field.choices) if isinstance(value, str) and field.choices else ""
    return f"{at(field.key, where)}: found {describe_value(value)}; allowed: {field.type_words}.{hint}"


def not_a_section(head: str, value: Any, where: str) -> str:
    """A single value where a section stands."""
    example = next((key for key in plain_fields() if key.startswith(f"{head}.")), f"{head}.name")
    found = f"{at(head, where)}: found {describe_value(value)}"
    return f"{found}, but {head} is a section; set a key of it, such as {example}."


def faults(error: ValidationError, prefix: tuple[str, ...] = ()) -> dict[str, str]:
    """Dotted key -> the words of the validator that refused it, or empty for a plain wrong type or range.

    Several faults of one key (a union reports one for each of its parts, a list one for each item) count once. The key
    is empty for a fault of the whole.
    """
    found: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        location = (*prefix, *(str(part) for part in fault["loc"]))
        key = ".".join(location[: 2 if location[:1] and location[0] in (*sections(), *plugin_kinds()) else 1])
        words = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else ""
        if fault["type"] == "missing":
            words = "is required"
        found[key] = found.get(key) or words
    return found


def _hint(key: str) -> str:
    """` Did you mean 'optimizer.learning_rate'?` for the nearest key, in whatever section it stands."""
    options = (field for kind in plugin_kinds().values() for field in kind.all_options())
    known = list(dict.fromkeys([*plain_fields(), *plugin_kinds(), *(field.key for field in options)]))
    name = key.rpartition(".")[2]
    if name in _OTHER_NAMES:
        return f" Did you mean {_OTHER_NAMES[name]!r}?"
    same_name = [candidate for candidate in known if candidate.rpartition(".")[2] == name]
    by_flag = [field.key for field in plain_fields().values() if field.flag == f"--{name.replace('_', '-')}"]
    exact = _closest(key, same_name) or _closest(key, by_flag)
    if exact:
        return f" Did you mean {exact!r}?"
    if "." not in key and (section := difflib.get_close_matches(key, [*sections(), *plugin_kinds()], 1)):
        return f" Did you mean {section[0]!r}?"
    if hint := nearest(key, known):
        return hint
    names = {candidate.rpartition(".")[2]: candidate for candidate in reversed(known)}
    matches = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {names[matches[0]]!r}?" if matches else ""


def _closest(key: str, candidates: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(key, list(candidates), 1, cutoff=0.0)), "")
