"""`--devices 2` on a CPU: a training in shares is stopped, and goes on in one process to the end of a run of one."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny
from safetensors.numpy import load_file

from trimtab.core.events import read_events
from trimtab.training.checkpoints import CheckpointStore, written_by

SETTINGS = {
    "training.num_epochs": 2,
    "training.batch_size": 8,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.max_tokens_per_batch": 40,
    "evaluation.every_steps": 4,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": "false",
    "evaluation.bootstrap_samples": 100,
    "retention.measure": "false",
    "model.dropout": 0,
}


def arguments(output: str, *more: str) -> list[str]:
    pairs = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return ["train", "texts.csv", "--model", "./bert", "--output", output, *pairs, *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 120)
    return folder


def losses(run: Path) -> list[float]:
    found = {event["step"]: event["loss"] for event in read_events(run / "events.jsonl") if event["type"] == "step"}
    return [found[step] for step in sorted(found)]


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The run of one process."""
    command = processes.finish(folder, *arguments("one"))
    assert command.exit_code == 0, command.stderr
    return folder / "one"


def assert_same_end(run: Path, whole: Path) -> None:
    assert losses(run) == pytest.approx(losses(whole), abs=1e-5)
    first, second = (load_file(each / "model" / "model.safetensors") for each in (whole, run))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, atol=1e-4, err_msg=name)


def resumption(run: Path) -> tuple[int, int, str]:
    """By how many processes the checkpoint was written, how many went on, and in what kind of shares."""
    action = next(event for event in read_events(run / "events.jsonl") if event.get("action") == "resume")
    return action["written_by"], action["processes"], action["sharding"]


def test_a_stopped_run_of_two_goes_on_in_one(folder: Path, whole: Path) -> None:
    run = folder / "two"
    command = processes.start(folder, *arguments("two", "--devices", "2", "--set", "training.sharding=fsdp"))
    assert command.wait_until(lambda: len(losses(run)) >= 3), command.stderr

    command.send(signal.SIGTERM)
    command.wait()

    assert command.exit_code == 143, command.stderr
    assert command.stderr.count("SIGTERM received") == 1
    assert "trimtab resume two" in command.stderr
    assert "Traceback" not in command.stderr
    newest, faults = CheckpointStore(run / "checkpoints", 2).newest_sound()
    assert newest is not None and not faults
    assert newest.step == len(losses(run)) < len(losses(whole))
    assert written_by(newest) == 2

    resumed = processes.finish(folder, "resume", "two", "--devices", "1")

    assert resumed.exit_code == 0, resumed.stderr
    assert resumption(run) == (2, 1, "none")
    assert_same_end(run, whole)


def test_two_processes_go_on_with_a_run_of_one(folder: Path, whole: Path) -> None:
    run = Path(shutil.copytree(whole, folder / "began"))
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "model")
    shutil.rmtree(CheckpointStore(run / "checkpoints", 2).all()[-1].path)

    resumed = processes.finish(folder, "resume", "began", "--devices", "2", "--json")

    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["run"] == "began"
    assert resumption(run) == (1, 2, "none")
    assert_same_end(run, whole)


def test_sharding_in_one_process_is_refused(folder: Path) -> None:
    command = processes.finish(folder, *arguments("alone", "--set", "training.sharding=fsdp"))

    assert command.exit_code == 2
    assert "--devices N" in command.stderr
