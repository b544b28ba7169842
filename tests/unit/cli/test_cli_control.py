"""`trimtab control`: what the command line refuses before anything is asked of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import trimtab

from trimtab.cli.control import VALUES
from trimtab.core.control import COMMANDS
from trimtab.core.heartbeat import Heartbeat


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("seed: 0\n")
    return run


def test_every_command_of_a_run_is_one_of_the_command_line() -> None:
    assert [name.replace("-", "_") for name in VALUES] == list(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("learning-rate",), "learning-rate needs FACTOR"),
        (("learning-rate", "half"), "found 'half'"),
        (("learning-rate", "0"), "needs a factor from 0.0001 to 10,000"),
        (("remedy",), "remedy needs the name of a FINDING"),
        (("pause", "3"), "pause takes no value; found '3'"),
        (("stop", "--take", "lower_rate"), "--take goes with remedy"),
        (("explode",), "'explode' is not one of"),
        (("pause",), "has no heartbeat"),
    ],
)
def test_faulty_words_are_refused(run: Path, arguments: tuple[str, ...], words: str) -> None:
    outcome = trimtab("control", run, *arguments)
    assert outcome.code == 2 and words in outcome.error
    assert not (run / "control").exists()


def test_no_answer_in_time_is_told(run: Path) -> None:
    with Heartbeat(run / "heartbeat.json", seconds=3600) as heart, heart.during("evaluating"):
        outcome = trimtab("control", run, "pause", "--wait", 0)
        told: Any = trimtab("control", run, "pause", "--wait", 0, "--json").json
    assert outcome.code == 0 and outcome.out == ""
    assert "not answered yet: the run is evaluating" in outcome.err
    assert told["accepted"] is None and told["command"] == "pause"
    assert len(list((run / "control").iterdir())) == 2


def test_it_needs_no_torch() -> None:
    code = "import sys, trimtab.cli.control; print(sorted({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
