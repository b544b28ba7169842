from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import cli
from trimtab.cli.output import format_interval, print_json
from trimtab.config.load import build_recipe
from trimtab.config.recipe import Recipe


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("seed: 0\n")
    (path / "events.jsonl").write_text('{"type": "step", "time": 1700000000.0, "step": 40}\n')
    metrics = {"macro_f1": {"value": 0.9123, "low": 0.8934, "high": 0.93}}
    (path / "evaluation.json").write_text(json.dumps({"primary_metric": "macro_f1", "metrics": metrics}))
    (path / "environment.json").write_text(
        json.dumps({"run": {"model": "starter", "data": "tickets", "strategy": "full", "task": "text-classification"}})
    )


def test_recipe_prints_a_recipe(tmp_path: Path) -> None:
    result = invoke("recipe")
    assert result.exit_code == 0
    (tmp_path / "r.yaml").write_text(result.stdout)
    assert build_recipe(file=tmp_path / "r.yaml").recipe == build_recipe().recipe


def test_recipe_writes_and_never_overwrites_by_itself(tmp_path: Path) -> None:
    result = invoke("recipe", "--output", "r.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Wrote r.yaml.\n")
    (tmp_path / "r.yaml").write_text("mine")
    result = invoke("recipe", "--output", "r.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "error: r.yaml exists already."
    assert (tmp_path / "r.yaml").read_text() == "mine"
    assert invoke("recipe", "--output", "r.yaml", "--force").exit_code == 0
    assert (tmp_path / "r.yaml").read_text().startswith("# A recipe of Trimtab")


def test_recipe_refuses_a_folder_and_a_missing_one(tmp_path: Path) -> None:
    assert "is a directory" in invoke("recipe", "--output", str(tmp_path)).stderr
    result = invoke("recipe", "--output", "none/r.yaml")
    assert result.exit_code == 2
    assert "The folder none does not exist" in result.stderr


def test_recipe_as_markdown_and_schema() -> None:
    assert invoke("recipe", "--markdown").stdout.startswith("## Top level\n")
    schema = json.loads(invoke("recipe", "--json").stdout)
    assert set(schema["properties"]) == set(Recipe.model_fields)
    result = invoke("recipe", "--json", "--markdown")
    assert result.exit_code == 2
    assert "exclude each other" in json.loads(result.stdout)["error"]["message"]
    assert json.loads(invoke("recipe", "--json", "--output", "s.json").stdout) == {"written": "s.json"}
    assert json.loads(Path("s.json").read_text()) == schema


def test_runs_table_on_one_line_a_run() -> None:
    make_run(Path("runs/tickets-starter-1"))
    lines = invoke("runs").stdout.splitlines()
    assert lines[0].split() == ["run", "state", "step", "metric", "value", "model", "data", "strategy", "time"]
    assert len(lines) == 3
    words = "runs/tickets-starter-1 finished 40 macro_f1 0.912 [0.893, 0.930] starter tickets full 2023-11-1"
    assert " ".join(lines[2].split()).startswith(words)


def test_runs_as_json() -> None:
    make_run(Path("elsewhere/a"))
    told = json.loads(invoke("runs", "elsewhere", "--json").stdout)
    assert told["folder"] == "elsewhere"
    (run,) = told["runs"]
    assert (run["run"], run["state"], run["step"], run["value"]) == ("elsewhere/a", "finished", 40, 0.9123)


def test_runs_of_a_damaged_run_show_what_can_be_read() -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/recipe.yaml").write_text("seed: 0\n")
    Path("runs/a/evaluation.json").write_text("{torn")
    result = invoke("runs")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2].split()[:2] == ["runs/a", "finished"]


def test_no_runs_and_no_folder() -> None:
    assert invoke("runs").stdout == "No runs in runs. Make one with: trimtab train DATA\n"
    assert json.loads(invoke("runs", "--json").stdout) == {"folder": "runs", "runs": []}
    Path("empty").mkdir()
    assert invoke("runs", "empty").stdout == "No runs in empty. Make one with: trimtab train DATA\n"
    result = invoke("runs", "none")
    assert result.exit_code == 2
    assert "No folder none" in result.stderr


def test_intervals_and_json_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert format_interval(0.5) == "0.500"
    assert format_interval(None, 0.1, 0.2) == "-"
    assert format_interval(0.5, 0.4, 0.61234) == "0.500 [0.400, 0.612]"
    print_json({"value": float("nan"), "name": "标签"})
    assert json.loads(capsys.readouterr().out) == {"value": None, "name": "标签"}
