"""A disk that fills up: at the start of a run, in the middle of it, at its end. A small tmpfs plays the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from command import QUICK, files_below, trimtab

import trimtab as api
from trimtab.core.errors import RunError
from trimtab.core.events import read_events
from trimtab.training.checkpoints import CheckpointStore, find_fault

# Room for every checkpoint of the tiny model, and little else.
MEGABYTES = 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes of its own; skipped where mounting is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no mount command: a small tmpfs cannot be made")
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_csv(tmp_path_factory.mktemp("data") / "data.csv", 90)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill the disk but for `leave` bytes with one file."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


def settings(bert: Path) -> dict[str, Any]:
    return {
        "model.name": str(bert),
        "training.num_epochs": 2,
        "training.batch_size": 8,
        "checkpoint.every_steps": 2,
        "evaluation.bootstrap_samples": 100,
    }


def assert_checkpoints_are_sound(run: Path) -> None:
    names = [path.name for path in (run / "checkpoints").iterdir()]
    assert names and all(name.startswith("step-") for name in names)
    assert [find_fault(run / "checkpoints" / name) for name in names] == [None] * len(names)


def test_too_little_room_is_refused_at_the_start_with_figures(disk: Path, bert: Path, data: Path) -> None:
    fill(disk, leave=100_000)
    before = files_below(disk)
    outcome = trimtab("train", data, "--model", bert, "--output", disk / "run", *QUICK)
    assert outcome.code == 2
    assert outcome.error.startswith(f"The disk of {disk} has 0 MB free; checkpoints and model of this run need about ")
    assert "--output DIR" in outcome.error and "checkpoint.keep_last=1" in outcome.error
    assert files_below(disk) == before


def test_no_room_for_the_first_files_leaves_no_run(
    disk: Path, bert: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(disk, leave=8192)
    before = files_below(disk)
    monkeypatch.setattr("trimtab.pipeline.train.check_disk", lambda path, needed: None)
    outcome = trimtab("train", data, "--model", bert, "--output", disk / "run", *QUICK)
    assert outcome.code == 2
    assert "No space left on device" in outcome.error
    assert files_below(disk) == before


def test_no_room_for_a_checkpoint_in_the_middle(
    disk: Path, bert: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.train(data, output=tmp_path / "whole", settings=settings(bert))
    save, saved = CheckpointStore.save, []

    def save_twice(store: CheckpointStore, *arguments: Any) -> Any:
        if len(saved) == 2:
            fill(disk, leave=20_000)
        saved.append(store.folder)
        return save(store, *arguments)

    monkeypatch.setattr(CheckpointStore, "save", save_twice)
    flags = [f"--set={key}={value}" for key, value in settings(bert).items()]
    outcome = trimtab("train", data, "--output", disk / "run", *flags)
    assert outcome.code == 2
    assert "No space left on device" in outcome.error
    assert "trimtab resume" in outcome.error
    assert len(saved) == 3
    assert_checkpoints_are_sound(disk / "run")

    monkeypatch.undo()
    assert trimtab("resume", disk / "run").code == 2  # there is still no room
    assert_checkpoints_are_sound(disk / "run")
    (disk / "filler").unlink()
    outcome = trimtab("resume", disk / "run", "--json")
    assert outcome.code == 0
    assert weights(disk / "run") == weights(whole.path)
    assert "model" not in [name.split("/")[0] for name in files_below(disk / "run") if ".tmp" in name]


def test_no_room_at_the_end_and_for_a_line_of_the_record(disk: Path, bert: Path, data: Path, tmp_path: Path) -> None:
    whole = api.train(data, output=tmp_path / "whole", settings=settings(bert))

    def fill_up(event: dict[str, Any]) -> None:
        if event["type"] == "phase" and event["phase"] == "evaluation":
            fill(disk)

    with pytest.raises(RunError, match="No space left on device") as caught:
        api.train(data, output=disk / "run", settings=settings(bert), on_event=fill_up)
    assert caught.value.exit_code == 2
    assert not (disk / "run" / "evaluation.json").exists()
    assert_checkpoints_are_sound(disk / "run")
    assert not [name for name in files_below(disk / "run") if ".tmp" in name]
    (disk / "filler").unlink()
    run = api.resume(disk / "run")
    assert weights(run.path) == weights(whole.path)
    assert run.metrics == whole.metrics
    assert [event["type"] for event in read_events(run.path / "events.jsonl")][-1] == "end"


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()
