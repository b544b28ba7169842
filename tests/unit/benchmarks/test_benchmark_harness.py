"""Rounds in which variants take turns, what is not run again, and what becomes of the figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Benchmark, Sizes, Variant, chosen_sizes, record, run_rounds
from ratios import times_as_fast

OURS = Variant("ours", "Trimtab", "runs:trimtab", {"rows": 8}, again="Trimtab, second run")
PEER = Variant("hf", "HF Trainer", "runs:hf", {"rows": 8})
CASES = {"set": [OURS, PEER]}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What ran, in order; nothing does."""
    ran: list[tuple[str, int]] = []

    def execute(variant: Variant, seed: int) -> list[dict[str, Any]]:
        ran.append((variant.name, seed))
        return [{"seconds": float(len(ran)), "seed": seed} for _ in variant.names]

    monkeypatch.setattr(harness, "execute", execute)
    return ran


def test_variants_take_turns_and_rounds_take_the_seeds_in_turn(executed: list[tuple[str, int]], tmp_path: Path) -> None:
    results = run_rounds(CASES, Sizes(8, rounds=3, seeds=2), tmp_path / "raw.jsonl")
    assert executed == [("ours", 0), ("hf", 0), ("ours", 1), ("hf", 1), ("ours", 0), ("hf", 0)]
    assert [figures["seconds"] for figures in results["set"]["hf"]] == [2.0, 4.0, 6.0]
    assert list(results["set"]) == ["ours", "ours-again", "hf"]


def test_what_the_raw_file_holds_is_not_run_again(executed: list[tuple[str, int]], tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    first = run_rounds(CASES, Sizes(8, rounds=1), raw)
    executed.clear()
    assert run_rounds(CASES, Sizes(8, rounds=1), raw) == first
    assert executed == []
    run_rounds(CASES, Sizes(8, rounds=2), raw)
    assert [name for name, _ in executed] == ["ours", "hf"]
    other = Variant("hf", "HF Trainer", "runs:hf", {"rows": 16})
    executed.clear()
    run_rounds({"set": [OURS, other]}, Sizes(16, rounds=1), raw)
    assert [name for name, _ in executed] == ["hf"]


@pytest.mark.parametrize(
    ("rounds", "seeds", "expected"),
    [(None, None, (3, 2)), (1, None, (1, 1)), (None, 5, (5, 5)), (2, 4, (4, 4)), (6, None, (6, 2))],
)
def test_rounds_and_seeds_of_the_command_line(rounds: int | None, seeds: int | None, expected: tuple[int, int]) -> None:
    given = argparse.Namespace(rows=None, epochs=None, rounds=rounds, seeds=seeds)
    sizes = chosen_sizes(Sizes(8, rounds=3, seeds=2), given)
    assert (sizes.rounds, sizes.seeds) == expected


def test_a_half_finished_pair_of_runs_is_run_anew(executed: list[tuple[str, int]], tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text(json.dumps({"key": OURS.key("set", "ours", 0), "seconds": 9.0, "seed": 0}) + "\n", encoding="utf-8")
    results = run_rounds({"set": [OURS]}, Sizes(8, rounds=1), raw)
    assert executed == [("ours", 0)]
    assert results["set"]["ours"][0]["seconds"] == 1.0


def test_a_variant_runs_in_a_process_of_its_own() -> None:
    (figures,) = harness.execute(Variant("x", "X", "builtins:dict", {"seconds": 2.5}), seed=7)
    assert figures["seconds"] == 2.5
    assert figures["seed"] == 7
    assert figures["whole_seconds"] > 0
    assert figures["threads"] >= 1


def test_a_variant_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="ModuleNotFoundError"):
        harness.execute(Variant("x", "X", "no_such_module:nothing", {}), seed=0)


def test_ratios_are_merged_under_the_name_of_the_benchmark(tmp_path: Path) -> None:
    page = tmp_path / "baselines.json"
    page.write_text(json.dumps({"full": {"other/x": {"median": 2.0}}}), encoding="utf-8")
    benchmark = Benchmark(
        "mine",
        "",
        Sizes(8),
        Sizes(8),
        cases=lambda *_: CASES,
        table=lambda *_: "",
        ratios=lambda *_: {"set/ours:hf": times_as_fast([4.0], [2.0])},
    )
    record(page, "quick", benchmark, CASES, {}, "a machine")
    written = json.loads(page.read_text(encoding="utf-8"))
    assert written["full"] == {"other/x": {"median": 2.0}}
    assert written["quick"]["mine/set/ours:hf"]["median"] == 2.0
