"""Resuming a run whose checkpoints are damaged: named, passed over, and the end is the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import trimtab
from trimtab.core.errors import CheckpointError, NonFiniteError
from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.training.checkpoints import MANIFEST, MODEL, OPTIMIZER, CheckpointStore

STOP_AFTER = 7
STEPS = 14
SETTINGS = {
    "training.num_epochs": 2,
    "training.batch_size": 8,
    "training.precision": "fp32",
    "training.device": "cpu",
    "checkpoint.every_steps": 2,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
    "model.dropout": 0.1,
}


class PowerCutError(Exception):
    """Stands for a process that ends at once: nothing of ours handles it."""


def cut_power(event: dict[str, Any]) -> None:
    if event["type"] == "step" and event["step"] == STOP_AFTER:
        raise PowerCutError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, data, a whole run and one that stopped after step 7."""
    home = tmp_path_factory.mktemp("damaged")
    tiny.save_bert(home / "bert")
    tiny.write_csv(home / "texts.csv", 70)
    train(home, home / "whole")
    with pytest.raises(PowerCutError):
        train(home, home / "cut", on_event=cut_power)
    return home


def train(home: Path, output: Path, on_event: Any = None, **settings: Any) -> None:
    trimtab.train(
        home / "texts.csv",
        model=str(home / "bert"),
        output=output,
        settings={**SETTINGS, **settings},
        on_event=on_event,
    )


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A copy of the run that stopped after step 7; its checkpoints are of steps 4 and 6."""
    run = Path(shutil.copytree(home / "cut", tmp_path / "run"))
    assert [checkpoint.step for checkpoint in store(run).all()][-2:] == [4, 6]
    return run


def store(run: Path) -> CheckpointStore:
    return CheckpointStore(run / "checkpoints", 2)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(content)


def actions(run: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run / "events.jsonl") if event.get("action") == name]


def assert_same_end(run: Path, whole: Path) -> None:
    assert sha256_of(run / "model" / MODEL) == sha256_of(whole / "model" / MODEL)
    losses = [
        {event["step"]: event["loss"] for event in read_events(path / "events.jsonl") if event["type"] == "step"}
        for path in (run, whole)
    ]
    assert losses[0] == losses[1]
    assert sorted(losses[0]) == list(range(1, STEPS + 1))


def test_from_the_newest(home: Path, run: Path) -> None:
    trimtab.resume(run)

    assert actions(run, "skip_checkpoint") == []
    assert [event["checkpoint"] for event in actions(run, "resume")] == ["step-00000006"]
    assert_same_end(run, home / "whole")


def test_from_the_one_before_a_damaged_one(home: Path, run: Path) -> None:
    flip_byte(run / "checkpoints" / "step-00000006" / OPTIMIZER)

    trimtab.resume(run)

    (skipped,) = actions(run, "skip_checkpoint")
    assert skipped["checkpoint"] == "step-00000006"
    assert skipped["reason"] == "optimizer.safetensors does not match its checksum"
    assert [event["checkpoint"] for event in actions(run, "resume")] == ["step-00000004"]
    assert_same_end(run, home / "whole")


def test_from_the_beginning_when_all_are_damaged(home: Path, run: Path) -> None:
    names = [checkpoint.path.name for checkpoint in store(run).all()]
    for name in names:
        (run / "checkpoints" / name / MANIFEST).unlink()

    trimtab.resume(run)

    assert [event["checkpoint"] for event in actions(run, "skip_checkpoint")] == names[::-1]
    assert [event["checkpoint"] for event in actions(run, "resume")] == [None]
    assert_same_end(run, home / "whole")


def test_a_checkpoint_that_lacks_a_part_is_refused(run: Path) -> None:
    folder = run / "checkpoints" / "step-00000006"
    tensors = load_file(folder / OPTIMIZER)
    save_file({name: tensor for name, tensor in tensors.items() if "classifier" not in name}, folder / OPTIMIZER)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][OPTIMIZER] = sha256_of(folder / OPTIMIZER)
    (folder / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(CheckpointError, match="no optimizer state for 2 parameters"):
        trimtab.resume(run)

    assert not (run / "evaluation.json").exists()


def test_a_damaged_best_checkpoint_is_not_delivered(home: Path, tmp_path: Path) -> None:
    """Its weights are not read unchecked at the end: those of the last step stand in, and the run says so."""
    run = tmp_path / "run"

    def damage(event: dict[str, Any]) -> None:
        if event["type"] == "step" and event["step"] == STEPS - 1:
            (best,) = {e["step"] for e in read_events(run / "events.jsonl") if e.get("best")} or {0}
            flip_byte(run / "checkpoints" / f"step-{best:08d}" / MODEL)

    # The first evaluation, at step 7, stays the best: the loss only rises from there at this rate.
    train(home, run, on_event=damage, **{"evaluation.metric": "accuracy", "optimizer.learning_rate": 1e-9})

    (skipped,) = actions(run, "skip_checkpoint")
    assert skipped["reason"] == "model.safetensors does not match its checksum"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["best_step"] == STEPS
    assert f"The weights are those of step {STEPS}, the last." in evaluation["notes"]


def test_non_finite_steps_name_the_rows_of_the_users_file(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = {"optimizer.learning_rate": 1e30, "training.max_nonfinite_steps": 2, "training.max_grad_norm": None}

    with pytest.raises(NonFiniteError, match=r"Step \d+: .* texts\.csv row \d+") as caught:
        train(home, run, **settings)

    assert caught.value.exit_code == 1
    events = [event for event in read_events(run / "events.jsonl") if event["type"] == "step"]
    assert all("skipped" in event for event in events[-2:])
    assert all(event["loss"] is None or event["grad_norm"] is None for event in events[-2:])
    assert not (run / "evaluation.json").exists()
    for checkpoint in store(run).all():
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(checkpoint.path / MODEL).values())


def test_random_numbers_of_the_caller_do_not_matter(home: Path, run: Path) -> None:
    torch.manual_seed(12345)
    np.random.seed(1)

    trimtab.resume(run)

    assert_same_end(run, home / "whole")
