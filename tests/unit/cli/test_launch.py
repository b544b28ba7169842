"""`--devices`: what is refused, what the processes are told, and how they end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from command import trimtab

from trimtab.cli import launch as module
from trimtab.cli.launch import check_devices, launch, processes_to_start, without_devices
from trimtab.core.errors import RecipeError, TrainingError

# Stands in for the command line: `-m trimtab.cli.main` becomes this program.
PROGRAM = """
import os, sys, time
rank = int(os.environ["RANK"])
words = sys.argv[1:]
print(rank, os.environ["WORLD_SIZE"], os.environ["OMP_NUM_THREADS"], *words, flush=True)
if words[0] == "codes":
    sys.exit(int(words[1 + rank]))
if words[0] == "kill" and rank == 1:
    print("bad end", file=sys.stderr, flush=True)
    os.kill(os.getpid(), 9)
time.sleep(60 if words[0] == "kill" else 0)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that run `PROGRAM`, and soon lose patience."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    start = module._start

    def instead(command: list[str], environment: dict[str, str], log: Path | None) -> object:
        return start([sys.executable, str(file), *command[3:]], environment, log)

    monkeypatch.setattr(module, "_start", instead)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_processes_know_their_number_and_share_the_cores(program: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(["say", "--devices", "2", "x"], 2, "cpu") == 0

    threads = max(1, module._cores() // 2)
    assert capfd.readouterr().out.splitlines() == [f"0 2 {threads} say x"]


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((3, 3), 3), ((143, 143), 143), ((2, 2), 2)])
def test_the_exit_code_is_that_of_the_first(program: None, codes: tuple[int, int], expected: int) -> None:
    assert launch(["codes", *map(str, codes)], 2, "cpu") == expected


def test_a_process_that_fails_alone_is_told_of(program: None) -> None:
    with pytest.raises(TrainingError, match=r"Process 1 of 2 was killed by SIGKILL") as caught:
        launch(["kill"], 2, "cpu")

    assert caught.value.problems[-1] == "bad end"
    assert "trimtab resume" in caught.value.remedy


def test_devices_is_taken_out_of_the_arguments() -> None:
    assert without_devices(["train", "x.csv", "--devices", "2", "--json"]) == ["train", "x.csv", "--json"]
    assert without_devices(["--devices=4", "resume", "run"]) == ["resume", "run"]
    assert without_devices(["train", "--", "--devices", "2"]) == ["train", "--", "--devices", "2"]


def test_one_device_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)

    assert [processes_to_start(devices) for devices in (None, 1, 2)] == [0, 0, 2]


def test_within_a_launcher_devices_is_refused(monkeypatch: pytest.MonkeyPatch, tickets: Path) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")

    outcome = trimtab("train", tickets, "--devices", "2")

    assert outcome.code == 2
    assert "one of 4 that a launcher" in outcome.error and "--nproc-per-node" in outcome.error


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")

    assert check_devices(2, "cuda") == "cuda"
    with pytest.raises(RecipeError, match=r"--devices 3: this machine has 2 GPUs \(GPU 0, GPU 1\)"):
        check_devices(3, "auto")
    with pytest.raises(RecipeError, match=r"training\.device is cuda:1, a single one"):
        check_devices(2, "cuda:1")


def test_faults_of_the_recipe_are_told_before_anything_starts(tickets: Path) -> None:
    outcome = trimtab("train", tickets, "--devices", "2", "--epochs", "0")

    assert outcome.code == 2
    assert "num_epochs" in outcome.error


def test_no_device_is_refused(tickets: Path) -> None:
    assert trimtab("train", tickets, "--devices", "0").code == 2
