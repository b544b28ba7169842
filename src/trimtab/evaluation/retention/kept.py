"""The state of a pretrained model, kept on disk: every run that starts from the same weights compares with it."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.cache import DiskCache, content_key
from trimtab.data.image_store import file_key
from trimtab.evaluation.retention.material import RetentionMaterial
from trimtab.evaluation.retention.state import ClassLosses, RetentionState, TextLosses
from trimtab.models.hub import local_directory

if TYPE_CHECKING:
    from trimtab.config.recipe import ModelSection
    from trimtab.models.sources import ModelSource
    from trimtab.tasks.base import Examples, Task

FORMAT = 1
"""Part of every key: raised when the same model gives another state."""
STATE = "state.npz"
PACKAGES = ("torch", "transformers", "tokenizers")


def state_key(
    material: RetentionMaterial,
    source: ModelSource,
    task: Task,
    section: ModelSection,
    *,
    images: Examples | None,
    max_length: int | None,
    device: str,
) -> str | None:
    """What the state of the pretrained model goes by; None where the images cannot be told apart.

    Of the model's files, their place, size and time of change count. Args: as for `measure_retention`, and the type of
    the device that computes.

    Raises:
        ModelError: the model cannot be found any more.
    """
    directory = local_directory(source, trust_remote_code=section.trust_remote_code)
    files = sorted(str(path) for path in directory.iterdir() if path.is_file())
    pairs, known = material.pairs, material.images
    rows = None if images is None else images.keys()
    if images is not None and rows is None:
        return None
    return content_key(
        FORMAT,
        [importlib.metadata.version(package) for package in PACKAGES],
        [str(file_key(path)) for path in files],
        [task.auto_class, task.modality, max_length, device, section.model_dump(mode="json", exclude={"dropout"})],
        [material.rows, material.seed, material.texts, None if pairs is None else [pairs.first, pairs.second]],
        None if known is None else [[str(file_key(path)) for path in known.paths], known.classes.tolist()],
        b"" if rows is None else rows.tobytes(),
    )


def read_state(cache: DiskCache | None, key: str | None) -> RetentionState | None:
    """The state under a key; None where there is none. A damaged one is discarded."""
    entry = None if cache is None or key is None else cache.get(key)
    if cache is None or key is None or entry is None:
        return None
    try:
        with np.load(entry / STATE, allow_pickle=False) as file:
            return _state({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        cache.discard(key)
        return None


def keep_state(cache: DiskCache | None, key: str | None, state: RetentionState) -> None:
    """Keep a state under a key, where there is a cache that takes it."""
    if cache is not None and key is not None:
        cache.put(key, lambda folder: _write(folder / STATE, _arrays(state)))


def _write(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def _arrays(state: RetentionState) -> dict[str, Any]:
    arrays: dict[str, Any] = {"blocks": np.array(list(state.blocks), dtype=str), "similarities": state.similarities}
    arrays |= {f"block{index}": vectors for index, vectors in enumerate(state.blocks.values())}
    if state.language is not None:
        arrays |= {"kind": np.array(state.language.kind), "sums": state.language.sums, "tokens": state.language.tokens}
    if state.pairs is not None:
        arrays["pairs"] = state.pairs
    if state.source is not None:
        arrays |= {"losses": state.source.losses, "right": state.source.right}
    return arrays


def _state(arrays: dict[str, Any]) -> RetentionState:
    language = None
    if "kind" in arrays:
        language = TextLosses(kind=arrays["kind"].item(), sums=arrays["sums"], tokens=arrays["tokens"])
    return RetentionState(
        blocks={str(name): arrays[f"block{index}"] for index, name in enumerate(arrays["blocks"])},
        similarities=arrays["similarities"],
        language=language,
        pairs=arrays.get("pairs"),
        source=ClassLosses(arrays["losses"], arrays["right"]) if "losses" in arrays else None,
    )
