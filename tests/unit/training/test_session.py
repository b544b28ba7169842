"""What goes along with the loop: when it evaluates and saves, what is best, and how a signal ends it."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_engine

from trimtab.core.errors import InterruptedRun, NonFiniteError
from trimtab.core.events import EventLog, read_events
from trimtab.training.checkpoints import CheckpointStore
from trimtab.training.precision import choose_precision
from trimtab.training.session import Judgement, Session
from trimtab.training.signals import StopRequest

ROWS = 24
PER_EPOCH = 3


class Judge:
    """Gives the values listed, one an evaluation."""

    def __init__(self, *values: float, higher: bool = True) -> None:
        self.values = list(values)
        self.higher = higher
        self.calls = 0

    def __call__(self) -> Judgement:
        value = self.values[self.calls]
        self.calls += 1
        return Judgement("accuracy", value, self.higher, {"accuracy": value})


def make_session(
    folder: Path, judge: Callable[[], Judgement], *, listener: Callable[[dict], None] | None = None, **sections: dict
) -> Session:
    training = {"num_epochs": 4, **sections.pop("training", {})}
    recipe = tiny_engine.make_recipe(training=training, **sections)
    engine = tiny_engine.make_engine(tiny_engine.make_model(), tiny_engine.make_examples(ROWS), recipe)
    events = EventLog(folder / "events.jsonl")
    if listener is not None:
        events.listen(listener)
    return Session(
        engine=engine,
        model=engine.model,
        evaluate=judge,
        store=CheckpointStore(folder / "checkpoints", recipe.checkpoint.keep_last),
        events=events,
        describe_rows=lambda rows: f"{len(rows)} rows",
        resume_command="trimtab resume here",
    )


def steps_of(folder: Path, kind: str) -> list[int]:
    return [event["step"] for event in read_events(folder / "events.jsonl") if event["type"] == kind]


def kept(folder: Path) -> list[int]:
    return [checkpoint.step for checkpoint in CheckpointStore(folder / "checkpoints", 1).all()]


def test_evaluation_and_checkpoint_at_each_epoch_by_default(tmp_path: Path) -> None:
    session = make_session(tmp_path, Judge(0.1, 0.2, 0.3, 0.4))

    session.run()

    assert steps_of(tmp_path, "step") == list(range(1, 13))
    assert steps_of(tmp_path, "evaluation") == [3, 6, 9, 12]
    assert steps_of(tmp_path, "checkpoint") == [3, 6, 9, 12]
    assert kept(tmp_path) == [9, 12]


def test_steps_between_evaluations_and_between_checkpoints(tmp_path: Path) -> None:
    session = make_session(
        tmp_path, Judge(0.5, 0.4, 0.3), checkpoint={"every_steps": 4, "keep_last": 1}, evaluation={"every_steps": 5}
    )

    session.run()

    # The last step is always judged and kept; the best is kept besides.
    assert steps_of(tmp_path, "evaluation") == [5, 10, 12]
    assert steps_of(tmp_path, "checkpoint") == [4, 5, 8, 12]
    assert kept(tmp_path) == [5, 12]


@pytest.mark.parametrize(
    ("values", "higher", "best"),
    [
        ((0.3, 0.5, 0.5, 0.4), True, 6),
        ((0.3, 0.2, 0.25, 0.2), False, 6),
        ((math.nan, 0.2, math.nan, 0.1), True, 6),
        ((math.nan,) * 4, True, 0),
    ],
)
def test_the_best_is_the_first_of_its_value(tmp_path: Path, values: tuple[float, ...], higher: bool, best: int) -> None:
    session = make_session(tmp_path, Judge(*values, higher=higher))

    session.run()

    assert session.engine.progress.best_step == best
    evaluations = [event for event in read_events(tmp_path / "events.jsonl") if event["type"] == "evaluation"]
    assert [event["metrics"]["accuracy"] for event in evaluations] == [None if math.isnan(v) else v for v in values]
    assert best == 0 or best in kept(tmp_path)


def test_max_steps_end_the_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    session = make_session(tmp_path, Judge(0.1, 0.2), training={"max_steps": 5})

    session.run()

    assert steps_of(tmp_path, "step") == [1, 2, 3, 4, 5]
    assert steps_of(tmp_path, "evaluation") == [3, 5]
    assert kept(tmp_path) == [3, 5]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_after_the_step_with_a_checkpoint(tmp_path: Path, number: signal.Signals, exit_code: int) -> None:
    def interrupt(event: dict) -> None:
        if event["type"] == "step" and event["step"] == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    session = make_session(tmp_path, Judge(0.1, 0.2), listener=interrupt)

    with pytest.raises(InterruptedRun) as caught:
        session.run()

    assert caught.value.exit_code == exit_code
    assert caught.value.resume_command == "trimtab resume here"
    assert "trimtab resume here" in str(caught.value)
    assert kept(tmp_path)[-1] == 4
    assert steps_of(tmp_path, "step") == [1, 2, 3, 4]
    last = list(read_events(tmp_path / "events.jsonl"))[-1]
    assert (last["action"], last["signal"], last["step"]) == ("interrupted", number.name, 4)
    assert signal.getsignal(number) is before


def test_a_signal_at_the_last_step_lets_the_run_finish(tmp_path: Path) -> None:
    def interrupt(event: dict) -> None:
        if event["type"] == "step" and event["step"] == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    make_session(tmp_path, Judge(0.1, 0.2, 0.3, 0.4), listener=interrupt).run()

    assert kept(tmp_path)[-1] == 12


def test_a_second_ctrl_c_does_not_wait() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_non_finite_steps_are_in_the_record_before_the_run_stops(tmp_path: Path) -> None:
    session = make_session(tmp_path, Judge(0.1), training={"max_nonfinite_steps": 2})
    real = session.engine.objective.task.loss
    session.engine.objective.task.loss = lambda outputs, batch: (real(outputs, batch)[0] * math.nan, len(batch.labels))

    with pytest.raises(NonFiniteError, match="Rows of this step: 8 rows"):
        session.run()

    events = list(read_events(tmp_path / "events.jsonl"))
    assert [event["skipped"] for event in events] == ["the loss is NaN"] * 2
    assert [event["loss"] for event in events] == [None, None]
    assert all(len(event["rows"]) == 8 for event in events)
    assert "NaN" not in (tmp_path / "events.jsonl").read_text().replace("the loss is NaN", "")


@pytest.mark.parametrize("wanted", ["bf16", "fp32"])
def test_a_precision_that_is_asked_for_is_taken(wanted: str) -> None:
    import torch

    assert choose_precision(wanted, torch.device("cpu")) == (wanted, "as asked")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"bf16": True}, "bf16")],
)
def test_automatic_precision_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    precision, reason = choose_precision("auto", torch.device("cpu"))

    assert precision == expected
    assert ("does not" in reason) == (expected == "fp32")
