"""What the benchmarks of speed make of figures: tables, ratios, times to an accuracy, shares, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from full_finetuning import times_to_final
from harness import Variant
from prediction import agreement
from repeats import TRIALS, extrapolated
from run_all import compare
from runs import figures_of_events, training_seconds
from step_profile import DISPATCH, part_of
from tables import accuracy_cell, accuracy_notes, timing_ratios, timing_table

CASES = {
    "set": [
        Variant("ours", "Trimtab", "runs:trimtab", {}, again="second run"),
        Variant("hf", "HF Trainer", "runs:hf", {}),
    ]
}


def _figures(seconds: float, accuracy: float, seed: int) -> dict[str, Any]:
    interval = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return {"seconds": seconds, "whole_seconds": seconds + 10, "accuracy": interval, "seed": seed}


RESULTS = {
    "set": {
        "ours": [_figures(2.0, 0.9, 0), _figures(2.0, 0.8, 1)],
        "ours-again": [_figures(1.0, 0.9, 0), _figures(1.0, 0.8, 1)],
        "hf": [_figures(8.0, 0.8, 0), _figures(6.0, 0.8, 1)],
    }
}


def test_ratios_are_of_our_variants_by_phase() -> None:
    ratios = timing_ratios(CASES, RESULTS, {"hf": "HF"})
    assert {name: ratio.median for name, ratio in ratios.items()} == pytest.approx(
        {
            "set/ours:hf/training": 3.5,
            "set/ours:hf/whole": (18 / 12 + 16 / 12) / 2,
            "set/ours-again:hf/training": 7.0,
            "set/ours-again:hf/whole": (18 / 11 + 16 / 11) / 2,
        }
    )


def test_the_table_has_a_row_for_each_variant_and_says_which_phase() -> None:
    head, _, *rows = timing_table(CASES, RESULTS, {"hf": "HF"}).splitlines()
    assert "training × HF" in head
    assert "whole × HF" in head
    assert [row.split(" | ")[1] for row in rows] == ["Trimtab", "second run", "HF Trainer"]
    assert "3.50 (3.00–4.00)" in rows[0]
    assert "0.850 ± 0.071" in rows[0]
    assert all(row.count("|") == head.count("|") for row in rows)


def test_accuracies_are_compared_seed_by_seed() -> None:
    assert accuracy_notes(CASES, RESULTS).startswith("- set: accuracy, Trimtab less HF Trainer: +0.050 ± 0.635")
    assert accuracy_cell([_figures(1.0, 0.5, 0)]) == "0.500 [0.400, 0.600]"
    assert accuracy_cell([{"seconds": 1.0}]) == "–"


def test_time_to_the_final_accuracy_of_the_reference() -> None:
    reference = [{"curve": [(1.0, 0.5), (2.0, 0.8)]}, {"curve": [(1.0, 0.9)]}]
    ours = [{"curve": [(0.5, 0.79), (0.7, 0.8), (0.9, 0.7)]}, {"curve": [(0.5, 0.8)]}]
    assert times_to_final(ours, reference) == [0.7, None]


def test_fewer_runs_are_scaled_up_without_what_a_process_does_once() -> None:
    figures = {"runs": 2, "seconds": 10.0, "whole_seconds": 30.0, "runs_seconds": 24.0}
    (scaled,) = extrapolated({"c": {"hf": [figures]}})["c"]["hf"]
    assert len(TRIALS) == 8
    assert scaled["seconds"] == 40.0
    assert scaled["whole_seconds"] == 6.0 + 4 * 24.0
    whole = {**figures, "runs": 8}
    assert extrapolated({"c": {"hf": [whole], "ours": [{"seconds": 1.0}]}})["c"] == {
        "hf": [whole],
        "ours": [{"seconds": 1.0}],
    }


def test_labels_are_compared_by_name() -> None:
    one = {"names": ["neg", "pos"], "labels": "0110"}
    other = {"names": ["pos"], "labels": "0000"}
    assert agreement(one, other) == 0.5


def test_a_phase_that_is_new_counts_as_training() -> None:
    assert training_seconds({"data": 1.0, "model": 2.0, "training": 3.0, "evaluation": 4.0, "new": 5.0}) == 8.0


def test_figures_of_a_run_are_read_from_its_events() -> None:
    step = {"type": "step", "tokens": 30, "padded_tokens": 40, "weight": 4}
    events = [
        {"type": "start", "time": 10.0, "rows": {"train": 8}, "precision": "fp32"},
        {**step, "time": 11.0},
        {**step, "time": 12.0},
        {"type": "evaluation", "time": 12.5, "metrics": {"accuracy": 0.7}},
        {"type": "checkpoint", "time": 13.0},
    ]
    figures = figures_of_events(events, seconds=3.0)
    assert figures["aside_seconds"] == 1.0
    assert figures["samples_per_second"] == 4.0
    assert figures["tokens_per_second"] == 30.0
    assert figures["useful_tokens"] == 0.75
    assert figures["curve"] == [(2.5, 0.7)]


@pytest.mark.parametrize(
    ("operator", "part"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::bmm", "attention (batched products, softmax)"),
        ("aten::_softmax", "attention (batched products, softmax)"),
        ("aten::bernoulli_", "dropout and random numbers"),
        ("aten::native_dropout", "dropout and random numbers"),
        ("aten::copy_", "casts and copies"),
        ("aten::gelu", "element by element, norms, reductions"),
        ("aten::native_layer_norm", "element by element, norms, reductions"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("Optimizer.step#AdamW.step", "optimizer and clipping"),
        ("autograd::engine::evaluate_function: AddmmBackward0", DISPATCH),
    ],
)
def test_operators_belong_to_parts_of_a_step(operator: str, part: str) -> None:
    assert part_of(operator) == part


def test_the_comparison_gives_an_exit_code(tmp_path: Path) -> None:
    today, baselines = tmp_path / "today.json", tmp_path / "baselines.json"
    today.write_text(json.dumps({"quick": {"a/x": {"median": 3.0}}}), encoding="utf-8")
    assert compare("quick", today, baselines, ["a"], 0.15) == 2
    baselines.write_text(json.dumps({"quick": {"a/x": {"median": 3.1}, "b/y": {"median": 9.0}}}), encoding="utf-8")
    assert compare("quick", today, baselines, ["a"], 0.15) == 0
    assert compare("quick", today, baselines, ["a", "b"], 0.15) == 1
    assert compare("full", today, baselines, ["a"], 0.15) == 2
