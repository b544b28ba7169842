from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.core.errors import RunError
from trimtab.core.runs import RunDirectory, list_runs, new_run_path, open_run


def make(path: Path) -> None:
    with RunDirectory(path).created() as aside:
        (aside.path / "recipe.yaml").write_text("seed: 0\n")


def test_a_run_directory_appears_whole_and_takes_an_empty_one(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "a" / "b").created() as aside:
        (aside.path / "recipe.yaml").write_text("seed: 0\n")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "checkpoints").is_dir()
    assert (tmp_path / "a" / "b" / "recipe.yaml").is_file()
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunDirectory(tmp_path / "run").created() as aside:
        (aside.path / "recipe.yaml").write_text("seed: 0\n")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_aside_is_removed_and_not_listed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for owner in (dead.pid, os.getppid()):
        (tmp_path / f".run.{owner}.tmp").mkdir()
        (tmp_path / f".run.{owner}.tmp" / "recipe.yaml").write_text("seed: 0\n")
    assert list(list_runs(tmp_path)) == []
    make(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".run.{os.getppid()}.tmp", "run"]


def test_what_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        make(tmp_path / "file")
    with pytest.raises(RunError, match=r"Cannot write .*: Not a directory"):
        make(tmp_path / "file" / "run")
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="exists already and is not empty") as caught:
        make(run.path)
    assert caught.value.remedy == "Choose another name with --output DIR."
    run.recipe.write_text("seed: 0\n")
    with pytest.raises(RunError) as caught:
        make(run.path)
    assert caught.value.remedy.startswith(f"Go on with it by 'trimtab resume {run.path}', or choose")
    run.evaluation.write_text("{}")
    with pytest.raises(RunError) as caught:
        make(run.path)
    assert "resume" not in caught.value.remedy
    assert sorted(path.name for path in run.path.iterdir()) == ["evaluation.json", "mine.txt", "recipe.yaml"]


def test_open_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No run directory at"):
        open_run(tmp_path / "none")
    with pytest.raises(RunError, match=r"it has no recipe\.yaml"):
        open_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    assert open_run(str(tmp_path)).path == tmp_path


@pytest.mark.parametrize(
    ("data", "model", "name"),
    [
        ("tickets", "starter", "tickets-starter-1"),
        ("tickets", "/home/me/models/bert-v1.5/", "tickets-bert-v1.5-1"),
        ("glue", "owner/name", "glue-name-1"),
        ("my data", "../x y", "my-data-x-y-1"),
        ("标题", "starter", "标题-starter-1"),
        ("a" * 90, "..", f"{'a' * 40}-run-1"),
    ],
)
def test_names_of_new_runs(tmp_path: Path, data: str, model: str, name: str) -> None:
    assert new_run_path(tmp_path, data, model) == tmp_path / name


def test_names_of_new_runs_are_free(tmp_path: Path) -> None:
    (tmp_path / "t-s-1").mkdir()
    (tmp_path / "t-s-2").write_text("a file")
    assert new_run_path(tmp_path, "t", "s").name == "t-s-3"
    assert new_run_path(tmp_path / "none", "t", "s").name == "t-s-1"


def test_listing(tmp_path: Path) -> None:
    for name, events in {
        "stopped": [{"type": "step", "time": 5.0, "step": 7}, {"type": "action", "action": "interrupted", "step": 7}],
        "going": [{"type": "action", "action": "interrupted", "step": 7}, {"type": "action", "action": "resume"}],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("seed: 0\n")
        (tmp_path / name / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "no run").mkdir()
    found = {Path(run["run"]).name: run for run in list_runs(tmp_path)}
    assert set(found) == {"stopped", "going"}
    assert (found["stopped"]["state"], found["stopped"]["step"], found["stopped"]["time"]) == ("stopped", 7, 5.0)
    assert (found["going"]["state"], found["going"]["value"]) == ("unfinished", None)
    assert [Path(run["run"]) for run in list_runs(tmp_path / "going")] == [tmp_path / "going"]
    with pytest.raises(RunError, match="No folder"):
        list(list_runs(tmp_path / "none"))


def test_the_room_of_runs_imports_without_torch() -> None:
    code = (
        "import sys, trimtab.core.runs; print(sorted({'torch', 'pandas', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
