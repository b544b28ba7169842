"""Which columns hold the text, the label and the group: as named, else by their names, else by what they look like."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError, nearest
from trimtab.data.column_names import LABEL_TIERS, PAIRS, TEXT_TIERS
from trimtab.data.dataset import Columns
from trimtab.data.problems import Problem, joined, raise_together
from trimtab.data.profiles import Profile, profile
from trimtab.data.tables import RawData

CLEARLY_LONGER = 2.0
TASK_OF_MODALITY = {"text": "text-classification", "image": "image-classification"}


@dataclass(frozen=True)
class Choice:
    """The columns chosen for a role, and why (a note for the user, empty where the user named them)."""

    names: tuple[str, ...]
    note: str = ""


def infer_task(raw: RawData, task: str) -> tuple[str, str]:
    """The task, and a note where it was inferred.

    Raises:
        DataError: the named task needs data of another kind.
    """
    inferred = TASK_OF_MODALITY[raw.modality]
    if task == "auto":
        what = "folders of images" if raw.modality == "image" else "a table of texts"
        return inferred, f"task: {inferred} (the data are {what}; override with --task NAME)"
    if task in TASK_OF_MODALITY.values() and task != inferred:
        needs = "a folder of images a class" if raw.modality == "text" else "a table with a text column"
        raise DataError(
            f"The task {task} needs {needs}, and {raw.name} holds {raw.modality} data.",
            remedy=f"Leave out --task, or set it to {inferred}.",
        )
    return task, ""


def infer_columns(frame: pd.DataFrame, options: DataSection, source: str) -> tuple[Columns, list[str]]:
    """Choose the text, label and group columns of a table.

    Args:
        frame: the raw training table.
        options: the recipe's data section; what it names is taken.
        source: the table's name, for messages.

    Returns:
        The columns, and a note for each choice that was inferred.

    Raises:
        DataError: a named column does not exist; there is no candidate, or several equally good ones. All problems
            are raised together.
    """
    problems = _unknown_names(frame, options, source)
    raise_together(f"{source}: columns that do not exist are named", problems)
    taken = {*(options.text or ()), *filter(None, (options.label, options.group))}
    profiles = {str(name): profile(frame[name], str(name)) for name in frame.columns if name not in taken}
    label: Choice | Problem = Choice((options.label,)) if options.label else _choose_label(profiles, source, taken)
    free = {name: found for name, found in profiles.items() if not (isinstance(label, Choice) and name in label.names)}
    text: Choice | Problem = Choice(tuple(options.text)) if options.text else _choose_text(free, source, label)
    if isinstance(label, Problem) or isinstance(text, Problem):
        found = [choice for choice in (text, label) if isinstance(choice, Problem)]
        raise joined(f"{source}: the columns cannot be told apart", found)
    problems = _clashes(text, label, source)
    raise_together(f"{source}: a column is used twice", problems)
    columns = Columns(text=text.names, label=label.names[0], group=options.group)
    return columns, [choice.note for choice in (text, label) if choice.note]


def _unknown_names(frame: pd.DataFrame, options: DataSection, source: str) -> list[Problem]:
    present = [str(name) for name in frame.columns]
    named = [("--text", name) for name in options.text or ()]
    named += [(key, name) for key, name in (("--label", options.label), ("--group", options.group)) if name]
    return [unknown_column(key, name, present, source) for key, name in named if name not in present]


def unknown_column(key: str, name: str, present: list[str], source: str) -> Problem:
    """The problem of a column that is named and does not exist."""
    listed = ", ".join(map(repr, present))
    return Problem(
        f"{source} has no column {name!r}.{nearest(name, present)} Its columns: {listed}.",
        f"Name an existing column with {key} NAME.",
    )


def _clashes(text: Choice, label: Choice, source: str) -> list[Problem]:
    names = [*text.names, *label.names]
    doubled = sorted({name for name in names if names.count(name) > 1})
    return [
        Problem(
            f"{source}: column {name!r} is named for two purposes.",
            "Name different columns with --text NAME and --label NAME.",
        )
        for name in doubled
    ]


def _by_name(profiles: dict[str, Profile], tiers: tuple[frozenset[str], ...]) -> list[Profile]:
    """The columns of the surest tier that has any."""
    for tier in tiers:
        found = [column for name, column in profiles.items() if name.strip().lower() in tier]
        if found:
            return found
    return []


def _choose_label(profiles: dict[str, Profile], source: str, taken: set[str]) -> Choice | Problem:
    filled = {name: column for name, column in profiles.items() if column.kind != "empty"}
    candidates, why = _by_name(filled, LABEL_TIERS) or _by_name(profiles, LABEL_TIERS), "by its name"
    # A column of texts is no label, whatever it is called.
    plain = [column for column in candidates if not column.looks_like_text]
    candidates = plain or candidates
    if not candidates:
        candidates, why = [column for column in profiles.values() if column.looks_like_label], "few, short values"
    if len(candidates) == 1:
        chosen = candidates[0]
        return Choice(
            (chosen.name,),
            f"label: column {chosen.name!r} ({why}, {chosen.distinct} classes; override with --label NAME)",
        )
    if candidates:
        listed = ", ".join(column.described("label") for column in candidates)
        return Problem(f"{source}: several columns could hold the label: {listed}.", "Choose one with --label NAME.")
    return Problem(
        f"{source}: no label column found among {_listed(profiles, taken)}.",
        "Name it with --label NAME; for classification it holds one class name a row.",
    )


def _choose_text(profiles: dict[str, Profile], source: str, label: Choice | Problem) -> Choice | Problem:
    lowered = {name.strip().lower(): name for name in profiles}
    for first, second in PAIRS:
        if first in lowered and second in lowered:
            pair = (lowered[first], lowered[second])
            return Choice(
                pair,
                f"text: the pair of columns {pair[0]!r} and {pair[1]!r} (by their names; override with --text NAME)",
            )
    strings = {name: column for name, column in profiles.items() if column.kind == "string"}
    candidates, why = _by_name(strings, TEXT_TIERS), "by its name"
    if not candidates:
        candidates, why = _longest([column for column in strings.values() if column.looks_like_text]), "longest texts"
    if not candidates and isinstance(label, Choice) and len(strings) == 1:
        only = next(iter(strings.values()))
        candidates, why = [only] if only.distinct > 0.5 * only.filled else [], "the only other column with words"
    if len(candidates) == 1:
        return Choice((candidates[0].name,), f"text: column {candidates[0].name!r} ({why}; override with --text NAME)")
    if candidates:
        listed = ", ".join(column.described("text") for column in candidates)
        return Problem(f"{source}: several columns could hold the text: {listed}.", "Choose one with --text NAME.")
    taken = set(label.names) if isinstance(label, Choice) else set()
    return Problem(
        f"{source}: no text column found among {_listed(profiles, taken)}.",
        "Name it with --text NAME (twice for pairs of texts).",
    )


def _longest(candidates: list[Profile]) -> list[Profile]:
    """The one candidate whose texts are clearly longer than all others', or else all candidates."""
    ordered = sorted(candidates, key=lambda column: -column.mean_length)
    if len(ordered) > 1 and ordered[0].mean_length >= CLEARLY_LONGER * ordered[1].mean_length:
        return ordered[:1]
    return candidates


def _listed(profiles: dict[str, Profile], taken: set[str]) -> str:
    used = f" ({', '.join(map(repr, sorted(taken)))} used otherwise)" if taken else ""
    return f"{', '.join(map(repr, profiles)) or 'no columns'}{used}"
