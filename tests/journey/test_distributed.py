"""Two processes on the CPU, as `torchrun` starts them, give the run that one process gives."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from safetensors.torch import load_file

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.training.checkpoints import CheckpointStore

SETTINGS = {
    "training.num_epochs": 2,
    "training.batch_size": 7,
    "training.gradient_accumulation_steps": 2,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.max_tokens_per_batch": 40,
    "checkpoint.every_steps": 3,
    "optimizer.learning_rate": 0.01,
    "evaluation.baselines": "false",
    "evaluation.bootstrap_samples": 100,
    "model.dropout": 0,
}
ARGUMENTS = ["--model", "./bert", *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}"))]


def launch(folder: Path, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `trimtab` in so many processes; more than one go through torch's launcher."""
    launcher: list[str] = []
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}"]
    command = [sys.executable, *launcher, "-m", "trimtab.cli.main", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one process (`one`), a run of two (`two`), and what the latter printed."""
    folder = tmp_path_factory.mktemp("distributed")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 120)
    for name, processes in (("one", 1), ("two", 2)):
        done = launch(folder, processes, "train", "texts.csv", "--output", name, *ARGUMENTS)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.stdout").write_text(done.stdout)
        (folder / f"{name}.stderr").write_text(done.stderr)
    return folder


def steps(run: Path) -> list[dict[str, float]]:
    return [event for event in read_events(run / "events.jsonl") if event["type"] == "step"]


def largest_difference(one: Path, other: Path) -> float:
    first, second = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_same_weights_and_losses_as_one_process(folder: Path) -> None:
    one, two = folder / "one", folder / "two"

    assert largest_difference(one, two) < 1e-5
    assert [event["loss"] for event in steps(two)] == pytest.approx([event["loss"] for event in steps(one)], abs=1e-5)
    for key in ("weight", "tokens", "learning_rates"):
        assert [event[key] for event in steps(two)] == [event[key] for event in steps(one)]
    assert [event["grad_norm"] for event in steps(two)] == pytest.approx(
        [event["grad_norm"] for event in steps(one)], abs=1e-4
    )


def test_every_event_is_written_once(folder: Path) -> None:
    kinds = {
        name: [(event["type"], event["step"]) for event in read_events(folder / name / "events.jsonl")]
        for name in ("one", "two")
    }

    assert kinds["two"] == kinds["one"]
    assert [event["step"] for event in steps(folder / "two")] == list(range(1, len(steps(folder / "two")) + 1))


def test_one_run_directory_with_the_same_files(folder: Path) -> None:
    found = {
        name: sorted(str(path.relative_to(folder / name)) for path in (folder / name).rglob("*"))
        for name in ("one", "two")
    }

    assert found["two"] == found["one"]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["bert", "one", "two"]
    judged = [json.loads((folder / name / "evaluation.json").read_text()) for name in ("one", "two")]
    assert judged[0]["confusion"] == judged[1]["confusion"]
    assert judged[0]["rows"] == judged[1]["rows"]


def test_nothing_is_printed_twice(folder: Path) -> None:
    """Line for line what one process prints, but for names, the figures of speed and the last digits."""
    for stream in ("stdout", "stderr"):
        one, two = ((folder / f"{name}.{stream}").read_text().splitlines() for name in ("one", "two"))
        ours = [line for line in two if "torch/distributed" not in line]
        assert [line.split()[:1] for line in ours] == [line.split()[:1] for line in one]
    assert (folder / "two.stdout").read_text().count("Fine-tuning") == 1


def test_two_processes_resume_to_the_same_weights(folder: Path) -> None:
    whole = folder / "two"
    run = Path(shutil.copytree(whole, folder / "resumed"))
    try:
        (run / "evaluation.json").unlink()
        shutil.rmtree(run / "model")
        checkpoints = CheckpointStore(run / "checkpoints", 2).all()
        shutil.rmtree(checkpoints[-1].path)
        assert len(checkpoints) >= 2

        done = launch(folder, 2, "resume", "resumed")

        assert done.returncode == 0, done.stderr
        assert sha256_of(run / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")
    finally:
        shutil.rmtree(run)
