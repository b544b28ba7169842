"""The tutorial runs, block by block, and leaves what the documents promise."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import ENGLISH, REPOSITORY, TUTORIAL, Block, blocks_of


class Walk:
    """Runs the tutorial's blocks in order, in one folder; `trimtab` lines in this process, all else by the shell."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "tutorial"}
        self.output = ""

    def run(self, block: Block) -> None:
        where = f"{TUTORIAL.name}, line {block.line}"
        if block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                exec(compile(block.text, where, "exec"), self.names)  # noqa: S102 (our own document)
            self.output = out.getvalue()
        elif block.language == "sh":
            expected = int(block.info.removeprefix("exit=") or 0)
            commands = [block.text] if "<<" in block.text else block.text.splitlines()
            results = [self._command(command) for command in commands]
            self.output = "\n".join(text for _, text in results)
            codes = [code for code, _ in results]
            assert codes == [0] * (len(codes) - 1) + [expected], f"{where}: exit codes {codes}\n{self.output}"
        elif block.language == "text":
            for line in block.text.splitlines():
                assert line.removesuffix("…") in self.output, f"{where}: {line!r} is not in:\n{self.output}"

    def _command(self, command: str) -> tuple[int, str]:
        if command.startswith("trimtab ") and not re.search(r"[|<>]", command):
            from trimtab.cli.main import cli

            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = cli.main(shlex.split(command)[1:], standalone_mode=False)
            return code, out.getvalue()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def walked() -> Iterator[Path]:
    """The folder in which the whole tutorial has run."""
    with tempfile.TemporaryDirectory(prefix="trimtab-tutorial-") as name:
        folder, before = Path(name), Path.cwd()
        shutil.copytree(REPOSITORY / "examples", folder / "examples")
        os.chdir(folder)
        try:
            walk = Walk()
            for block in blocks_of(TUTORIAL):
                walk.run(block)
            yield folder
        finally:
            os.chdir(before)


def test_tutorial_leaves_the_runs_it_promises(walked: Path) -> None:
    assert sorted(path.name for path in (walked / "runs").iterdir()) == ["first", "gradual", "partial", "stopped"]
    for run in (walked / "runs").iterdir():
        assert json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["rows"] == 30
    assert len((walked / "predicted.csv").read_text(encoding="utf-8").splitlines()) == 61


def test_readme_names_every_file_of_a_run(walked: Path) -> None:
    table = ENGLISH.read_text(encoding="utf-8").partition("## What a run leaves behind")[2].partition("\n## ")[0]
    named = _first_cells(table)
    # No run of the tutorial trains adapters, or writes for other trackers.
    assert {name.split("/")[0] for name in named} - {"adapter", "tracking"} == {
        path.name for path in (walked / "runs" / "first").iterdir()
    }


def _first_cells(table: str) -> set[str]:
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_architecture_names_the_fields_of_every_event(walked: Path) -> None:
    section = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").partition("### Events")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, flags=re.MULTILINE)
    documented = {kind: set(re.findall(r"`(\w+)`", cells)) for kind, cells in rows}
    seen: dict[str, set[str]] = {}
    for path in (walked / "runs").glob("*/events.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            assert {"type", "time", "step"} <= event.keys()
            seen.setdefault(event["type"], set()).update(event.keys() - {"type", "time", "step"})
    assert set(seen) | {"probe", "control"} == set(documented)  # of `strategy: auto`, and of requests, alone
    assert {kind: fields - documented[kind] for kind, fields in seen.items() if fields - documented[kind]} == {}
    # Named, though not every run has them: what only a skipped step, a new or a resumed run, or another action holds.
    rare = {"skipped", "rows", "preflight", "resumed", "signal", "message", "reason", "before", "after", "checkpoint"}
    severities = {"info", "warning", "refuse"}
    actions = {"interrupted", "resume", "skip_checkpoint", "shrink_token_budget", "early_stop", "merge", "interpolate"}
    actions |= {"fill_cache", "token_rows", "tensor", "of", "found", "mib"}
    actions |= {"best_step", "merged", "difference", "tolerance", "share", "tried"}
    rare |= {"extras"}  # of hooks that tell values
    # Of the doctor's findings, which a healthy run may not have.
    rare |= {"doctor", "data", "act", "by", "since", "change", "confidence", "source", "x_label", "none", "origin"}
    actions |= {"condition_failed", "condition", "autopilot", "autopilot_effect", "autopilot_skip", "remedy", "finding"}
    actions |= {"retention_failed"}
    actions |= {"helped", "undone"}
    actions |= {"alert_failed", "channel", "tracker_failed", "tracker"}
    within = {"grad_norm", "weight_norm", "update_ratio", "variance", "squared_norm", "loss_error", "error_confidence"}
    within |= {"loss", "predicted_entropy", "recall", "label_rows", "predicted"}
    within |= {"template", "values"}
    for kind, fields in seen.items():
        assert documented[kind] - fields <= rare | severities | actions | within, kind
