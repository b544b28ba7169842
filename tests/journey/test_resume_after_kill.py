"""A run that is killed at any instant and resumed ends with the weights of a run that was never stopped, bit for bit.

Real processes and real signals. Dropout is on, two batches make a step, steps do not divide into epochs.
"""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processes
import pytest
import tiny

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.training.checkpoints import CheckpointStore, find_fault

STEPS = 42
SETTINGS = {
    "training.num_epochs": 3,
    "training.batch_size": 8,
    "training.gradient_accumulation_steps": 2,
    "training.device": "cpu",
    "checkpoint.every_steps": 3,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": "false",
    "evaluation.bootstrap_samples": 100,
    "model.dropout": 0.1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and 300 rows."""
    folder = tmp_path_factory.mktemp("journey")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 300)
    return folder


def train_arguments(output: str, **settings: Any) -> list[str]:
    merged = {"training.precision": "fp32", **SETTINGS, **{key.replace("__", "."): v for key, v in settings.items()}}
    pairs = [part for key, value in merged.items() for part in ("--set", f"{key}={value}")]
    return ["train", "texts.csv", "--model", "./bert", "--output", output, *pairs]


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Callable[..., Path]:
    """A function that gives the finished run of these settings, trained once."""

    def train(name: str, **settings: Any) -> Path:
        run = folder / f"whole-{name}"
        if not run.exists():
            command = processes.finish(folder, *train_arguments(run.name, **settings))
            assert command.exit_code == 0, command.stderr
        return run

    return train


def step_losses(run: Path) -> dict[int, float]:
    """Loss of each step; the later line of a step holds."""
    return {event["step"]: event["loss"] for event in read_events(run / "events.jsonl") if event["type"] == "step"}


def judged(run: Path) -> dict[str, Any]:
    """The evaluation without what takes its time."""
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    del evaluation["seconds"]
    return evaluation


def assert_same_end(run: Path, whole: Path) -> None:
    assert sha256_of(run / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")
    assert judged(run) == judged(whole)
    assert step_losses(run) == step_losses(whole)
    assert sorted(step_losses(run)) == list(range(1, STEPS + 1))
    assert not list(run.glob(".*.tmp")) and not list((run / "checkpoints").glob(".*.tmp"))


def last_step(run: Path) -> int:
    return max(step_losses(run), default=0)


def kill_when(command: processes.Command, condition: Callable[[], bool]) -> bool:
    """SIGKILL as soon as the condition holds; whether the process was still running then."""
    held = command.wait_until(condition)
    command.send(signal.SIGKILL)
    command.wait()
    return held and command.exit_code == -signal.SIGKILL


def resume_to_the_end(folder: Path, run: Path) -> processes.Command:
    command = processes.finish(folder, "resume", run.name)
    assert command.exit_code == 0, command.stderr
    return command


@pytest.mark.parametrize(("precision", "kills"), [("fp32", 3), ("bf16", 1)])
def test_kills_at_random_steps(folder: Path, uninterrupted: Callable[..., Path], precision: str, kills: int) -> None:
    whole = uninterrupted(precision, training__precision=precision)
    run = folder / f"killed-{precision}"
    draw = random.Random(precision)
    targets = sorted(draw.sample(range(4, STEPS - 6), kills))

    command = processes.start(folder, *train_arguments(run.name, training__precision=precision))
    for target in targets:
        assert kill_when(command, lambda target=target: last_step(run) >= target), command.stderr
        assert not (run / "evaluation.json").exists()
        command = processes.start(folder, "resume", run.name)
    assert command.wait().exit_code == 0, command.stderr

    assert_same_end(run, whole)
    resumed = [event["checkpoint"] for event in read_events(run / "events.jsonl") if event.get("action") == "resume"]
    assert len(resumed) == len(targets)
    assert any(name is not None for name in resumed)


def test_kills_while_a_checkpoint_is_written(folder: Path, uninterrupted: Callable[..., Path]) -> None:
    whole = uninterrupted("fp32")
    run = folder / "killed-writing"
    torn = 0
    command = processes.start(folder, *train_arguments(run.name))
    for _ in range(3):
        assert kill_when(command, lambda: any((run / "checkpoints").glob(".step-*.tmp"))), command.stderr
        torn += bool(list((run / "checkpoints").glob(".step-*.tmp")))
        assert all(find_fault(checkpoint.path) is None for checkpoint in CheckpointStore(run / "checkpoints", 2).all())
        command = processes.start(folder, "resume", run.name)
        if not command.wait_until(lambda: last_step(run) >= 1):
            break
        # Let it come to the next checkpoint, past the remains of the last one, which a resume removes first.
        command.wait_until(lambda: not any((run / "checkpoints").glob(".step-*.tmp")))
    assert command.wait().exit_code == 0, command.stderr

    assert torn > 0
    assert_same_end(run, whole)


def test_kill_before_the_first_checkpoint(folder: Path, uninterrupted: Callable[..., Path]) -> None:
    whole = uninterrupted("fp32")
    run = folder / "killed-early"
    command = processes.start(folder, *train_arguments(run.name))

    assert kill_when(command, lambda: (run / "recipe.yaml").exists())
    assert CheckpointStore(run / "checkpoints", 2).all() == []
    resume_to_the_end(folder, run)

    assert_same_end(run, whole)
    assert [e["checkpoint"] for e in read_events(run / "events.jsonl") if e.get("action") == "resume"] == [None]


def test_kill_while_the_finished_model_is_judged(folder: Path, uninterrupted: Callable[..., Path]) -> None:
    whole = uninterrupted("fp32")
    run = folder / "killed-finishing"
    command = processes.start(folder, *train_arguments(run.name))

    assert kill_when(command, lambda: bool(list(run.glob(".model.*.tmp"))) or (run / "model").exists())
    assert not (run / "evaluation.json").exists()
    resume_to_the_end(folder, run)

    assert_same_end(run, whole)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_polite_signal_writes_a_checkpoint(
    folder: Path, uninterrupted: Callable[..., Path], number: signal.Signals, exit_code: int
) -> None:
    whole = uninterrupted("fp32")
    run = folder / f"stopped-{number.name}"
    command = processes.start(folder, *train_arguments(run.name))
    assert command.wait_until(lambda: last_step(run) >= 4)

    command.send(number)
    command.wait()

    assert command.exit_code == exit_code
    assert f"{number.name} received" in command.stderr
    assert f"trimtab resume {run.name}" in command.stderr
    assert "Traceback" not in command.stderr
    newest, faults = CheckpointStore(run / "checkpoints", 2).newest_sound()
    assert faults == {}
    assert newest is not None and newest.step == last_step(run)
    resume_to_the_end(folder, run)
    assert_same_end(run, whole)


def test_partial_strategy_resumes_to_the_same_weights(folder: Path, uninterrupted: Callable[..., Path]) -> None:
    settings = {"strategy": "partial", "strategy__last_blocks": 1}
    whole = uninterrupted("partial", **settings)
    run = folder / "killed-partial"
    command = processes.start(folder, *train_arguments(run.name, **settings))

    assert kill_when(command, lambda: last_step(run) >= 20)
    resume_to_the_end(folder, run)

    assert_same_end(run, whole)


def test_a_finished_run_is_not_resumed(folder: Path, uninterrupted: Callable[..., Path]) -> None:
    whole = uninterrupted("fp32")
    before = sha256_of(whole / "events.jsonl")

    command = processes.finish(folder, "resume", whole.name)

    assert command.exit_code == 2
    assert "is finished" in command.stderr
    assert sha256_of(whole / "events.jsonl") == before
