"""`--autopilot act` from the command line: it acts on a planted fault, and a killed run ends as the whole one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import processes
import pytest
import tiny

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of

COMMON = (
    "--model", "./bert", "--epochs", "6", "--set", "training.batch_size=8", "--set", "training.device=cpu",
    "--set", "training.precision=fp32", "--set", "evaluation.baselines=false",
    "--set", "evaluation.bootstrap_samples=100", "--set", "checkpoint.every_steps=5",
)  # fmt: skip
HUGE = ("--learning-rate", "3", "--set", "schedule.warmup_ratio=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny masked language model and 120 rows."""
    folder = tmp_path_factory.mktemp("autopilot")
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tiny.save_bert(folder / "bert")
    tiny.make_tokenizer(**special, mask_token="[MASK]").save_pretrained(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 120)
    return folder


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The events of a type, or the `action` events of a name."""
    return [event for event in read_events(run / "events.jsonl") if kind in (event["type"], event.get("action"))]


def test_it_acts_on_a_rate_that_is_far_too_high_and_resumes(folder: Path) -> None:
    done = processes.finish(folder, "train", "texts.csv", *COMMON, *HUGE, "--autopilot", "act", "--output", "whole")
    assert done.exit_code == 0, done.stderr
    whole = folder / "whole"
    taken = events(whole, "autopilot")
    assert taken and {event["remedy"] for event in taken} == {"lower_rate"}
    assert events(whole, "autopilot_effect")
    assert not (whole / "checkpoints" / "autopilot").exists()

    command = processes.start(folder, "train", "texts.csv", *COMMON, *HUGE, "--autopilot", "act", "--output", "killed")
    killed = folder / "killed"
    assert command.wait_until(lambda: bool(events(killed, "autopilot"))), command.stderr
    command.send(signal.SIGKILL)
    command.wait()
    resumed = processes.finish(folder, "resume", "killed")
    assert resumed.exit_code == 0, resumed.stderr
    assert sha256_of(killed / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")
