"""A run that trains only the token embeddings in use: killed and resumed to the same weights, delivered whole."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import processes
import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of

NAME = "bert.embeddings.word_embeddings.weight"
# Above the number of rows from which on it pays, in `pipeline/token_rows.py`.
TABLE = 1200
USED = len(tiny.FILLER) + 1
STEPS = 30
SETTINGS = {
    "training.num_epochs": 6,
    "training.batch_size": 8,
    "training.device": "cpu",
    "training.precision": "fp32",
    "checkpoint.every_steps": 4,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": "false",
    "evaluation.bootstrap_samples": 100,
    "model.dropout": 0.1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("token-rows")
    tiny.save_bert(folder / "bert", vocab_size=TABLE)
    tiny.write_csv(folder / "texts.csv", 57)
    return folder


def arguments(output: str, **settings: Any) -> list[str]:
    merged = {**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}}
    pairs = [part for key, value in merged.items() for part in ("--set", f"{key}={value}")]
    return ["train", "texts.csv", "--model", "./bert", "--output", output, *pairs]


def train(folder: Path, output: str, **settings: Any) -> Path:
    command = processes.finish(folder, *arguments(output, **settings))
    assert command.exit_code == 0, command.stderr
    return folder / output


def table_of(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")[NAME]


def rows_trained(run: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(run / "events.jsonl") if event.get("action") == "token_rows"]


def last_step(run: Path) -> int:
    return max((event["step"] for event in read_events(run / "events.jsonl") if event["type"] == "step"), default=0)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return train(folder, "whole")


def test_checkpoints_hold_the_rows_in_use_and_the_delivered_model_all(folder: Path, whole: Path) -> None:
    (event,) = rows_trained(whole)
    assert (event["tensor"], event["rows"], event["of"]) == (NAME, USED, TABLE)
    kept = sorted((whole / "checkpoints").glob("step-*"))
    assert kept and {len(table_of(path)) for path in kept} == {USED}
    before, after = table_of(folder / "bert"), table_of(whole / "model")
    assert after.shape == before.shape == (TABLE, 16)
    moved = torch.nonzero((after != before).any(dim=1)).squeeze(1).tolist()
    # No gradient comes to padding, and decay moves it where it is not zero.
    assert set(moved) - {0} == {tiny.WORDS.index(word) for word in tiny.FILLER}
    model = AutoModelForSequenceClassification.from_pretrained(whole / "model")
    assert torch.equal(model.get_input_embeddings().weight, after)
    described = json.loads((whole / "strategy.json").read_text())
    (tensor,) = [tensor for tensor in described["tensors"] if tensor["tensor"] == NAME]
    assert tensor["parameters"] == TABLE * 16


def test_killed_and_resumed_it_ends_with_the_same_weights(folder: Path, whole: Path) -> None:
    run = folder / "killed"
    command = processes.start(folder, *arguments(run.name))
    assert command.wait_until(lambda: run.is_dir() and last_step(run) >= 9), command.stderr
    command.send(signal.SIGKILL)
    command.wait()
    assert command.exit_code == -signal.SIGKILL
    again = processes.finish(folder, "resume", run.name)
    assert again.exit_code == 0, again.stderr

    assert sha256_of(run / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")
    assert [event["rows"] for event in rows_trained(run)] == [USED, USED]


@pytest.mark.parametrize(
    "settings",
    [
        {"weights__source": "soup"},
        {"weights__interpolation": 0.5},
        {"weights__source": "last", "training__precision": "bf16"},
    ],
    ids=str,
)
def test_with_other_ways_to_choose_the_weights(folder: Path, settings: dict[str, Any]) -> None:
    run = train(folder, f"{'-'.join(settings)}", **settings)

    assert rows_trained(run)
    assert table_of(run / "model").shape == (TABLE, 16)
    before, after = table_of(folder / "bert"), table_of(run / "model")
    assert torch.equal(after[len(tiny.WORDS) :], before[len(tiny.WORDS) :])
    assert not torch.equal(after, before)


def test_an_average_of_the_weights_keeps_the_table_whole(folder: Path) -> None:
    run = train(folder, "ema", weights__source="ema")

    assert rows_trained(run) == []
    assert table_of(run / "model").shape == (TABLE, 16)
