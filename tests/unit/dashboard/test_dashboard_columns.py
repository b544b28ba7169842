"""Tables that grow with a run, and charts with fewer rows of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dashboard_runs import evaluation_event, step_event

from trimtab.dashboard.reading.columns import MOST_SERIES, Columns, Table, Tables
from trimtab.dashboard.reading.downsample import extremes, kept_rows, listed, sampled, to_json


def tables_of(*events) -> Tables:
    tables = Tables()
    for event in events:
        tables.add(event)
    return tables


def series(tables: Tables, table: str, name: str) -> dict[int, float]:
    found = tables.by_name[table].columns()
    return dict(zip(found.step.tolist(), found.series[name].tolist(), strict=True))


def test_names_of_the_series_of_each_table() -> None:
    blocks = {"block 0": {"grad_norm": 0.25, "weight_norm": 2.0, "update_ratio": 0.5}}
    noise = {"variance": 6.0, "squared_norm": 2.0}
    tables = tables_of(
        {"type": "signals", "step": 1, "blocks": blocks, "noise": noise, "memory_mib": 512},
        step_event(1, learning_rates={"head": 0.5, "body": 0.25}, extras={"l2": 3.0}),
        {"type": "inspection", "step": 1, "dead_units": {"block 0": 0.5}, "drift": {"block 0": 0.25}},
        evaluation_event(1),
    )
    assert set(tables.by_name["step"].names) == {
        "loss", "grad_norm", "samples_per_second", "padding_share", "tokens_per_second",
        "learning_rate/head", "learning_rate/body", "extras/l2",
    }  # fmt: skip
    assert series(tables, "step", "tokens_per_second") == {1: 200.0}
    assert set(tables.by_name["evaluation"].names) == {"validation/loss", "validation/macro_f1", "held_in/loss"}
    assert series(tables, "signals", "noise_scale") == {1: 3.0}
    assert series(tables, "signals", "update_ratio/block 0") == {1: 0.5}
    assert set(tables.by_name["inspection"].names) == {"dead_units/block 0", "drift/block 0"}


def test_steps_that_appear_again_after_a_resume_replace_those_from_before() -> None:
    events = [step_event(step, loss=step) for step in range(1, 11)]
    tables = tables_of(*events, evaluation_event(10, 0.1), {"type": "signals", "step": 10, "memory_mib": 1})
    tables.take_cut()
    tables.add({"type": "action", "action": "resume", "step": 6})
    assert tables.take_cut() == 6
    assert tables.counts == {"step": 6, "evaluation": 0, "signals": 0, "inspection": 0}
    for step in range(7, 9):
        tables.add(step_event(step, loss=-step))
    assert tables.take_cut() is None
    assert series(tables, "step", "loss") == {**{step: step for step in range(1, 7)}, 7: -7, 8: -8}


def test_repeated_step_without_a_word_of_a_resume_cuts_too() -> None:
    tables = tables_of(step_event(1, 1.0), step_event(2, 2.0), evaluation_event(2), step_event(3, 3.0))
    tables.take_cut()
    tables.add(step_event(2, 9.0))
    assert tables.take_cut() == 1
    assert series(tables, "step", "loss") == {1: 1.0, 2: 9.0}
    assert len(tables.by_name["evaluation"]) == 0


def test_going_back_by_the_autopilot_drops_what_came_after() -> None:
    back = {"type": "action", "action": "autopilot", "step": 8, "back_to": 4}
    tables = tables_of(*(step_event(step) for step in range(1, 9)), evaluation_event(4), evaluation_event(8), back)
    assert tables.by_name["step"].last_step == 4
    assert tables.by_name["evaluation"].last_step == 4
    assert tables.take_cut() == 4


def test_signals_written_before_their_step_stay() -> None:
    tables = tables_of(step_event(1), {"type": "signals", "step": 2, "memory_mib": 5}, step_event(2))
    assert series(tables, "signals", "memory_mib") == {2: 5.0}


def test_all_at_once_is_as_one_by_one() -> None:
    draw = np.random.default_rng(0)
    events = []
    for _ in range(400):
        step = int(draw.integers(0, 60))
        kind = draw.integers(0, 9)
        events.append(
            evaluation_event(step) if kind == 0
            else {"type": "action", "action": "resume", "step": step} if kind == 1
            else {"type": "signals", "step": step, "memory_mib": 3} if kind == 2
            else step_event(len(events) // 2, loss=float(kind), extras={"a": 1} if step % 7 == 0 else None)
        )  # fmt: skip
    for event in events[::9]:
        event.pop("loss", None)
    one, other = tables_of(*events), Tables()
    other.add_all(events)
    for name, table in one.by_name.items():
        left, right = table.columns(), other.by_name[name].columns()
        assert left.step.tolist() == right.step.tolist()
        assert set(left.series) == set(right.series)
        for key, values in left.series.items():
            np.testing.assert_array_equal(values, right.series[key])


def test_series_that_begins_late_or_ends_early_is_nan_elsewhere() -> None:
    table = Table()
    table.append(1, 0.0, 0.0, [("a", 1.0)])
    table.append(2, 0.0, 0.0, [("b", 2.0)])
    table.append(3, 0.0, 0.0, [])
    found = table.columns().series
    np.testing.assert_array_equal(found["a"], np.array([1, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(found["b"], np.array([np.nan, 2, np.nan], np.float32))
    assert table.columns(1, 2).series["b"].tolist() == [2.0]


def test_number_of_series_is_bounded() -> None:
    tables = tables_of(step_event(1, extras={str(index): 1.0 for index in range(MOST_SERIES + 50)}))
    assert len(tables.by_name["step"].names) == MOST_SERIES


@pytest.mark.parametrize("step", [None, True, "3", 2.0, -1, 1 << 60, [1]])
def test_events_whose_step_is_no_step_are_left_out(step: object) -> None:
    assert tables_of(step_event(1) | {"step": step}).counts["step"] == 0


def test_values_of_wrong_types_become_nan() -> None:
    tables = tables_of(step_event(1, loss="x", grad_norm=True, epoch=[], learning_rates=[1], tokens=None, extras=4))
    found = tables.by_name["step"].columns()
    assert math.isnan(found.series["loss"][0]) and math.isnan(found.series["grad_norm"][0])
    assert math.isnan(found.epoch[0])
    assert to_json(found)["series"]["loss"] == [None]


def columns_of(**values: np.ndarray) -> Columns:
    count = len(next(iter(values.values())))
    steps = np.arange(1, count + 1)
    return Columns(
        steps, steps.astype(np.float32), steps.astype(float), {k: v.astype(np.float32) for k, v in values.items()}
    )


def test_sampling_keeps_each_bucket_s_extremes_and_the_ends() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.normal(size=10_000), draw.normal(size=10_000)
    one[4321], other[77], one[9000:9100] = 50.0, -50.0, np.nan
    kept, is_sampled = sampled(columns_of(one=one, other=other), 500)
    assert is_sampled
    assert 250 <= len(kept.step) <= 600
    assert {1, 10_000, 4322, 78} <= set(kept.step.tolist())
    buckets = 500 // 4
    size = -(-10_000 // buckets)
    for start in range(0, 10_000, size):
        part = one[start : start + size]
        inside = kept.series["one"][(kept.step > start) & (kept.step <= start + size)]
        if np.isfinite(part).any():
            assert np.nanmax(inside) == np.float32(np.nanmax(part))
            assert np.nanmin(inside) == np.float32(np.nanmin(part))


def test_rows_of_a_sample_are_rows_of_the_table() -> None:
    whole = columns_of(a=np.sin(np.arange(5000.0)), b=np.arange(5000.0))
    kept, _ = sampled(whole, 100)
    rows = kept.step - 1
    np.testing.assert_array_equal(kept.series["a"], whole.series["a"][rows])
    np.testing.assert_array_equal(kept.series["b"], whole.series["b"][rows])
    assert (np.diff(kept.step) > 0).all()


def test_short_tables_and_tables_without_numbers() -> None:
    assert kept_rows([], 0, 10).tolist() == []
    assert kept_rows([np.zeros(5)], 5, 10).tolist() == [0, 1, 2, 3, 4]
    nothing = kept_rows([np.full(1000, np.nan)], 1000, 10)
    assert (nothing[0], nothing[-1], len(nothing)) == (0, 999, 10)
    assert kept_rows([np.full(1000, np.inf)], 1000, 10)[[0, -1]].tolist() == [0, 999]
    assert set(extremes(np.array([3.0, np.inf, 1.0, -np.inf]), 1).tolist()) == {0, 2}


def test_numbers_are_sent_with_the_digits_that_they_have() -> None:
    values = np.array([0.1, 1.25e-05, 123456.7, 0.0, np.nan, np.inf, -3e-30, 1e38], np.float32)
    assert listed(values) == [0.1, 1.25e-05, 123456.7, 0.0, None, None, -3e-30, 1e38]
    assert listed(np.array([1795379804.573]), None) == [1795379804.573]
