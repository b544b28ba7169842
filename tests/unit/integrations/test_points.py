"""From events to the rows that trackers are told."""

from __future__ import annotations

import math
from typing import Any

from trimtab.integrations.points import Back, Row, Timeline, figures, results, rows_of


def step(number: int, loss: float | None = 1.0, **fields: Any) -> dict[str, Any]:
    return {"type": "step", "time": 100.0 + number, "step": number, "loss": loss, **fields}


def evaluation(number: int, accuracy: float) -> dict[str, Any]:
    metrics = {"loss": 0.5, "accuracy": accuracy}
    return {"type": "evaluation", "time": 0.0, "step": number, "metrics": metrics, "held_in": {"loss": 0.4, "rows": 64}}


def resumed(number: int) -> dict[str, Any]:
    return {"type": "action", "action": "resume", "step": number}


def test_figures_are_grouped_by_name() -> None:
    told = figures(
        step(1, grad_norm=2.0, epoch=0.5, learning_rates={"head": 1e-3}, tokens=100, seconds=0.5, padding_share=0.1,
             samples_per_second=16.0, extras={"l2": 0.1}, stage=0, pieces=1)
    )  # fmt: skip
    assert told == {
        "epoch": 0.5, "train/loss": 1.0, "train/grad_norm": 2.0, "train/samples_per_second": 16.0,
        "train/padding_share": 0.1, "train/tokens_per_second": 200.0, "learning_rate/head": 1e-3, "extras/l2": 0.1,
    }  # fmt: skip
    assert figures(evaluation(1, 0.9)) == {"validation/loss": 0.5, "validation/accuracy": 0.9, "held_in/loss": 0.4}
    blocks = {"block 0": {"grad_norm": 1.0, "weight_norm": 2.0, "update_ratio": 0.1, "other": 9.0}}
    noise = {"variance": 6.0, "squared_norm": 2.0, "rows": 8}
    assert figures({"type": "signals", "step": 1, "blocks": blocks, "noise": noise, "memory_mib": 7}) == {
        "gradient_norm/block 0": 1.0, "weight_norm/block 0": 2.0, "update_ratio/block 0": 0.1,
        "memory/mib": 7.0, "train/noise_scale": 3.0,
    }  # fmt: skip
    assert figures({"type": "inspection", "step": 1, "drift": {"block 0": 0.2}}) == {"drift/block 0": 0.2}
    assert figures({"type": "checkpoint", "step": 1, "megabytes": 3.0}) == {}


def test_a_loss_that_was_not_finite_is_nan() -> None:
    told = figures(step(1, None, grad_norm=None))
    assert math.isnan(told["train/loss"]) and math.isnan(told["train/grad_norm"])


def test_damaged_events_give_no_figures() -> None:
    broken: list[dict[str, Any]] = [
        {"type": "step", "step": 1, "learning_rates": 3, "tokens": "x", "seconds": None},
        {"type": "evaluation", "step": 1, "metrics": None, "held_in": []},
        {"type": "signals", "step": 1, "blocks": {"a": None}, "noise": {"variance": None, "squared_norm": 0}},
        {"type": "inspection", "step": 1, "drift": None},
        {"step": 1},
    ]
    assert [figures(event) for event in broken] == [{}] * 5
    assert results({"metrics": {"a": 3, "b": {"value": None}}}) == {}


def test_the_row_of_a_step_is_whole_when_the_next_begins() -> None:
    timeline = Timeline()
    signals = {"type": "signals", "step": 2, "time": 0.0, "memory_mib": 5}
    told = [list(timeline.follow(event)) for event in (step(1), evaluation(1, 0.5), signals, step(2), step(3))]
    assert [len(items) for items in told] == [0, 0, 1, 0, 1]
    first, second = told[2][0], told[4][0]
    assert isinstance(first, Row) and isinstance(second, Row)
    assert (first.step, first.is_plain) == (1, False) and "validation/accuracy" in first.values
    assert second.values == {"memory/mib": 5.0, "train/loss": 1.0}
    (last,) = timeline.rest()
    assert (last.step, last.is_plain) == (3, True)
    assert list(timeline.rest()) == []


def test_going_back_voids_what_came_later() -> None:
    timeline = Timeline()
    for event in (step(1), step(2), step(3)):
        list(timeline.follow(event))
    assert list(timeline.follow(step(2))) == [Back(1)]
    assert [item.step for item in timeline.follow(step(3)) if isinstance(item, Row)] == [2]


def test_the_rows_that_hold_are_those_of_the_later_lines() -> None:
    events = [step(1, 1.0), step(2, 2.0), step(3, 3.0), resumed(1), step(2, 22.0), step(3, 33.0), step(4, 44.0)]
    assert [(row.step, row.values["train/loss"]) for row in rows_of(events, 0, 3)] == [(1, 1.0), (2, 22.0), (3, 33.0)]
    assert [row.step for row in rows_of(events, 2, 9)] == [3, 4]
    # Without the line that tells of it, too: the autopilot goes back by itself.
    del events[3]
    assert [row.values["train/loss"] for row in rows_of(events, 0, 4)] == [1.0, 22.0, 33.0, 44.0]


def test_sampled_signals_after_going_back_do_not_void_again() -> None:
    timeline = Timeline()

    def signals(number: int) -> dict[str, Any]:
        return {"type": "signals", "step": number, "time": 0.0, "memory_mib": 5}

    for event in (signals(1), step(1), step(2), step(3), signals(4), step(4)):
        list(timeline.follow(event))
    told = [item for event in (signals(2), step(2), step(3), signals(4), step(4)) for item in timeline.follow(event)]
    assert [item.step for item in told if isinstance(item, Back)] == [1]
    assert [item.step for item in told if isinstance(item, Row)] == [1, 2, 3] or [
        item.step for item in told if isinstance(item, Row)
    ] == [2, 3]
