"""The conditions as documents show them: complete, with what was measured and nothing else."""

from __future__ import annotations

import types
from typing import Any

import pytest

from trimtab.core.registry import CONDITIONS
from trimtab.monitor import catalogue
from trimtab.monitor.autopilot import ADVICE_ONLY, BEFORE_TRAINING, RULES
from trimtab.monitor.catalogue import autopilot_markdown, conditions_markdown, remedies

MEASURED: dict[str, Any] = {
    "conditions": {
        "overfitting": {
            "recall": [0.9, 0.7, 0.97], "planted": 20, "precision": [1.0, 0.8, 1.0], "delay_steps": 12.5,
        },
        "plateau": {"recall": None, "planted": 0, "precision": [None, None, None], "delay_steps": None},
    },
    "healthy": {"runs": 40, "with_act": 1, "share": [0.025, 0.004, 0.13]},
}  # fmt: skip


def test_every_condition_has_a_row_and_a_section() -> None:
    text = conditions_markdown()
    for name in CONDITIONS.names():
        condition = CONDITIONS.get(name)
        assert f"| [`{name}`](#{name}) |" in text
        assert f"### `{name}`" in text
        for part in (condition.title, condition.rule, condition.source):
            words = " ".join(part.split())[1:].rstrip(".")
            assert words in text, f"{name}: {words}"


def test_no_figure_is_shown_that_was_not_measured() -> None:
    text = conditions_markdown()
    assert "have not been measured" in text
    assert "recall |" not in text


def test_measured_figures_stand_in_the_table() -> None:
    text = conditions_markdown(MEASURED)
    (row,) = [line for line in text.splitlines() if line.startswith("| [`overfitting`]")]
    assert row.endswith("| 20 | 0.90 (0.70 to 0.97) | 1.00 (0.80 to 1.00) | 12.5 |")
    others = [line for line in text.splitlines() if line.startswith("| [`") and line != row]
    assert all(line.endswith("| – | – | – | – |") for line in others)
    assert "Of 40 healthy runs, 1 got a finding of severity `act`. Share with `act`: 0.03 (0.00 to 0.13)." in text
    assert "not been measured" not in text
    warned = {**MEASURED, "healthy": {**MEASURED["healthy"], "with_warning": 5}}
    assert "severity `act`, 5 one of severity `warning`." in conditions_markdown(warned)


def module_of(source: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.setattr(catalogue.inspect, "getsource", lambda module: source)
    return types.ModuleType("made_up")


def test_remedies_are_read_from_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
def examine(trace):
    remedy = f"Lower the rate to {rate:g}." if high else "Lower the rate."
    cause, remedy, change = _cause(trace) if known else ("words too", "Wait and see.", {})
    yield Finding("x", remedy="Stop " + "early.", message="Not a remedy at all.")
    yield Finding("x", "act", "No remedy.", 0, {}, str(told.get("remedy") or "Sort the rows."), confidence=1.0)
    yield dict(found, **{"remedy": "Add rows."})

def _cause(trace):
    if little:
        return "capacity words", "Train more of it.", {}
    return "step words", f"Train for {factor} times as long.", {}

def _remedy(trace):
    return "Look at the rows."
"""
    assert remedies(module_of(source, monkeypatch)) == [
        "Lower the rate to ….", "Lower the rate.", "Wait and see.", "Stop early.", "Sort the rows.", "Add rows.",
        "Train more of it.", "Train for … times as long.", "Look at the rows.",
    ]  # fmt: skip
    assert remedies(None) == []


def test_every_condition_gives_advice() -> None:
    import inspect

    silent = [name for name in CONDITIONS.names() if not remedies(inspect.getmodule(CONDITIONS.get(name)))]
    assert silent == []


def test_the_rules_of_the_autopilot_are_a_table() -> None:
    text = autopilot_markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 + len(RULES) + len(BEFORE_TRAINING)
    assert all(row.count("|") == rows[0].count("|") for row in rows)
    for rule in (*RULES, *BEFORE_TRAINING):
        assert f"| `{rule.remedy}` |" in text
    assert [name for name in ADVICE_ONLY if f"- `{name}`: " not in text] == []
