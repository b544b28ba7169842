"""Checkpoints that are whole or not there, and that an exact resume can start from.

A checkpoint is written into a folder aside; each file is fsynced; the manifest with the SHA-256 of every file comes
last; then the folder is renamed. A process killed at any instant leaves either the whole checkpoint or a folder that
is recognised as torn and passed over. Weights that never train are not written: a digest tells whether the model that a
resume starts from has the same ones. Tensors are safetensors, all else is JSON: nothing is pickled.
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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.core.cache import content_key
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
from trimtab.training.random_states import derived_state, random_states, set_random_states
from trimtab.training.records import Progress
from trimtab.training.sharding import gathered, is_sharded, is_share, share_of

MANIFEST = "manifest.json"
MODEL, OPTIMIZER, RANDOM, PROGRESS = "model.safetensors", "optimizer.safetensors", "random.safetensors", "progress.json"
HOOKS = "hooks.safetensors"
FORMAT = 3


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk.

    Args:
        path: its folder, `checkpoints/step-00000120`.
        step: optimizer steps taken before it.
    """

    path: Path
    step: int


@dataclass(frozen=True)
class Tensors:
    """What a checkpoint holds of model and optimizer, as whole tensors by name.

    Args:
        model: parameters that train at some time, and buffers.
        optimizer: its state.
        frozen: parameters that never train: a checkpoint knows them by a digest only.
    """

    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    frozen: dict[str, torch.Tensor]


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer, *, keep: bool = True) -> Tensors:
    """The tensors of a checkpoint; those of a sharded model are gathered, for which all processes call this together.

    Args:
        model: bare model.
        optimizer: built by `build_optimizer`.
        keep: whether this process writes; the others get none of what is gathered.
    """
    every, state = _unique_tensors(model), optimizer_tensors(optimizer)
    if is_sharded(model):
        return Tensors(gathered(every, keep=keep), gathered(state, keep=keep), {})
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    still = {name for name, tensor in every.items() if isinstance(tensor, nn.Parameter) and id(tensor) not in trained}
    return Tensors(
        model={name: tensor for name, tensor in every.items() if name not in still},
        optimizer=state,
        frozen={name: every[name] for name in sorted(still)},
    )


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: the run's `checkpoints` directory.
        keep_last: number of newest checkpoints kept, the best besides.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder = folder
        self.keep_last = keep_last
        # Steps whose checkpoints stay whatever comes.
        self.pinned: set[int] = set()
        self._frozen_digest: str | None = None

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        random: dict[str, torch.Tensor],
        hooks: Sequence[StepHook] = (),
        tensors: Tensors | None = None,
    ) -> Checkpoint:
        """Write a checkpoint and remove those no longer kept. One that exists for this step is left as it is.

        Args:
            model: bare model; its buffers and what trains of it are kept.
            optimizer: built by `build_optimizer`.
            progress: where the run stands.
            random: random states of every process, see `random_states`.
            hooks: whose tensors are kept.
            tensors: those of model and optimizer, where they had to be gathered; taken from them when None.

        Raises:
            RunError: the disk is full; nothing half-written is left.
        """
        target = self.folder / f"step-{progress.step:08d}"
        if not target.exists():
            aside = self.folder / f".{target.name}.{os.getpid()}.tmp"
            try:
                aside.mkdir(parents=True)
                found = tensors or tensors_of(model, optimizer)
                if self._frozen_digest is None:
                    self._frozen_digest = _digest(found.frozen)
                _write_files(aside, found, self._frozen_digest, optimizer, progress, random, hooks)
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
        """Remove all but the newest `keep_last` checkpoints, those of the steps in `keep`, and those `pinned`."""
        for checkpoint in self.all()[: -self.keep_last]:
            if checkpoint.step not in keep | self.pinned:
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

    Another number of processes than wrote the checkpoint may go on. The order of the data is the same then, and so is
    each step but for the dropout of processes that the checkpoint does not know: see `derived_state`.

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
    may_derive = written_by(checkpoint) != num_processes
    states = {}
    for name, state in random_states(process_index).items():
        saved = random.get(name)
        if saved is None and may_derive:
            saved = derived_state(random, name, checkpoint.step)
        if saved is None or saved.numel() != state.numel():
            raise CheckpointError(
                f"{checkpoint.path} holds no random state of {name!r} for process {process_index}.",
                remedy="Resume on the same kind of device as before, or start a new run.",
            )
        states[name] = saved
    set_random_states(states, process_index)
    return progress


def written_by(checkpoint: Checkpoint) -> int:
    """Number of processes that wrote a checkpoint together."""
    with safe_open(checkpoint.path / RANDOM, framework="pt") as file:
        return len({name.partition("/")[0] for name in file.keys()})  # noqa: SIM118 (the file is no mapping)


def restore_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer's state back, cut in shares where its parameters are.

    Raises:
        CheckpointError: a parameter's state is missing or incomplete.
    """
    manifest = _read_manifest(checkpoint.path)
    without = manifest["without_optimizer_state"]
    tensors = load_file(checkpoint.path / OPTIMIZER)
    owners = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True)
    }
    for key in tensors:
        name = key.rpartition("/")[0]
        if name in owners:
            tensors[key] = share_of(tensors[key], owners[name])
    missing = sorted(set(load_optimizer_tensors(optimizer, tensors)).difference(without))
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
    """Load a checkpoint's weights and buffers into the model; what never trained must be in it already.

    Raises:
        CheckpointError: names do not match the model's, or its frozen weights are others.
    """
    tensors = load_file(checkpoint.path / MODEL)
    own = _unique_tensors(model)
    frozen = {name: tensor for name, tensor in own.items() if name not in tensors}
    expected = _read_manifest(checkpoint.path)["frozen"]
    shapes = {name for name in tensors.keys() & own.keys() if tensors[name].shape != own[name].shape}
    odd = sorted((tensors.keys() - own.keys()) | (frozen.keys() ^ set(expected["names"])) | shapes)
    if odd or _digest(gathered(frozen, keep=True)) != expected["digest"]:
        what = f"{len(odd)} names or shapes differ, the first: {odd[0]}" if odd else "its frozen weights are others"
        raise CheckpointError(
            f"{checkpoint.path} does not fit the model: {what}.",
            remedy="The pretrained model changed since the checkpoint; restore it, or start a new run.",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(share_of(tensor, own[name]))


def _write_files(
    folder: Path,
    tensors: Tensors,
    frozen_digest: str,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    random: dict[str, torch.Tensor],
    hooks: Sequence[StepHook],
) -> None:
    save_file(_for_disk(tensors.model), folder / MODEL)
    save_file(_for_disk(tensors.optimizer), folder / OPTIMIZER)
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
        "frozen": {"names": sorted(tensors.frozen), "digest": frozen_digest},
        "without_optimizer_state": parameters_without_state(optimizer),
        "optimizer_scalars": optimizer_scalars(optimizer),
    }
    manifest.write_text(json.dumps(content), encoding="utf-8")
    fsync_path(manifest)
    fsync_path(folder)


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """A digest of names and bytes."""
    parts = [
        part
        for name, tensor in sorted(_for_disk(tensors).items())
        for part in (name, tensor.view(-1).view(torch.uint8).numpy())
    ]
    return content_key(*parts)


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
        # The parts of a sharded model share no memory: one that is tied is one object.
        key = (id(tensor) if is_share(tensor) else tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen[key] = name
        unique[name] = tensor
    return unique


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.state_dict(keep_vars=True).items()


def _as_os_error(error: Exception) -> OSError:
    """safetensors wraps a full disk in an error of its own."""
    if isinstance(error, OSError):
        return error
    return OSError(None, str(error))


def summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the run's events say of a checkpoint."""
    size = sum(path.stat().st_size for path in checkpoint.path.iterdir())
    return {"path": checkpoint.path.name, "megabytes": round(size / 1e6, 1)}
