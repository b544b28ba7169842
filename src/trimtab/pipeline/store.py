"""What a run directory gets before the first step, and what a resume reads back."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.config.origins import ResolvedRecipe, write_recipe
from trimtab.core.devices import hardware
from trimtab.core.errors import RunError
from trimtab.core.files import disk_error, write_json
from trimtab.core.runs import RunDirectory
from trimtab.data.dataset import Columns, Dataset
from trimtab.pipeline.resolve import anchor_paths

PACKAGES = ("trimtab", "torch", "transformers", "accelerate", "tokenizers", "numpy", "pandas", "scikit-learn")
DATASET_FILE = "dataset.json"


def write_start(run: RunDirectory, resolved: ResolvedRecipe, notes: dict[str, str], dataset: Dataset) -> None:
    """Write the prepared splits, the environment, and last the recipe: with it, the run can be resumed.

    Raises:
        RunError: the disk is full.
    """
    save_dataset(run, dataset)
    write_json(run.environment, environment(resolved, dataset))
    write_recipe(run.recipe, anchor_paths(resolved), notes)


def save_dataset(run: RunDirectory, dataset: Dataset) -> None:
    """Write each split as Parquet and the rest of the data set as JSON below `data/`."""
    try:
        run.data.mkdir(exist_ok=True)
        for name, frame in dataset.splits.items():
            frame.to_parquet(run.data / f"{name}.parquet", index=False)
    except OSError as error:
        raise disk_error(run.data, error) from error
    fields = {
        "splits": list(dataset.splits),
        "columns": asdict(dataset.columns),
        "task": dataset.task,
        "labels": dataset.labels,
        "name": dataset.name,
        "notes": dataset.notes,
        "held_out": dataset.held_out,
        "fingerprint": dataset.fingerprint,
    }
    write_json(run.data / DATASET_FILE, fields)


def read_dataset(run: RunDirectory) -> Dataset:
    """The data set that `save_dataset` wrote.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        fields = json.loads((run.data / DATASET_FILE).read_text(encoding="utf-8"))
        splits = {name: pd.read_parquet(run.data / f"{name}.parquet") for name in fields["splits"]}
        columns = fields["columns"]
        return Dataset(
            splits=splits,
            columns=Columns(**{**columns, "text": tuple(columns["text"])}),
            task=fields["task"],
            labels=tuple(fields["labels"]),
            name=fields["name"],
            notes=tuple(fields["notes"]),
            held_out=tuple(fields["held_out"]),
            fingerprint=fields["fingerprint"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"The prepared data of {run.path} cannot be read: {error}.",
            remedy="The run cannot be resumed; start a new one with its recipe.yaml: trimtab train RUN/recipe.yaml",
        ) from error


def environment(resolved: ResolvedRecipe, dataset: Dataset) -> dict[str, Any]:
    """Versions, hardware, git revision, data fingerprints and seed."""
    recipe = resolved.recipe
    return {
        "run": {
            "model": recipe.model.name,
            "data": recipe.data.path or dataset.name,
            "task": dataset.task,
            "strategy": recipe.strategy.name,
        },
        "seed": recipe.seed,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "hardware": hardware(),
        "git": _git_revision(),
        "data": {"fingerprint": dataset.fingerprint, "rows": {name: len(f) for name, f in dataset.splits.items()}},
    }


def check_disk(path: Path, needed_bytes: int) -> None:
    """Refuse to start where the disk cannot hold the run.

    Raises:
        RunError: too little room, with the figures.
    """
    place = path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise RunError(
            f"The disk of {place} has {free / 1e6:,.0f} MB free; checkpoints and model of this run need about "
            f"{needed_bytes / 1e6:,.0f} MB.",
            remedy="Free some space, choose another place with --output DIR, or keep fewer checkpoints with "
            "--set checkpoint.keep_last=1.",
        )


def check_place(path: Path) -> None:
    """Refuse a directory that could not be made: something on the way is a file, or must not be written.

    Raises:
        RunError: which part of the path, and why.
    """
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise disk_error(path, OSError(errno.ENOTDIR, f"{place} is a file"))
    if not os.access(place, os.W_OK | os.X_OK):
        raise disk_error(path, OSError(errno.EACCES, f"nothing may be written in {place}"))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> dict[str, Any] | None:
    """Revision of the working directory's repository and whether it has changes; None outside of one."""
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": bool(changes)}
