"""Checkpoints are whole or recognised as not, and none that lacks a part is taken for an exact one."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_engine
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.core.errors import CheckpointError, RunError
from trimtab.core.files import sha256_of
from trimtab.models.blocks import map_blocks
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.training import checkpoints
from trimtab.training.checkpoints import (
    HOOKS,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    PROGRESS,
    RANDOM,
    Checkpoint,
    CheckpointStore,
    find_fault,
    random_states,
    restore,
    written_by,
)
from trimtab.training.engine import Engine
from trimtab.training.optimizers import optimizer_tensors

FILES = (MODEL, OPTIMIZER, RANDOM, HOOKS, PROGRESS)


def make_engine(seed: int = 0) -> Engine:
    recipe = tiny_engine.make_recipe(training={"num_epochs": 5})
    return tiny_engine.make_engine(
        tiny_engine.make_model(dropout=0.1, seed=seed), tiny_engine.make_examples(16), recipe
    )


def advance(engine: Engine, steps: int) -> list[float | None]:
    """Take some steps and return their losses."""
    records = engine.steps()
    return [next(records).loss for _ in range(steps)]


def save(store: CheckpointStore, engine: Engine) -> Checkpoint:
    return store.save(engine.model, engine.optimizer, engine.progress, random_states())


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2)


@pytest.fixture
def saved(store: CheckpointStore) -> Checkpoint:
    """A checkpoint of an engine after three steps."""
    engine = make_engine()
    advance(engine, 3)
    return save(store, engine)


def rewrite(checkpoint: Checkpoint, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change a file of tensors and its checksum, so that the checkpoint is sound but no longer complete."""
    tensors = load_file(checkpoint.path / name)
    change(tensors)
    save_file(tensors, checkpoint.path / name)
    manifest = json.loads((checkpoint.path / MANIFEST).read_text())
    manifest["files"][name] = sha256_of(checkpoint.path / name)
    (checkpoint.path / MANIFEST).write_text(json.dumps(manifest))
    assert find_fault(checkpoint.path) is None


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def test_restoring_goes_on_exactly_as_without_a_stop(store: CheckpointStore) -> None:
    engine = make_engine()
    advance(engine, 3)
    checkpoint = save(store, engine)
    expected = advance(engine, 4)

    other = make_engine(seed=1)
    torch.manual_seed(99)
    other.progress = restore(checkpoint, other.model, other.optimizer)

    assert other.progress.step == 3
    assert advance(other, 4) == expected
    assert tiny_engine.same_weights(tiny_engine.weights_of(other.model), tiny_engine.weights_of(engine.model))
    assert tiny_engine.same_weights(optimizer_tensors(other.optimizer), optimizer_tensors(engine.optimizer))


def test_files_are_safetensors_and_json_only(saved: Checkpoint) -> None:
    assert {path.name for path in saved.path.iterdir()} == {*FILES, MANIFEST}
    assert set(json.loads((saved.path / MANIFEST).read_text())["files"]) == set(FILES)
    assert find_fault(saved.path) is None


def test_missing_manifest_is_a_torn_checkpoint(saved: Checkpoint) -> None:
    (saved.path / MANIFEST).unlink()

    assert find_fault(saved.path) == "manifest.json is missing (the writing was cut short)"


def test_truncated_manifest_is_damaged(saved: Checkpoint) -> None:
    content = (saved.path / MANIFEST).read_text()
    (saved.path / MANIFEST).write_text(content[: len(content) // 2])

    assert find_fault(saved.path) == "manifest.json is damaged"


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_names_the_file(saved: Checkpoint, name: str) -> None:
    flip_byte(saved.path / name)

    assert find_fault(saved.path) == f"{name} does not match its checksum"


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(saved: Checkpoint, name: str) -> None:
    (saved.path / name).unlink()

    assert find_fault(saved.path) == f"{name} is missing"


@pytest.mark.parametrize("name", FILES)
def test_file_left_out_of_the_manifest_is_named(saved: Checkpoint, name: str) -> None:
    manifest = json.loads((saved.path / MANIFEST).read_text())
    del manifest["files"][name]
    (saved.path / MANIFEST).write_text(json.dumps(manifest))

    assert find_fault(saved.path) == f"{name} is not in the manifest"


def test_other_format_is_refused_in_words(saved: Checkpoint) -> None:
    manifest = json.loads((saved.path / MANIFEST).read_text())
    manifest["format"] = 1
    (saved.path / MANIFEST).write_text(json.dumps(manifest))

    assert find_fault(saved.path) == "it has format 1, this version of Trimtab reads format 3"


def test_newest_sound_passes_over_damaged_ones_and_names_them(store: CheckpointStore) -> None:
    store.keep_last = 5
    engine = make_engine()
    made = []
    for _ in range(4):
        advance(engine, 1)
        made.append(save(store, engine))
    (made[3].path / MANIFEST).unlink()
    flip_byte(made[2].path / OPTIMIZER)

    checkpoint, faults = store.newest_sound()

    assert checkpoint == made[1]
    assert faults == {
        "step-00000004": "manifest.json is missing (the writing was cut short)",
        "step-00000003": "optimizer.safetensors does not match its checksum",
    }


def test_no_sound_checkpoint_at_all(store: CheckpointStore, saved: Checkpoint) -> None:
    flip_byte(saved.path / MODEL)

    checkpoint, faults = store.newest_sound()

    assert checkpoint is None
    assert list(faults) == [saved.path.name]


@pytest.mark.parametrize("part", ["exp_avg", "exp_avg_sq", "step", ""])
def test_missing_optimizer_state_is_refused(saved: Checkpoint, part: str) -> None:
    name = "classifier.weight"

    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith(f"{name}/{part}")]:
            del tensors[key]

    rewrite(saved, OPTIMIZER, drop)
    engine = make_engine()

    with pytest.raises(CheckpointError, match=r"no optimizer state for 1 parameters, the first: classifier\.weight"):
        restore(saved, engine.model, engine.optimizer)


def test_optimizer_state_of_another_shape_is_refused(saved: Checkpoint) -> None:
    rewrite(saved, OPTIMIZER, lambda tensors: tensors.update({"classifier.weight/exp_avg": torch.zeros(2, 2)}))
    engine = make_engine()

    with pytest.raises(CheckpointError, match=r"classifier\.weight"):
        restore(saved, engine.model, engine.optimizer)


def test_missing_random_state_is_refused(saved: Checkpoint) -> None:
    rewrite(saved, RANDOM, lambda tensors: (tensors.pop("0/cpu"), tensors.update({"0/other": torch.zeros(1)})))
    engine = make_engine()

    with pytest.raises(CheckpointError, match="no random state of '0/cpu' for process 0"):
        restore(saved, engine.model, engine.optimizer)


def state_after(saved: Checkpoint, index: int, processes: int) -> torch.Tensor:
    """The CPU's random state of a process that goes on, one of so many."""
    engine = make_engine()
    torch.manual_seed(99)
    restore(saved, engine.model, engine.optimizer, process_index=index, num_processes=processes)
    return torch.get_rng_state()


def test_a_process_that_is_new_gets_a_random_state_of_its_own(saved: Checkpoint) -> None:
    states = [state_after(saved, index, 3) for index in range(3)]

    assert torch.equal(states[0], load_file(saved.path / RANDOM)["0/cpu"])
    assert torch.equal(states[1], state_after(saved, 1, 2))
    assert not any(torch.equal(states[one], states[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    assert written_by(saved) == 1


def test_fewer_processes_than_before_take_their_own_random_states(saved: Checkpoint) -> None:
    second = torch.Generator().manual_seed(7).get_state()
    third = torch.Generator().manual_seed(8).get_state()
    rewrite(saved, RANDOM, lambda tensors: tensors.update({"1/cpu": second, "2/cpu": third}))

    assert written_by(saved) == 3
    assert torch.equal(state_after(saved, 1, 2), second)
    assert torch.equal(state_after(saved, 0, 1), load_file(saved.path / RANDOM)["0/cpu"])


def test_a_random_state_of_another_kind_of_device_is_not_derived_from(saved: Checkpoint) -> None:
    rewrite(saved, RANDOM, lambda tensors: (tensors.pop("0/cpu"), tensors.update({"0/cuda:0": torch.zeros(16)})))

    with pytest.raises(CheckpointError, match="no random state of '1/cpu' for process 1"):
        state_after(saved, 1, 2)


def test_weights_of_another_model_are_refused(saved: Checkpoint) -> None:
    rewrite(saved, MODEL, lambda tensors: tensors.pop("classifier.bias"))
    engine = make_engine()

    with pytest.raises(CheckpointError, match=r"model: 1 names or shapes differ, the first: classifier\.bias"):
        restore(saved, engine.model, engine.optimizer)


def test_parameter_that_no_forward_pass_uses_needs_no_state(store: CheckpointStore) -> None:
    def with_unused() -> Engine:
        engine = make_engine()
        model = engine.model
        model.unused = nn.Parameter(torch.ones(3, 3))
        engine.optimizer.param_groups[0]["params"].append(model.unused)
        engine.optimizer.param_groups[0]["parameter_names"].append("unused")
        return engine

    engine = with_unused()
    advance(engine, 2)
    checkpoint = save(store, engine)
    other = with_unused()
    other.progress = restore(checkpoint, other.model, other.optimizer)

    assert advance(other, 2) == advance_from(checkpoint, with_unused())
    assert not other.optimizer.state.get(other.model.unused)


def advance_from(checkpoint: Checkpoint, engine: Engine) -> list[float | None]:
    engine.progress = restore(checkpoint, engine.model, engine.optimizer)
    return advance(engine, 2)


def test_the_newest_and_the_best_are_kept(store: CheckpointStore) -> None:
    engine = make_engine()
    for step in range(1, 7):
        advance(engine, 1)
        engine.progress.best_step = 2 if step >= 2 else 0
        save(store, engine)

    assert [checkpoint.step for checkpoint in store.all()] == [2, 5, 6]


def test_a_new_best_lets_the_old_one_go(store: CheckpointStore) -> None:
    engine = make_engine()
    for step in range(1, 6):
        advance(engine, 1)
        engine.progress.best_step = 1 if step < 4 else 4
        save(store, engine)

    assert [checkpoint.step for checkpoint in store.all()] == [4, 5]


def test_one_that_exists_is_left_as_it_is(store: CheckpointStore, saved: Checkpoint) -> None:
    before = sha256_of(saved.path / MODEL)
    engine = make_engine(seed=5)
    engine.progress.step = saved.step

    assert save(store, engine) == saved
    assert sha256_of(saved.path / MODEL) == before


def test_full_disk_leaves_nothing_half_written(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkpoints.save_file

    def fail_at_the_optimizer(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if path.name == OPTIMIZER:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", fail_at_the_optimizer)
    engine = make_engine()
    advance(engine, 1)

    with pytest.raises(RunError, match="No space left on device") as caught:
        save(store, engine)

    assert "trimtab resume" in caught.value.remedy
    assert list(store.folder.iterdir()) == []


def test_torn_folders_are_removed_and_sound_ones_stay(store: CheckpointStore, saved: Checkpoint) -> None:
    torn = store.folder / ".step-00000009.123.tmp"
    shutil.copytree(saved.path, torn)
    (torn / MANIFEST).unlink()

    assert store.all() == [saved]
    store.remove_torn()

    assert list(store.folder.iterdir()) == [saved.path]


def test_frozen_weights_are_not_written_and_must_be_the_same(tmp_path: Path) -> None:
    def engine_of(seed: int) -> Engine:
        model = tiny_engine.make_model(seed=seed)
        blocks = map_blocks(model)
        plan = Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-2)
        return tiny_engine.make_engine(model, tiny_engine.make_examples(16), plan=plan, blocks=blocks)

    engine = engine_of(0)
    records = engine.steps()
    next(records)
    store = CheckpointStore(tmp_path / "checkpoints", 2)
    saved = store.save(engine.model, engine.optimizer, engine.progress, random_states())
    written = load_file(saved.path / MODEL)
    trained = {name for name, parameter in engine.model.named_parameters() if parameter.requires_grad}
    assert set(written) >= trained and len(trained) < len(list(engine.model.parameters()))
    assert not set(written) & {name for name, p in engine.model.named_parameters() if not p.requires_grad}

    again = engine_of(0)
    restore(saved, again.model, again.optimizer)
    assert tiny_engine.same_weights(tiny_engine.weights_of(again.model), tiny_engine.weights_of(engine.model))
    other = engine_of(1)
    with pytest.raises(CheckpointError, match="its frozen weights are others"):
        restore(saved, other.model, other.optimizer)
