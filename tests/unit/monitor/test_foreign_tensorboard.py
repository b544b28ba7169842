"""Logs of TensorBoard, written by PyTorch's writer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from trimtab.core.errors import MissingDependencyError, RunError
from trimtab.monitor.reading import open_trace

pytest.importorskip("tensorboard")


def write_log(folder: Path, tags: dict[str, list[tuple[int, float]]]) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for tag, scalars in tags.items():
            for step, value in scalars:
                writer.add_scalar(tag, value, step)  # type: ignore[no-untyped-call]
    return folder


TAGS = {
    "train/loss": [(step, 1.0 - step / 20) for step in range(1, 11)],
    "train/learning_rate": [(step, 1e-3) for step in range(1, 11)],
    "train/grad_norm": [(step, 2.0) for step in range(1, 11)],
    "train/epoch": [(step, step / 5) for step in range(1, 11)],
    "eval/loss": [(5, 0.8), (10, 0.7)],
    "eval/accuracy": [(5, 0.5), (10, 0.625)],
    "eval/runtime": [(5, 1.0), (10, 1.0)],
    "train/train_loss": [(10, 0.75)],
}


def test_usual_tags(tmp_path: Path) -> None:
    trace = open_trace(write_log(tmp_path / "log", TAGS))
    assert trace.facts.origin == "tensorboard"
    assert trace.facts.metric == "accuracy"
    assert list(trace.steps) == list(range(1, 11))
    assert np.allclose(trace.column("loss"), [value for _, value in TAGS["train/loss"]])
    assert np.allclose(trace.column("grad_norm"), 2.0)
    assert np.allclose(trace.column("epoch"), np.arange(1, 11) / 5)
    assert np.isclose(trace.facts.learning_rate or 0, 1e-3)
    assert [set(evaluation.values) for evaluation in trace.evaluations] == [{"loss", "accuracy"}] * 2
    assert list(trace.evaluated("accuracy")[1]) == [0.5, 0.625]


def test_a_file_and_a_folder_above_are_read_too(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "output" / "runs" / "one", TAGS)
    assert open_trace(next(folder.iterdir())).last_step == 10
    assert open_trace(tmp_path / "output").last_step == 10


def test_of_several_logs_one_must_be_named(tmp_path: Path) -> None:
    write_log(tmp_path / "one", TAGS)
    write_log(tmp_path / "two", TAGS)
    with pytest.raises(RunError, match="holds 2 records: one, two") as caught:
        open_trace(tmp_path)
    assert "Name one of them" in caught.value.remedy


def test_folders_for_training_and_validation_are_one_run(tmp_path: Path) -> None:
    write_log(tmp_path / "train", {"epoch_loss": [(0, 0.9), (1, 0.8)]})
    write_log(tmp_path / "validation", {"epoch_loss": [(0, 0.95), (1, 0.85)], "epoch_accuracy": [(0, 0.5), (1, 0.75)]})
    trace = open_trace(tmp_path)
    assert list(trace.steps) == [1, 2]
    assert np.allclose(trace.evaluated("loss")[1], [0.95, 0.85])
    assert list(trace.evaluated("accuracy")[1]) == [0.5, 0.75]


def test_nan_is_nan(tmp_path: Path) -> None:
    trace = open_trace(write_log(tmp_path, {"loss": [(1, 0.5), (2, float("nan")), (3, float("inf"))]}))
    assert np.isfinite(trace.column("loss")).tolist() == [True, False, False]


def test_steps_at_which_only_a_gradient_was_logged_are_left_out(tmp_path: Path) -> None:
    tags = {"loss": [(2, 0.5), (4, 0.4)], "grad_norm": [(step, 1.0) for step in range(1, 8)]}
    assert list(open_trace(write_log(tmp_path, tags)).steps) == [2, 4]


def test_a_log_without_a_loss_names_its_tags(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no loss\. Its scalars: speed, temperature"):
        open_trace(write_log(tmp_path, {"speed": [(1, 1.0)], "temperature": [(1, 1.0)]}))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, TAGS)
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(MissingDependencyError, match="read a TensorBoard log") as caught:
        open_trace(tmp_path)
    assert "trimtab[tensorboard]" in caught.value.remedy
