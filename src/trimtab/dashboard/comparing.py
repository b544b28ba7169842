"""Runs side by side: the recipe keys in which they differ, and which of them are one recipe with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.dashboard.answers import json_text

# Differ from run to run without making the runs different.
OWN_KEYS = frozenset({"output"})
SEED_KEYS = frozenset({"seed"})
NAME_CHARACTERS = 120


def differences(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The keys whose values are not the same in all runs, in the order of the recipe, with the value in each run.

    Args:
        runs: summaries. A run without a recipe has no value of any key, and differs in none.
    """
    known = [run for run in runs if run["values"]]
    keys = dict.fromkeys(key for run in known for key in run["values"] if key not in OWN_KEYS)
    return [
        {"key": key, "values": {run["id"]: run["values"].get(key) for run in known}}
        for key in keys
        if len({json_text(run["values"].get(key)) for run in known}) > 1
    ]


def groups(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ in nothing but their seed, together; each group named by what sets it apart."""
    differing = [row["key"] for row in differences(runs) if row["key"] not in SEED_KEYS]
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        values = {key: run["values"].get(key) for key in differing} if run["values"] else {"run": run["id"]}
        group = found.setdefault(json_text(values), {"name": _name(run, differing), "runs": []})
        group["runs"].append(run["id"])
    return list(found.values())


def _name(run: Mapping[str, Any], keys: Sequence[str]) -> str:
    values = run["values"]
    given = [(key.rpartition(".")[2], values[key]) for key in keys if values.get(key) is not None]
    name = ", ".join(f"{key} {_shown(value)}" for key, value in given) or str(run["name"])
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
