"""A killed run resumes to the same bits with stages, masks, adapters, averages, penalties and replay on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import processes
import pytest
import tiny

from trimtab.core.events import read_events
from trimtab.core.files import sha256_of

COMMON = {
    "training.num_epochs": 4,
    "training.batch_size": 8,
    "training.device": "cpu",
    "training.precision": "fp32",
    "checkpoint.every_steps": 3,
    "optimizer.learning_rate": 0.003,
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
    "model.dropout": 0.1,
}
CASES: dict[str, dict[str, Any]] = {
    "stages": {
        "strategy": "gradual",
        "strategy.stage_length": 1,
        "strategy.decay": 0.5,
        "schedule.name": "cosine_restarts",
        "weights.source": "ema",
        "regularization.gradient_noise": 0.01,
        "regularization.mixout": 0.3,
        "augmentation.word_dropout": 0.2,
    },
    "elements": {
        "strategy": "importance",
        "strategy.unit": "element",
        "strategy.rows": 16,
        "forgetting.ewc": 0.1,
        "forgetting.ewc_rows": 8,
        "forgetting.replay": 0.1,
        "forgetting.replay_rows": 4,
        "weights.source": "swa",
    },
    "adapters": {
        "strategy": "adalora",
        "forgetting.distillation": 0.5,
        "regularization.mixup": 0.4,
        "weights.source": "soup",
    },
    "probe, then all": {
        "strategy": "lp-ft",
        "optimizer.name": "schedule_free_adamw",
        "schedule.name": "constant",
        "regularization.r_drop": 0.5,
        "regularization.l2_sp": 0.01,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny masked language model and 120 rows."""
    folder = tmp_path_factory.mktemp("parts")
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tiny.save_bert(folder / "bert")
    tiny.make_tokenizer(**special, mask_token="[MASK]").save_pretrained(folder / "bert")
    tiny.write_csv(folder / "texts.csv", 120)
    return folder


def arguments(output: str, case: str) -> list[str]:
    settings = {**COMMON, **CASES[case]}
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["train", "texts.csv", "--model", "./bert", "--output", output, *pairs]


def losses(run: Path) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in read_events(run / "events.jsonl") if event["type"] == "step"}


@pytest.mark.parametrize(
    ("case", "step"), [("stages", 17), ("elements", 20), ("adapters", 25), ("probe, then all", 20)]
)
def test_a_killed_run_ends_as_one_that_was_not(folder: Path, case: str, step: int) -> None:
    whole, run = folder / f"whole {case}", folder / f"killed {case}"
    done = processes.finish(folder, *arguments(whole.name, case))
    assert done.exit_code == 0, done.stderr

    command = processes.start(folder, *arguments(run.name, case))
    assert command.wait_until(lambda: max(losses(run), default=0) >= step), command.stderr
    command.send(signal.SIGKILL)
    command.wait()
    assert command.exit_code == -signal.SIGKILL
    resumed = processes.finish(folder, "resume", run.name)
    assert resumed.exit_code == 0, resumed.stderr

    assert sorted(losses(run)) == list(range(1, max(losses(whole)) + 1))
    assert losses(run) == losses(whole)
    assert sha256_of(run / "model" / "model.safetensors") == sha256_of(whole / "model" / "model.safetensors")
    assert any(event.get("action") == "resume" and event["checkpoint"] for event in read_events(run / "events.jsonl"))
