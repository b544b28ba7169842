"""What is asked of a tiny run: what it does, what it answers, and that a kill and a resume change no weight."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_engine
from asked_runs import AskedRun, Asks, command, put
from autopilot_runs import EPOCHS, PER_EPOCH, KilledError, at, finding

from trimtab.core.errors import InterruptedRun
from trimtab.core.events import read_events
from trimtab.monitor.findings import Finding
from trimtab.pipeline.describe import Timer
from trimtab.training.checkpoints import find_fault
from trimtab.training.records import Steered

TOTAL = PER_EPOCH * EPOCHS
RISING = {0: 0.3, 6: 0.4, 12: 0.5, 18: 0.6, 24: 0.7, 30: 0.8}
CONSTANT: dict[str, Any] = {"schedule": {"name": "constant", "warmup_ratio": 0.0}}
ROWS_GONE = finding("suspect_labels", severity="info", rows=({"index": 4}, {"split": "train", "index": 20}))
TOO_HIGH = finding("learning_rate_too_high", since=8, severity="warning", change={"optimizer.learning_rate": 1e-4})


def test_a_run_of_which_nothing_is_asked_stays_as_it_is(tmp_path: Path) -> None:
    asked = AskedRun(tmp_path / "asked", {})
    weights = asked.run()
    plain = AskedRun(tmp_path / "plain", {})
    plain.session.control = None

    assert tiny_engine.same_weights(weights, plain.run())
    assert asked.answers() == []
    assert sorted(path.name for path in (tmp_path / "asked").iterdir()) == ["checkpoints", "events.jsonl"]


def test_the_learning_rate_is_scaled_from_the_next_step_on(tmp_path: Path) -> None:
    asks = {8: [command("learning_rate", factor=0.5)], 20: [command("learning_rate", factor=4)]}
    run = AskedRun(tmp_path, asks, **CONSTANT)
    run.run()

    rates = run.rates()
    assert {step: rates[step] for step in (8, 9, 20, 21, TOTAL)} == pytest.approx(
        {8: 1e-3, 9: 5e-4, 20: 5e-4, 21: 2e-3, TOTAL: 2e-3}
    )
    first, second = run.answers()
    assert (first["step"], first["accepted"], first["factor"], first["by"]) == (8, True, 0.5, "test")
    assert (first["before"], first["after"]) == ({"rate_scale": 1.0}, {"rate_scale": 0.5})
    assert second["after"] == {"rate_scale": 2.0}
    assert run.engine.progress.steered.rate_scale == 2.0


CASES: dict[str, tuple[Asks, tuple[Finding, ...], Any]] = {
    "rate": ({8: [command("learning_rate", factor=0.3)], 9: [command("learning_rate", factor=5)]}, (), None),
    "rows": ({8: [command("remedy", finding="suspect_labels")]}, (ROWS_GONE,), None),
    "dropout": ({8: [command("remedy", finding="overfitting")]}, (finding("overfitting", severity="info"),), None),
    "back": ({15: [command("remedy", finding="learning_rate_too_high")]}, (TOO_HIGH,), None),
    "back to the start": (
        {15: [command("remedy", finding="learning_rate_too_low")]},
        (finding("learning_rate_too_low", severity="info"),),
        lambda engine, urgent: [],
    ),
    "beside the autopilot": (
        {20: [command("learning_rate", factor=0.5)]},
        (),
        at(12, finding("overfitting")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_after_the_answer_it_ends_with_the_same_weights(tmp_path: Path, case: str) -> None:
    asks, findings, examine = CASES[case]
    # The best is at step 6, before the trouble of `TOO_HIGH` begins.
    fields: dict[str, Any] = {"findings": findings, "examine": examine, "values": {0: 0.3, 6: 0.6, 12: 0.5, 24: 0.61}}
    whole = AskedRun(tmp_path / "whole", asks, **fields)
    expected = whole.run()
    assert [answer["accepted"] for answer in whole.answers()] == [True] * sum(map(len, asks.values()))
    events = list(read_events(tmp_path / "whole" / "events.jsonl"))
    answered = max(index for index, event in enumerate(events, 1) if event["type"] == "control")

    for moment in (answered, answered + 2):
        folder = tmp_path / f"killed at {moment}"
        with pytest.raises(KilledError):
            AskedRun(folder, asks, **fields, die_at=moment).run()
        resumed = AskedRun(folder, {}, **fields)
        assert resumed.engine.progress.steered == whole.engine.progress.steered
        assert tiny_engine.same_weights(resumed.run(), expected), moment
        assert resumed.engine.progress.best_step == whole.engine.progress.best_step


def test_a_remedy_goes_back_to_the_best_before_the_trouble(tmp_path: Path) -> None:
    asks, findings, _ = CASES["back"]
    run = AskedRun(tmp_path, asks, findings=findings, values={0: 0.3, 6: 0.6, 12: 0.5})
    run.run()

    (answer,) = run.answers()
    assert (answer["step"], answer["back_to"], answer["remedy"]) == (15, 6, "lower_rate")
    assert answer["after"] == {"rate_scale": pytest.approx(0.1)}
    assert "went back to step 6" in answer["reason"]
    assert run.steps() == [*range(1, 16), *range(7, TOTAL + 1)]


def test_without_a_state_from_before_it_goes_on_from_here(tmp_path: Path) -> None:
    early = finding("learning_rate_too_high", since=1, severity="info")
    run = AskedRun(tmp_path, {8: [command("remedy", finding=early.name)]}, findings=(early,), values=RISING, **CONSTANT)
    run.run()

    (answer,) = run.answers()
    assert answer["accepted"] and answer["back_to"] is None and "from here on" in answer["reason"]
    assert run.steps() == list(range(1, TOTAL + 1))
    assert run.rates()[9] == pytest.approx(0.2 * run.rates()[8])


def test_rows_that_are_left_out_by_request_are_not_met_again(tmp_path: Path) -> None:
    asks, findings, _ = CASES["rows"]
    run = AskedRun(tmp_path, asks, findings=findings)
    met: list[tuple[int, np.ndarray]] = []
    real = run.engine.examples.collate
    run.engine.examples.collate = lambda rows: (met.append((run.engine.progress.step, rows)), real(rows))[1]  # type: ignore[method-assign]
    run.run()

    later = np.concatenate([rows for step, rows in met if step >= 2 * PER_EPOCH])
    assert set(later) == set(range(48)) - {4, 20}
    assert run.answers()[0]["after"] == {"left_out": 2}


def test_training_ends_by_request_only_where_that_is_named(tmp_path: Path) -> None:
    over = finding("overfitting", severity="info")
    asks = {
        3: [command("remedy", finding="overfitting", remedy="stop_early")],
        8: [command("remedy", finding="overfitting")],
        9: [command("remedy", finding="overfitting")],
        10: [command("remedy", finding="overfitting", remedy="stop_early")],
    }
    run = AskedRun(tmp_path, asks, findings=(over,))
    run.run()

    too_early, first, again, named = run.answers()
    assert not too_early["accepted"] and "no evaluation" in too_early["reason"]
    assert first["accepted"] and first["remedy"] == "regularise"
    assert not again["accepted"] and "stop_early is left, and has to be named" in again["reason"]
    assert named["accepted"] and named["after"] == {"stopped": True}
    assert run.steps()[-1] == 10
    assert "asked for" in str(run.engine.progress.stopped)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (command("remedy", finding="forgotten"), "finds no 'forgotten' in it Did you mean 'forgetting'?"),
        (command("remedy", finding="plateau"), "train anew with training.num_epochs=9"),
        (command("remedy", finding="truncated_texts"), "longer_inputs, which answers truncated_texts, comes before"),
        (command("remedy", finding="underfitting"), "leaves no whole block frozen"),
        (command("remedy", finding="suspect_labels"), "does not say what leave_out needs"),
        (command("remedy", finding="overfitting", remedy="lower_rate"), "is no remedy for overfitting: regularise"),
        (command("remedy"), "needs the name of a finding"),
        (command("learning_rate", factor=1.0), "change nothing"),
        (command("learning_rate", factor="much"), "needs a factor"),
        (command("learning_rate"), "needs a factor"),
        (command("learning_rate", factor=0), "needs a factor"),
        (command("resume"), "is not paused"),
        (command("pause", until=3), "takes no 'until'"),
        (command("puase"), "no command 'puase' Did you mean 'pause'?"),
        ('{"command": "pau', "cannot be read"),
        ("[]", "cannot be read"),
        ('"' + "x" * 70000 + '"', "too long"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(tmp_path: Path, request_: Any, reason: str) -> None:
    findings = [
        finding(name, severity="info") for name in ("truncated_texts", "underfitting", "suspect_labels", "overfitting")
    ]
    findings.append(finding("plateau", change={"training.num_epochs": 9}))
    run = AskedRun(tmp_path / "asked", {8: [request_]}, findings=findings, training={"max_steps": 9})
    run.run()

    (answer,) = run.answers()
    assert answer["accepted"] is False and reason in answer["reason"]
    assert answer["step"] == 8
    assert run.engine.progress.steered == Steered()


def test_a_checkpoint_is_written_when_it_is_asked_for(tmp_path: Path) -> None:
    run = AskedRun(tmp_path, {8: [command("checkpoint")]})
    seen: list[str | None] = []
    run.log.listen(lambda event: seen.append(find_fault(tmp_path / "checkpoints" / "step-00000008"))
                   if event["type"] == "control" else None)  # fmt: skip
    run.run()

    assert seen == [None]
    assert run.answers()[0]["checkpoint"] == "step-00000008"


def test_a_stop_ends_as_ctrl_c_does_and_resumes(tmp_path: Path) -> None:
    run = AskedRun(tmp_path / "stopped", {8: [command("stop"), command("checkpoint")]})
    with pytest.raises(InterruptedRun) as caught:
        run.run()

    assert caught.value.exit_code == 130
    stop, late = run.answers()
    assert stop["accepted"] and not late["accepted"] and "was stopped" in late["reason"]
    assert run.events("interrupted")[0]["signal"] == "stop"
    assert run.store.all()[-1].step == 8
    resumed = AskedRun(tmp_path / "stopped", {})
    assert tiny_engine.same_weights(resumed.run(), AskedRun(tmp_path / "whole", {}).run())


def test_a_paused_run_waits_and_takes_what_is_asked_meanwhile(tmp_path: Path) -> None:
    pauses = [None, command("pause"), command("learning_rate", factor=0.5), command("checkpoint"), command("resume")]
    run = AskedRun(tmp_path, {8: [command("pause")]}, pauses=pauses, **CONSTANT)
    run.run()

    told = [(answer["command"], answer["accepted"], answer["step"]) for answer in run.answers()]
    assert told == [("pause", True, 8), ("pause", False, 8), ("learning_rate", True, 8), ("checkpoint", True, 8),
                    ("resume", True, 8)]  # fmt: skip
    assert run.rates()[9] == pytest.approx(5e-4)
    assert run.waited == [pytest.approx(run.answers()[-1]["seconds"], abs=1e-3)]
    assert run.steps() == list(range(1, TOTAL + 1))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_paused_run_answers_signals(tmp_path: Path, number: signal.Signals, code: int) -> None:
    run = AskedRun(tmp_path, {8: [command("pause")]}, pauses=[None, int(number)])
    with pytest.raises(InterruptedRun) as caught:
        run.run()

    assert caught.value.exit_code == code
    assert run.store.all()[-1].step == 8


def test_a_paused_run_can_be_stopped(tmp_path: Path) -> None:
    run = AskedRun(tmp_path, {8: [command("pause")]}, pauses=[command("stop")])
    with pytest.raises(InterruptedRun):
        run.run()
    assert [answer["accepted"] for answer in run.answers()] == [True, True]


def test_what_comes_with_the_last_step_is_refused(tmp_path: Path) -> None:
    run = AskedRun(tmp_path, {TOTAL: [command("pause")]})
    run.run()

    (answer,) = run.answers()
    assert not answer["accepted"] and "no more steps" in answer["reason"]
    assert not (tmp_path / "control").exists()


def test_a_request_whose_file_stays_is_not_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = AskedRun(tmp_path, {})
    monkeypatch.setattr("trimtab.pipeline.control.POLL_SECONDS", 0.0)
    put(tmp_path, 1, command("pause"))
    first = run.controller.requests()
    put(tmp_path, 1, command("pause"))

    assert [request.command for request in first] == ["pause"]
    assert run.controller.requests() == []


def test_an_action_that_waits_for_its_effect_stays_when_a_person_steers(tmp_path: Path) -> None:
    asks, findings, examine = CASES["beside the autopilot"]
    run = AskedRun(tmp_path, {14: asks[20]}, findings=findings, examine=examine, values={0: 0.6, 18: 0.1})
    run.run()

    (effect,) = run.events("autopilot_effect")
    assert (effect["helped"], effect["undone"], effect["step"]) == (None, False, 14)
    assert run.engine.progress.steered.more_dropout and run.engine.progress.steered.rate_scale == 0.5


def test_waiting_is_charged_to_no_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("trimtab.pipeline.describe.time.perf_counter", lambda: now[0])
    timer = Timer(_began=0.0)
    now[0] = 100.0
    timer.leave_out(90.0)
    timer.lap("training")
    assert timer.seconds == {"training": 10.0}
