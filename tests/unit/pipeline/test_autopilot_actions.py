"""The autopilot over a tiny run: what each action does, its effect, its undoing, and a process that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_engine
import torch
from autopilot_runs import EPOCHS, PER_EPOCH, KilledError, Run, at, finding

from trimtab.core.errors import NonFiniteError
from trimtab.core.events import read_events
from trimtab.dashboard.reading.columns import Tables
from trimtab.models.blocks import map_blocks
from trimtab.monitor.trace import Trace
from trimtab.strategies.base import ParameterGroup, TrainingPlan
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.training.checkpoints import CheckpointStore, load_weights

TOTAL = PER_EPOCH * EPOCHS
RISING = {0: 0.3, 6: 0.4, 12: 0.5, 18: 0.6, 24: 0.7, 30: 0.8}
STUCK = {0: 0.3, 6: 0.5, 12: 0.4}
LOWER = finding("learning_rate_too_high", since=1, change={"optimizer.learning_rate": 2e-4})


def weights_without(folder: Path, values: dict[int, float], **sections: Any) -> dict[str, torch.Tensor]:
    """The last weights of the same run without an autopilot."""
    return Run(folder / "off", None, values, **sections).run()


def test_a_healthy_run_stays_as_it_is(tmp_path: Path) -> None:
    warnings = [finding("overfitting", severity="warning"), finding("loss_spikes", severity="info")]
    run = Run(tmp_path / "act", lambda engine, urgent: warnings, RISING)

    assert tiny_engine.same_weights(run.run(), weights_without(tmp_path, RISING))

    assert not run.events("autopilot")
    assert not (tmp_path / "act" / "checkpoints" / "autopilot").exists()


def test_lowering_the_rate_goes_back_to_the_start(tmp_path: Path) -> None:
    run = Run(tmp_path / "act", at(6, LOWER), RISING)
    lowered = run.run()

    # The same as a run that had the lower rate from the first step.
    plain = weights_without(tmp_path, RISING, optimizer={"learning_rate": 2e-4})
    for name, tensor in plain.items():
        torch.testing.assert_close(lowered[name], tensor, rtol=0, atol=1e-6)
    assert run.steps() == [*range(1, 7), *range(1, TOTAL + 1)]
    (event,) = run.events("autopilot")
    assert (event["step"], event["back_to"], event["remedy"]) == (6, 0, "lower_rate")
    assert event["before"] == {"rate_scale": 1.0} and event["after"] == {"rate_scale": pytest.approx(0.2)}
    assert event["finding"] == "learning_rate_too_high" and "since step 1" in event["reason"]


def test_lowering_the_rate_goes_back_to_the_best_before_the_trouble(tmp_path: Path) -> None:
    values = {0: 0.5, 12: 0.2, 18: 0.9}
    run = Run(tmp_path, at(12, finding("divergence", since=8)), values)
    run.run()

    (event,) = run.events("autopilot")
    assert event["back_to"] == 6
    assert run.steps() == [*range(1, 13), *range(7, TOTAL + 1)]
    (effect,) = run.events("autopilot_effect")
    assert effect["helped"] and not effect["undone"] and (effect["before"], effect["after"]) == (0.5, 0.9)
    rates = {event["step"]: event["learning_rates"]["all"] for event in read_events(tmp_path / "events.jsonl")
             if event["type"] == "step"}  # fmt: skip
    first = [event for event in read_events(tmp_path / "events.jsonl") if event["type"] == "step"][6]
    assert rates[7] == pytest.approx(0.1 * first["learning_rates"]["all"])


@pytest.mark.parametrize("name", ["learning_rate_too_high", "overfitting", "suspect_labels", "learning_rate_too_low"])
def test_what_does_not_help_is_undone_to_the_last_bit(tmp_path: Path, name: str) -> None:
    values = {0: 0.3, 6: 0.5, 12: 0.6, 18: 0.5}
    rows = tuple({"split": "train", "index": index} for index in (1, 5, 9))
    run = Run(tmp_path / "act", at(12, finding(name, rows=rows)), values)
    weights = run.run()

    assert tiny_engine.same_weights(weights, weights_without(tmp_path, values))
    assert len(run.events("autopilot")) == 1
    (effect,) = run.events("autopilot_effect")
    assert not effect["helped"] and effect["undone"] and effect["back_to"] == 12
    goes_back = name.startswith("learning_rate")
    assert (effect["before"], effect["after"]) == (0.6, 0.6 if goes_back else 0.5)
    progress = run.engine.progress
    assert (progress.best_value, progress.best_step, progress.steered.rate_scale) == (0.6, 12, 1.0)
    assert progress.pilot["given_up"] == [progress.pilot["taken"][0][0]]
    # The weights to be delivered are those of the run without an autopilot, too.
    kept = {checkpoint.step: checkpoint for checkpoint in run.store.all()}
    plain = {item.step: item for item in CheckpointStore(tmp_path / "off" / "checkpoints", 9).all()}
    assert 12 in kept
    load_weights(kept[12], run.engine.model)
    best = tiny_engine.weights_of(run.engine.model)
    load_weights(plain[12], run.engine.model)
    assert tiny_engine.same_weights(best, tiny_engine.weights_of(run.engine.model))


def test_record_of_an_undone_action_reads_as_that_of_a_run_without_it(tmp_path: Path) -> None:
    values = {0: 0.3, 6: 0.5, 12: 0.6, 18: 0.5}
    run = Run(tmp_path / "act", at(12, finding("learning_rate_too_high")), values)
    run.run()
    weights_without(tmp_path, values)

    assert run.events("autopilot")[0]["back_to"] < run.events("autopilot_effect")[0]["back_to"] == 12
    acted, plain = (list(read_events(tmp_path / name / "events.jsonl")) for name in ("act", "off"))
    traces = [Trace.from_events(events) for events in (acted, plain)]
    assert traces[0].steps.tolist() == traces[1].steps.tolist() == list(range(1, TOTAL + 1))
    for name in ("loss", "learning_rate", "grad_norm"):
        assert traces[0].column(name).tolist() == traces[1].column(name).tolist(), name
    assert [item.step for item in traces[0].evaluations] == [item.step for item in traces[1].evaluations]
    tables = [Tables(), Tables()]
    for table, events in zip(tables, (acted, plain), strict=True):
        table.add_all(events)
    for name in ("step", "evaluation"):
        shown, wanted = (table.by_name[name].columns() for table in tables)
        assert shown.step.tolist() == wanted.step.tolist()
        for series, values_of in wanted.series.items():
            if "second" not in series:
                np.testing.assert_array_equal(shown.series[series], values_of, err_msg=series)


def test_an_undone_action_is_not_tried_again_and_the_next_one_is(tmp_path: Path) -> None:
    stops = [finding("overfitting", since=2)]
    run = Run(tmp_path, lambda engine, urgent: [] if urgent or engine.progress.step < 12 else stops, STUCK)
    run.run()

    assert [event["remedy"] for event in run.events("autopilot")] == ["regularise", "stop_early"]
    assert "overfitting" in str(run.engine.progress.stopped)
    assert run.engine.progress.best_step == 6


def test_never_more_than_four_actions(tmp_path: Path) -> None:
    run = Run(
        tmp_path,
        lambda engine, urgent: [finding("divergence", since=engine.progress.step)] if not urgent else [],
        {0: 0.3},
    )
    run.run()

    taken = run.events("autopilot")
    assert len(taken) == 4
    assert {event["remedy"] for event in taken} == {"lower_rate"}
    assert run.engine.progress.step == TOTAL


def test_regularisation_is_stronger_from_then_on(tmp_path: Path) -> None:
    run = Run(tmp_path, at(6, finding("overfitting")), RISING)
    run.run()

    assert run.engine.model.bert.embeddings.dropout.p == pytest.approx(0.2)
    decays = {group["name"]: group["weight_decay"] for group in run.engine.optimizer.param_groups}
    assert decays == {"all": pytest.approx(0.1), "all (no decay)": 0.0}
    assert run.events("autopilot_effect")[0]["helped"]


def test_rows_that_are_left_out_are_not_met_again(tmp_path: Path) -> None:
    gone = [3, 7, 11, 30]
    rows = tuple({"split": "train", "index": index} for index in gone)
    run = Run(tmp_path, at(6, finding("suspect_labels", rows=rows)), RISING)
    met: list[tuple[int, np.ndarray]] = []
    real = run.engine.examples.collate
    run.engine.examples.collate = lambda rows: (met.append((run.engine.progress.step, rows)), real(rows))[1]  # type: ignore[method-assign]
    run.run()

    after = np.concatenate([rows for step, rows in met if step >= PER_EPOCH])
    assert not np.isin(after, gone).any()
    assert set(after) == set(range(48)) - set(gone)
    assert run.events("autopilot")[0]["after"] == {"left_out": 4}


def test_classes_weigh_alike_from_then_on(tmp_path: Path) -> None:
    run = Run(tmp_path, at(6, finding("class_collapse")), RISING)
    run.helm.class_counts = (30, 15, 3)
    run.run()

    weights = run.engine.objective.criterion.weights
    assert weights.tolist() == pytest.approx([48 / 90, 48 / 45, 48 / 9])


def test_lower_blocks_are_frozen_from_then_on(tmp_path: Path) -> None:
    run = Run(tmp_path, at(6, finding("forgetting")), {0: 0.5, 12: 0.49})
    run.run()

    trained = {name for name, parameter in run.engine.model.named_parameters() if parameter.requires_grad}
    assert not any(".embeddings." in name or ".layer.0." in name for name in trained)
    assert any(".layer.1." in name for name in trained)
    # It serves the retention, and the metric is no worse beyond its noise.
    (effect,) = run.events("autopilot_effect")
    assert effect["helped"] and not effect["undone"]
    frozen = {name: tensor for name, tensor in run.engine.model.state_dict().items() if ".layer.0." in name}
    checkpoint = next(item for item in run.store.all() if item.step == 6)
    load_weights(checkpoint, run.engine.model)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in run.engine.model.state_dict().items()
               if name in frozen)  # fmt: skip


def head_alone() -> tuple[TrainingPlan, tuple[ParameterGroup, ...]]:
    blocks = map_blocks(tiny_engine.make_model())
    reserve = tuple(ParameterGroup(block.name, block.parameters, 1e-3) for block in blocks.body)
    return Partial(PartialOptions()).plan(blocks, 1e-3), reserve


@pytest.mark.parametrize("helps", [True, False])
def test_more_blocks_train_after_underfitting(tmp_path: Path, helps: bool) -> None:
    plan, reserve = head_alone()
    found = finding("underfitting", since=TOTAL, change={"strategy": "full"})
    values = {0: 0.3}
    run = Run(tmp_path / "act", at(TOTAL, found), values, plan=plan, reserve=reserve)
    if helps:
        run.session.evaluate = lambda: _judged(run, 0.9 if run.engine.progress.steered.unfrozen else 0.3)
    weights = run.run()

    off = weights_without(tmp_path, values, plan=plan, reserve=reserve)
    (effect,) = run.events("autopilot_effect")
    assert (effect["helped"], effect["undone"]) == (helps, not helps)
    moved = {name.split(".")[3] for name in off if ".layer." in name and not torch.equal(off[name], weights[name])}
    assert moved == ({"1"} if helps else set())
    assert tiny_engine.same_weights(off, weights) is not helps


def _judged(run: Run, value: float) -> Any:
    from trimtab.training.session import Judgement

    return Judgement("accuracy", value, True, {"accuracy": value, "loss": 1.0}, {"rows": 400})


def test_what_the_run_does_not_admit_is_passed_over(tmp_path: Path) -> None:
    rows = tuple({"split": "train", "index": index} for index in range(40))
    found = [finding("suspect_labels", rows=rows), finding("underfitting", change={"strategy": "full"})]
    run = Run(tmp_path, at(12, *found), RISING)
    run.run()

    assert not run.events("autopilot")
    skipped = {event["remedy"]: event["reason"] for event in run.events("autopilot_skip")}
    assert "40 of 48" in skipped["leave_out"] and "no whole block frozen" in skipped["unfreeze_more"]


def spoil(run: Run, above: float) -> None:
    """Make losses NaN while the rate is above a value."""
    task = run.engine.objective.task
    real = task.loss
    rate = run.engine.optimizer.param_groups[0]

    def loss(outputs: Any, batch: Any) -> Any:
        total, weight = real(outputs, batch)
        return (total * float("nan") if rate["lr"] > above else total), weight

    run.engine.objective.task.loss = loss


def test_a_run_that_would_end_on_nan_goes_on_at_a_lower_rate(tmp_path: Path) -> None:
    schedule = {"name": "constant", "warmup_ratio": 0.0}
    lost = Run(tmp_path / "off", None, {0: 0.5}, schedule=schedule)
    spoil(lost, 5e-4)
    with pytest.raises(NonFiniteError):
        lost.run()

    run = Run(tmp_path / "act", lambda engine, urgent: [], {0: 0.5}, schedule=schedule)
    spoil(run, 5e-4)
    run.run()

    (event,) = run.events("autopilot")
    assert (event["finding"], event["remedy"], event["back_to"]) == ("divergence", "lower_rate", 0)
    assert run.steps() == [1, 2, 3, *range(1, TOTAL + 1)]
    assert all(event["helped"] for event in run.events("autopilot_effect"))


def test_no_rate_helps_against_rows_that_are_nan(tmp_path: Path) -> None:
    run = Run(tmp_path, lambda engine, urgent: [], {0: 0.5})
    spoil(run, -1.0)
    with pytest.raises(NonFiniteError):
        run.run()
    assert len(run.events("autopilot")) <= 4


def test_a_raised_rate_that_breaks_the_run_is_undone_at_once(tmp_path: Path) -> None:
    schedule = {"name": "constant", "warmup_ratio": 0.0}
    run = Run(tmp_path / "act", at(12, finding("learning_rate_too_low")), {0: 0.5}, schedule=schedule)
    spoil(run, 5e-3)
    weights = run.run()

    assert run.steps() == [*range(1, 13), 1, 2, 3, *range(13, TOTAL + 1)]
    assert run.events("autopilot_effect")[0]["undone"]
    assert tiny_engine.same_weights(weights, weights_without(tmp_path, {0: 0.5}, schedule=schedule))


ROWS_GONE = finding("suspect_labels", rows=({"split": "train", "index": 4}, {"split": "train", "index": 20}))
CASES: dict[str, tuple[Any, dict[int, float]]] = {
    "goes back, helped": (at(12, finding("divergence", since=8)), {0: 0.5, 12: 0.2, 24: 0.9}),
    "goes back to the start, undone": (at(12, LOWER), {0: 0.3, 6: 0.5, 12: 0.6, 18: 0.5}),
    "rows left out, undone": (at(12, ROWS_GONE), {0: 0.3, 6: 0.5, 12: 0.6, 18: 0.5}),
    "blocks frozen": (at(12, finding("forgetting")), {0: 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_event_it_ends_as_if_it_had_not_been(tmp_path: Path, case: str) -> None:
    examine, values = CASES[case]
    whole = Run(tmp_path / "whole", examine, values)
    expected = whole.run()
    events = len(list(read_events(tmp_path / "whole" / "events.jsonl")))
    acted = [index for index, event in enumerate(read_events(tmp_path / "whole" / "events.jsonl"), 1)
             if event.get("action") in ("autopilot", "autopilot_effect")]  # fmt: skip
    assert acted

    moments = sorted({place + shift for place in acted for shift in (0, 1, 9)} & set(range(1, events)))
    for moment in moments:
        folder = tmp_path / f"killed at {moment}"
        with pytest.raises(KilledError):
            Run(folder, examine, values, die_at=moment).run()
        resumed = Run(folder, examine, values)
        assert tiny_engine.same_weights(resumed.run(), expected), moment
        assert resumed.engine.progress.best_step == whole.engine.progress.best_step
        assert resumed.engine.progress.steered == whole.engine.progress.steered
