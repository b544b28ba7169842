"""Checkpoints that are whole or not there, and that an exact resume can start from.

A checkpoint is written into a folder aside; each file is fsynced; the manifest with the SHA-256 of every file comes
last; then the folder is renamed. A process killed at any instant leaves either the whole checkpoint or a folder that
is recognised as torn and passed over. Tensors are safetensors, all else is JSON: nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.core.errors import CheckpointError
from trimtab.core.files import disk_error, fsync_path, sha256_of
from trimtab.core.hooks import StepHook
from trimtab.training.optimizers import (
    load_optimizer_scalars,
    load_optimizer_tensors,
    optimizer_scalars,
    optimizer_tensors,
    parameters_without_state,
)
from trimtab.training.records import Progress

MANIFEST = "manifest.json"
MODEL, OPTIMIZER, RANDOM, PROGRESS = "model.safetensors", "optimizer.safetensors", "random.safetensors", "progress.json"
HOOKS = "hooks.safetensors"
FORMAT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk.

    Args:
        path: its folder, `checkpoints/step-00000120`.
        step: optimizer steps taken before it.
    """

    path: Path
    step: int


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: the run's `checkpoints` directory.
        keep_last: number of newest checkpoints kept, the best besides.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder = folder
        self.keep_last = keep_last

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        random: dict[str, torch.Tensor],
        hooks: Sequence[StepHook] = (),
    ) -> Checkpoint:
        """Write a checkpoint and remove those no longer kept. One that exists for this step is left as it is.

        Args:
            model: bare model; all its parameters and buffers are kept.
            optimizer: built by `build_optimizer`.
            progress: where the run stands.
            random: random states of every process, see `random_states`.
            hooks: whose tensors are kept.

        Raises:
            RunError: the disk is full; nothing half-written is left.
        """
        target = self.folder / f"step-{progress.step:08d}"
        if not target.exists():
            aside = self.folder / f".{target.name}.{os.getpid()}.tmp"
            try:
                aside.mkdir(parents=True)
                _write_files(aside, model, optimizer, progress, random, hooks)
                aside.replace(target)
                fsync_path(self.folder)
            except (OSError, SafetensorError) as error:
                shutil.rmtree(aside, ignore_errors=True)
                raise disk_error(target, _as_os_error(error)) from error
        self.remove_old(keep={progress.step, progress.best_step, *(step for step, _ in progress.best)})
        return Checkpoint(target, progress.step)

    def all(self) -> list[Checkpoint]:
        """Every folder that looks like a checkpoint, the oldest first, whether it is sound or not."""
        found = [path for path in self.folder.glob("step-*") if path.name[5:].isdigit()]
        return [Checkpoint(path, int(path.name[5:])) for path in sorted(found)]

    def newest_sound(self) -> tuple[Checkpoint | None, dict[str, str]]:
        """The newest checkpoint whose every file matches its manifest; and what is wrong with newer ones, by name."""
        faults: dict[str, str] = {}
        for checkpoint in reversed(self.all()):
            fault = find_fault(checkpoint.path)
            if fault is None:
                return checkpoint, faults
            faults[checkpoint.path.name] = fault
        return None, faults

    def discard(self, checkpoint_names: list[str]) -> None:
        """Remove checkpoints that were found to be unsound, so that the run can write them anew."""
        for name in checkpoint_names:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove_torn(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self.folder.glob(".step-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def remove_old(self, keep: set[int]) -> None:
        """Remove all but the newest `keep_last` checkpoints and those of the steps in `keep`."""
        for checkpoint in self.all()[: -self.keep_last]:
            if checkpoint.step not in keep:
                shutil.rmtree(checkpoint.path, ignore_errors=True)


def find_fault(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None when every file is there and matches its checksum."""
    try:
        manifest = _read_manifest(path)
        files: dict[str, str] = manifest["files"]
        written_by = manifest["format"]
    except FileNotFoundError:
        return f"{MANIFEST} is missing (the writing was cut short)"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is damaged"
    if written_by != FORMAT:
        return f"it has format {written_by}, this version of Trimtab reads format {FORMAT}"
    for name in (MODEL, OPTIMIZER, RANDOM, HOOKS, PROGRESS):
        if name not in files:
            return f"{name} is not in the manifest"
    for name, checksum in files.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if sha256_of(path / name) != checksum:
            return f"{name} does not match its checksum"
    return None


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    hooks: Sequence[StepHook] = (),
    process_index: int = 0,
    num_processes: int = 1,
) -> Progress:
    """Put weights, optimizer, hooks and random state back, and return where the run stood.

    Raises:
        CheckpointError: a tensor of the model, an optimizer state or a random state is missing. Going on without one
            would give other weights than the uninterrupted run, so it is refused.
    """
    load_weights(checkpoint, model)
    fields = json.loads((checkpoint.path / PROGRESS).read_text(encoding="utf-8"))
    progress = Progress.from_dict(fields)
    restore_optimizer(checkpoint, optimizer)
    _restore_hooks(checkpoint, hooks)
    random = load_file(checkpoint.path / RANDOM)
    written_by = len({name.partition("/")[0] for name in random})
    if written_by > num_processes:
        raise CheckpointError(
            f"{checkpoint.path} was written by {written_by} processes, and {num_processes} would go on.",
            remedy="Resume with as many processes as before, or start a new run.",
        )
    for name, state in random_states(process_index).items():
        saved = random.get(name)
        if saved is None or saved.numel() != state.numel():
            raise CheckpointError(
                f"{checkpoint.path} holds no random state of {name!r} for process {process_index}.",
                remedy="Resume on the same kind of device and with as many processes as before, or start a new run.",
            )
    _set_random_states(random, process_index)
    return progress


def restore_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer's state back.

    Raises:
        CheckpointError: a parameter's state is missing or incomplete.
    """
    manifest = _read_manifest(checkpoint.path)
    without = manifest["without_optimizer_state"]
    missing = sorted(set(load_optimizer_tensors(optimizer, load_file(checkpoint.path / OPTIMIZER))).difference(without))
    if missing:
        raise CheckpointError(
            f"{checkpoint.path} holds no optimizer state for {len(missing)} parameters, the first: {missing[0]}.",
            remedy="The recipe or the model changed since the checkpoint. Start a new run, or restore both.",
        )
    load_optimizer_scalars(optimizer, manifest["optimizer_scalars"])


def _restore_hooks(checkpoint: Checkpoint, hooks: Sequence[StepHook]) -> None:
    by_hook: dict[str, dict[str, torch.Tensor]] = {}
    for full_name, tensor in load_file(checkpoint.path / HOOKS).items():
        name, _, key = full_name.partition("/")
        by_hook.setdefault(name, {})[key] = tensor
    for hook in hooks:
        try:
            hook.load_tensors(by_hook.get(hook.name, {}))
        except KeyError as error:
            raise CheckpointError(
                f"{checkpoint.path} holds no {error} of {hook.name!r}.",
                remedy="The recipe changed since the checkpoint. Start a new run, or restore it.",
            ) from error


def _hook_tensors(hooks: Sequence[StepHook]) -> dict[str, torch.Tensor]:
    return {f"{hook.name}/{key}": tensor for hook in hooks for key, tensor in hook.tensors().items()}


def load_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Load a checkpoint's weights and buffers into the model.

    Raises:
        CheckpointError: names do not match the model's.
    """
    tensors = load_file(checkpoint.path / MODEL)
    own = _unique_tensors(model)
    if tensors.keys() != own.keys():
        odd = sorted(tensors.keys() ^ own.keys())
        raise CheckpointError(
            f"{checkpoint.path} does not fit the model: {len(odd)} names differ, the first: {odd[0]}.",
            remedy="The pretrained model changed since the checkpoint; restore it, or start a new run.",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _write_files(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    random: dict[str, torch.Tensor],
    hooks: Sequence[StepHook],
) -> None:
    save_file(_for_disk(_unique_tensors(model)), folder / MODEL)
    save_file(_for_disk(optimizer_tensors(optimizer)), folder / OPTIMIZER)
    save_file(random, folder / RANDOM)
    save_file(_for_disk(_hook_tensors(hooks)), folder / HOOKS)
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
    checksums = {}
    for path in sorted(folder.iterdir()):
        fsync_path(path)
        checksums[path.name] = sha256_of(path)
    manifest = folder / MANIFEST
    content = {
        "format": FORMAT,
        "step": progress.step,
        "files": checksums,
        "without_optimizer_state": parameters_without_state(optimizer),
        "optimizer_scalars": optimizer_scalars(optimizer),
    }
    manifest.write_text(json.dumps(content), encoding="utf-8")
    fsync_path(manifest)
    fsync_path(folder)


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def _for_disk(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _unique_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, tied ones once: safetensors refuses shared memory."""
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    unique: dict[str, torch.Tensor] = {}
    for name, tensor in _named_tensors(model):
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen[key] = name
        unique[name] = tensor
    return unique


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.state_dict(keep_vars=True).items()


def random_states(process_index: int = 0) -> dict[str, torch.Tensor]:
    """This process's random states, on the CPU and on its accelerators, by `<process>/<device>`."""
    states = {f"{process_index}/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"{process_index}/cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_random_states(states: dict[str, torch.Tensor], process_index: int) -> None:
    torch.set_rng_state(states[f"{process_index}/cpu"])
    for index in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(states[f"{process_index}/cuda:{index}"], index)


def _as_os_error(error: Exception) -> OSError:
    """safetensors wraps a full disk in an error of its own."""
    if isinstance(error, OSError):
        return error
    return OSError(None, str(error))


def summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the run's events say of a checkpoint."""
    size = sum(path.stat().st_size for path in checkpoint.path.iterdir())
    return {"path": checkpoint.path.name, "megabytes": round(size / 1e6, 1)}
