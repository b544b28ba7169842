"""Tables of losses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from trimtab.core.errors import RunError
from trimtab.monitor.reading import open_trace
from trimtab.monitor.trace import Trace


def read(tmp_path: Path, text: str, name: str = "log.csv") -> Trace:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return open_trace(path)


def test_step_train_loss_validation_loss(tmp_path: Path) -> None:
    trace = read(tmp_path, "step,train loss,validation loss\n1,0.9,\n2,0.8,0.85\n3,0.7,\n4,0.6,0.75\n")
    assert trace.facts.origin == "csv"
    assert (trace.facts.metric, trace.facts.higher_is_better) == ("loss", False)
    assert trace.facts.total_steps is None and trace.progress == 1.0
    assert list(trace.column("loss")) == [0.9, 0.8, 0.7, 0.6]
    steps, values = trace.evaluated("loss")
    assert (list(steps), list(values)) == ([2, 4], [0.85, 0.75])


@pytest.mark.parametrize(
    "text",
    [
        "Step\tLoss\tEval_Loss\n1\t0.5\t0.6\n2\t0.4\t0.5\n",
        "iteration;train/loss;val_loss\n1;0,5;0,6\n2;0,4;0,5\n",
        '\ufeffSTEP,"TRAIN_LOSS",VAL_LOSS\r\n1,0.5,0.6\r\n2,0.4,0.5\r\n',
        "# by hand\nstep,loss,val_loss,seconds\n1,0.5,0.6,x\n2,0.4,0.5,y\n",
        "epoch,loss,val_loss\n0,0.5,0.6\n1,0.4,0.5\n",
        "loss,val_loss\n0.5,0.6\n0.4,0.5\n",
    ],
)
def test_separators_cases_and_missing_columns(tmp_path: Path, text: str) -> None:
    trace = read(tmp_path, text)
    assert list(trace.steps) == [1, 2]
    assert list(trace.column("loss")) == [0.5, 0.4]
    assert list(trace.evaluated("loss")[1]) == [0.6, 0.5]


def test_rows_of_one_step_are_one_as_lightning_writes_them(tmp_path: Path) -> None:
    text = "epoch,lr-AdamW,step,train_loss,val_acc,val_loss\n0,0.001,0,0.9,,\n0,0.001,1,0.8,,\n0,,1,,0.5,0.7\n"
    trace = read(tmp_path, text, "metrics.csv")
    assert list(trace.steps) == [1, 2]
    assert trace.facts.learning_rate == 0.001
    assert (trace.evaluations[0].step, trace.evaluations[0].values) == (2, {"accuracy": 0.5, "loss": 0.7})
    assert open_trace(tmp_path).last_step == 2


def test_steps_that_begin_anew_in_each_epoch_are_counted_through(tmp_path: Path) -> None:
    rows = "".join(f"{epoch},{step},0.5\n" for epoch in range(3) for step in range(4))
    assert list(read(tmp_path, f"epoch,step,loss\n{rows}").steps) == list(range(1, 13))
    rows = "".join(f"{epoch},{step},0.5\n" for epoch in (1, 2) for step in (1, 2, 3))
    assert list(read(tmp_path, f"epoch,step,loss\n{rows}").steps) == list(range(1, 7))


def test_steps_that_appear_again_are_those_of_a_resumed_run(tmp_path: Path) -> None:
    trace = read(tmp_path, "step,loss\n1,0.9\n2,0.8\n3,0.7\n2,0.85\n3,0.75\n")
    assert list(trace.steps) == [1, 2, 3]
    assert list(trace.column("loss")) == [0.9, 0.85, 0.75]


def test_several_rows_of_an_epoch_are_a_step_each(tmp_path: Path) -> None:
    trace = read(tmp_path, "epoch,loss\n0,0.9\n0,0.8\n1,0.7\n1,0.6\n")
    assert list(trace.column("loss")) == [0.9, 0.8, 0.7, 0.6]
    assert list(read(tmp_path, "epoch,loss\n0.5,0.9\n1.0,0.8\n").steps) == [1, 2]


def test_a_run_that_became_nan_is_told_from_cells_without_a_value(tmp_path: Path) -> None:
    trace = read(tmp_path, "step,loss,val_loss\n1,0.9,nan\n2,nan,0.9\n3,0.8,nan\n4,nan,nan\n5,nan,nan\n")
    assert list(trace.steps) == [1, 3, 4, 5]
    assert np.isnan(trace.column("loss")[2:]).all()
    assert trace.evaluations[0].step == 2 and trace.evaluations[0].values["loss"] == 0.9
    assert all(math.isnan(evaluation.values["loss"]) for evaluation in trace.evaluations[1:])
    infinite = read(tmp_path, "step,loss\n1,0.9\n2,inf\n3,0.8\n").column("loss")
    assert np.isinf(infinite).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("step,loss\n", "has a header and no rows"),
        ("1,0.5\n2,0.4\n", "has no header: its first line is '1,0.5'"),
        ("step,speed,accuracy\n1,2,3\n", "no column with a loss. Its columns: step, speed, accuracy"),
        ("step,loss\n1,a\n2,b\n", "no column with a loss"),
        ("some words of a text\nand more\n", "no column with a loss. Its columns: some words of a text"),
    ],
)
def test_what_is_no_table_of_losses_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.remedy


def test_one_row(tmp_path: Path) -> None:
    trace = read(tmp_path, "step,loss,val_loss\n7,0.5,0.6\n")
    assert (trace.last_step, len(trace.evaluations)) == (7, 1)


def test_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x00\x9f\x92\x96")
    with pytest.raises(RunError, match="it is no text"):
        open_trace(tmp_path / "a.csv")
