"""The doctor's findings as a terminal shows them: at the end of a run, and while it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from trimtab.cli.findings import diagnosis_for_programs, headline, show_diagnosis, show_findings
from trimtab.cli.progress import Progress
from trimtab.config.load import build_recipe
from trimtab.config.origins import write_recipe
from trimtab.core.runs import RunDirectory
from trimtab.monitor.findings import Curve, Finding

RECIPE = {"optimizer.learning_rate": 6e-4}


def finding(**fields: Any) -> Finding:
    known: dict[str, Any] = {
        "name": "learning_rate_too_high",
        "severity": "act",
        "message": "The loss oscillates.",
        "since": 1200,
        "evidence": {"loss_now": 2.34567, "chance": 0.693, "steps": [1, 2], "clipped": True},
        "remedy": "Lower the learning rate.",
        "change": {"optimizer.learning_rate": 2e-5},
        "series": (Curve("training loss", [1, 2], [0.5, 2.3]),),
        "confidence": 0.99,
    }
    return Finding(**{**known, **fields})


def shown(capsys: pytest.CaptureFixture[str], *findings: Finding, **options: Any) -> list[str]:
    show_findings(findings, options.pop("recipe", RECIPE), **options)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_finding_says_what_by_which_numbers_and_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, finding(), examined=25, recipe_file=Path("runs/my run/recipe.yaml"))
    assert lines == [
        "The doctor looked for 25 conditions and found:",
        "",
        "act: The loss oscillates.",
        "    since step 1,200, loss now 2.346, chance 0.693, clipped yes",
        "    Lower the learning rate.",
        "    $ trimtab train 'runs/my run/recipe.yaml' --learning-rate 2e-05",
    ]


def test_a_recipe_that_names_its_run_is_told_to_go_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    named = {**RECIPE, "output": "runs/x"}
    lines = shown(capsys, finding(), recipe=named, recipe_file=Path("runs/x/recipe.yaml"))
    assert lines[-1] == "    $ trimtab train runs/x/recipe.yaml --output NEW_DIR --learning-rate 2e-05"
    assert shown(capsys, finding(), recipe=named)[-1] == "    $ trimtab train DATA --learning-rate 2e-05"


def test_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, finding(since=0, evidence={}, remedy="", change={}), examined=1)
    assert lines == [
        "The doctor looked for 1 condition and found:", "", "act: The loss oscillates.", "    before the first step",
    ]  # fmt: skip
    assert not any("trimtab train" in line for line in shown(capsys, finding(), recipe={}))


def test_a_healthy_run_says_how_much_was_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, examined=25) == ["Nothing found: the doctor looked for 25 conditions."]


def test_five_suspect_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(
        {"index": n, "split": "train", "row": 1000 + n, "label": "a", "text": "x" * 500, "suggested": "b"}
        for n in range(7)
    )
    lines = shown(capsys, finding(rows=rows))
    told = [line for line in lines if "split train" in line]
    assert len(told) == 5
    assert told[0].startswith("      split train  row 1000  label a  suggested b  text xxx")
    assert "index" not in told[0]
    assert len(told[0]) < 180
    assert lines[-1] == "      and 2 more in diagnosis.json"


def test_severities_have_their_colours() -> None:
    assert headline("act", "m") == click.style("act:", fg="red", bold=True) + " m"
    assert headline("warning", "m") == click.style("warning:", fg="yellow") + " m"
    assert headline("info", "m") == click.style("info:", dim=True) + " m"


def test_a_run_shows_its_diagnosis_and_nothing_without_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    show_diagnosis(run)
    assert capsys.readouterr().out == ""
    assert diagnosis_for_programs(run) == {}
    write_recipe(run.recipe, build_recipe(overrides={"optimizer.learning_rate": 6e-4}))
    content = {"findings": [finding().to_dict()], "examined": ["a", "b"]}
    run.diagnosis.write_text(json.dumps(content), encoding="utf-8")
    show_diagnosis(run)
    out = capsys.readouterr().out
    assert "looked for 2 conditions" in out
    assert f"{run.recipe} --learning-rate 2e-05" in out
    plain = diagnosis_for_programs(run)
    assert plain["examined"] == ["a", "b"]
    assert plain["findings"][0]["name"] == "learning_rate_too_high"
    assert "series" not in plain["findings"][0]


def test_a_recipe_that_cannot_be_read_does_not_hide_the_findings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    run.recipe.write_text("a: [1\n", encoding="utf-8")
    run.diagnosis.write_text(json.dumps({"findings": [finding().to_dict()], "examined": []}), encoding="utf-8")
    show_diagnosis(run)
    out = capsys.readouterr().out
    assert "The loss oscillates." in out
    assert "trimtab train" not in out


def test_findings_are_told_live_once_unless_they_become_graver(capsys: pytest.CaptureFixture[str]) -> None:
    event = {"type": "finding", "step": 9, "by": "doctor", **finding(severity="warning").to_dict()}
    with Progress() as progress:
        progress(event)
        progress(event)
        progress({**event, "severity": "act"})
        progress({**event, "by": "data", "name": "imbalance", "message": "Rare labels."})
    told = capsys.readouterr().err
    assert told.count("doctor, warning: The loss oscillates.") == 1
    assert told.count("doctor, act: The loss oscillates.") == 1
    assert told.count("Lower the learning rate.") == 2
    assert "Rare labels." not in told


def test_nothing_is_told_live_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True) as progress:
        progress({"type": "finding", "step": 9, "by": "doctor", **finding().to_dict()})
    assert capsys.readouterr().err == ""


def test_what_the_autopilot_does_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    event = {"type": "action", "step": 9, "remedy": "lower_rate", "finding": "divergence"}
    with Progress() as progress:
        progress({**event, "action": "autopilot", "reason": "The loss is NaN (since step 7)"})
        progress({**event, "action": "autopilot_skip", "reason": "no sound state is left"})
        progress({**event, "action": "autopilot_effect", "helped": False, "undone": True})
        progress({"type": "action", "step": 9, "action": "condition_failed", "condition": "x", "reason": "ValueError"})
    told = capsys.readouterr().err
    assert "autopilot: lower rate. The loss is NaN (since step 7)" in told
    assert "autopilot: no lower rate: no sound state is left" in told
    assert "autopilot: lower rate did not help and was undone" in told
    assert "warning: the doctor could not look for x: ValueError" in told
