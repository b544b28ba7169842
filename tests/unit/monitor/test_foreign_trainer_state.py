"""`trainer_state.json` of transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.core.errors import RunError
from trimtab.monitor.diagnose import diagnose
from trimtab.monitor.reading import open_trace


def entry(step: int, **fields: Any) -> dict[str, Any]:
    return {"step": step, "epoch": step / 10, **fields}


def write_state(path: Path, history: list[Any], **fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"global_step": 20, "epoch": 2.0, "max_steps": 40, "num_train_epochs": 4, "log_history": history, **fields}
    path.write_text(json.dumps(state, indent=2), encoding="utf-8")
    return path


def history() -> list[dict[str, Any]]:
    rates = [5e-5, 1e-4, 7e-5, 4e-5]
    logged = [
        entry(step, loss=1.0 - step / 40, grad_norm=2.0, learning_rate=rate)
        for step, rate in zip((5, 10, 15, 20), rates, strict=True)
    ]
    logged.insert(2, entry(10, eval_loss=0.8, eval_f1_macro=0.6, eval_accuracy=0.7, eval_runtime=1.5))
    logged.append(entry(20, eval_loss=0.9, eval_f1_macro=0.5, eval_accuracy=0.6, eval_runtime=1.5))
    logged.append(entry(20, train_loss=0.7, train_runtime=3.0))
    return logged


def test_losses_metrics_and_plan(tmp_path: Path) -> None:
    trace = open_trace(write_state(tmp_path / "trainer_state.json", history()))

    assert trace.facts.origin == "trainer_state"
    assert (trace.facts.total_steps, trace.facts.steps_per_epoch, trace.facts.num_epochs) == (40, 10, 4)
    assert (trace.facts.metric, trace.facts.higher_is_better) == ("macro_f1", True)
    assert trace.facts.learning_rate == 1e-4
    assert trace.facts.warmup_steps == 10
    assert list(trace.steps) == [5, 10, 15, 20]
    assert list(trace.column("loss")) == [0.875, 0.75, 0.625, 0.5]
    assert list(trace.column("learning_rate")) == [5e-5, 1e-4, 7e-5, 4e-5]
    steps, values = trace.evaluated("macro_f1")
    assert (list(steps), list(values)) == ([10, 20], [0.6, 0.5])
    assert set(trace.evaluations[0].values) == {"loss", "macro_f1", "accuracy"}
    assert trace.progress == 0.5
    assert not trace.skipped


def test_a_folder_gives_its_own_record_or_that_of_the_newest_checkpoint(tmp_path: Path) -> None:
    write_state(tmp_path / "checkpoint-9" / "trainer_state.json", [entry(9, loss=0.5)])
    write_state(tmp_path / "checkpoint-10" / "trainer_state.json", [entry(10, loss=0.5)])
    assert open_trace(tmp_path).last_step == 10
    assert open_trace(tmp_path / "checkpoint-9").last_step == 9
    write_state(tmp_path / "trainer_state.json", [entry(12, loss=0.5)])
    assert open_trace(tmp_path).last_step == 12


def test_a_loss_of_zero_beside_a_gradient_that_is_nan_is_nan(tmp_path: Path) -> None:
    logged = [entry(5, loss=0.7, grad_norm=1.0), *(entry(step, loss=0.0, grad_norm=math.nan) for step in (10, 15))]
    trace = open_trace(write_state(tmp_path / "trainer_state.json", logged))
    assert np.isnan(trace.column("loss")[1:]).all() and trace.column("loss")[0] == 0.7
    # The Trainer used those gradients: nothing was skipped.
    assert not trace.skipped
    (finding,) = diagnose(trace)
    assert (finding.name, finding.severity, finding.since) == ("divergence", "act", 10)


def test_a_loss_of_zero_before_a_validation_loss_that_is_nan_is_nan(tmp_path: Path) -> None:
    logged = [entry(5, loss=0.7), entry(5, eval_loss=0.7), entry(10, loss=0.0), entry(10, eval_loss=math.nan)]
    trace = open_trace(write_state(tmp_path / "trainer_state.json", logged))
    assert np.isnan(trace.column("loss")).tolist() == [False, True]
    assert math.isnan(trace.evaluations[1].values["loss"])


def test_a_loss_of_zero_of_a_sound_run_is_kept(tmp_path: Path) -> None:
    logged = [entry(5, loss=0.1, grad_norm=1.0), entry(10, loss=0.0, grad_norm=1e-6), entry(10, eval_loss=0.01)]
    trace = open_trace(write_state(tmp_path / "trainer_state.json", logged))
    assert list(trace.column("loss")) == [0.1, 0.0]


def test_losses_of_a_sample_of_training_rows_are_held_in(tmp_path: Path) -> None:
    logged = [entry(5, loss=0.7), entry(5, eval_validation_loss=0.8), entry(5, eval_train_loss=0.6)]
    trace = open_trace(write_state(tmp_path / "trainer_state.json", logged))
    assert trace.evaluations[0].values == {"loss": 0.8}
    assert trace.evaluations[0].held_in == {"loss": 0.6}


def test_a_constant_rate_has_no_warm_up(tmp_path: Path) -> None:
    logged = [entry(step, loss=0.5, learning_rate=1e-4) for step in range(1, 9)]
    assert open_trace(write_state(tmp_path / "trainer_state.json", logged)).facts.warmup_steps == 0


def test_entries_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    logged = ["text", {"loss": 1.0}, entry(5, loss="high"), {"step": True, "loss": 1.0}, entry(6, loss=0.5)]
    assert list(open_trace(write_state(tmp_path / "trainer_state.json", logged)).steps) == [6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"a": 1}', "has no log_history"),
        ("[1, 2]", "has no log_history"),
        ('{"log_history": []}', "holds no loss \\(0 entries\\)"),
        ('{"log_history": [{"step": 3, "train_loss": 1.0, "train_runtime": 2.0}]}', "holds no loss \\(1 entries\\)"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        open_trace(path)
    assert caught.value.remedy
