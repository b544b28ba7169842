"""Each tracker by itself: what it holds after rows, steps back, another session, and the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import stores

from trimtab.config.tracking import TrackingSection
from trimtab.core.errors import MissingDependencyError, RecipeError
from trimtab.core.registry import TRACKERS
from trimtab.core.runs import RunDirectory
from trimtab.integrations.points import Row
from trimtab.integrations.trackers import base
from trimtab.integrations.trackers.base import Outcome, Place, Tracker

START = {"type": "start", "time": 50.0, "step": 0, "model": "m", "task": "t", "total_steps": 9}
RECIPE = {"seed": 0, "optimizer.learning_rate": 1e-3, "data.text": ["a", "b"], "model.name": "=cmd", "empty": None}
FINDING = {
    "type": "finding", "step": 2, "time": 60.0, "name": "overfitting", "severity": "act", "by": "doctor",
    "message": "=HYPERLINK(\"x\") 损失, \"quoted\"\nnew line", "remedy": "Stop.",
}  # fmt: skip
JUDGED = {"split": "test", "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}, "verdict": "Good."}


def rows(first: int, last: int, **values: float) -> list[Row]:
    return [Row(step, 100.0 + step, {"train/loss": step / 10, **values}) for step in range(first, last + 1)]


def make(kind: str, tmp_path: Path, state: dict[str, Any] | None = None, **section: Any) -> Tracker:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    run.recipe.write_text("seed: 0\n", encoding="utf-8")
    place = Place(run, TrackingSection(to=[kind], **section), "my run", tmp_path / "run" / "tracking")
    tracker: Tracker = TRACKERS.get(kind)(place, state or {})
    return tracker


def again(kind: str, tmp_path: Path, tracker: Tracker) -> tuple[Tracker, int | None]:
    """The tracker of the next session, and the step up to which it was told."""
    state = json.loads(json.dumps({"begun": True, **tracker.state()}))
    following = make(kind, tmp_path, state)
    return following, following.begin({**START, "resumed": True}, RECIPE)


@pytest.fixture(params=["csv", "tensorboard", "mlflow", "wandb"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    stores.need(request.param)
    yield request.param


def losses(kind: str, tmp_path: Path) -> list[tuple[int, float]]:
    return stores.points(kind, tmp_path / "run", "train/loss")


def expected(*spans: Sequence[Row]) -> list[tuple[int, float]]:
    return [(row.step, pytest.approx(row.values["train/loss"], rel=1e-6)) for span in spans for row in span]


def test_rows_findings_and_the_end_arrive(kind: str, tmp_path: Path) -> None:
    tracker = make(kind, tmp_path)
    assert tracker.begin(START, RECIPE) is None
    tracker.write(rows(1, 2))
    tracker.finding(FINDING)
    tracker.write([*rows(3, 3, **{"validation/accuracy": 0.5, "drift/block 0": 0.1})])
    tracker.flush()
    tracker.end(Outcome("finished", 3, 200.0, "Good.", JUDGED))
    assert losses(kind, tmp_path) == expected(rows(1, 3))
    assert stores.points(kind, tmp_path / "run", "validation/accuracy") == [(3, pytest.approx(0.5))]
    assert stores.result(kind, tmp_path / "run", "test/accuracy") == pytest.approx(0.9)
    assert "损失" in stores.text(kind, tmp_path / "run", "overfitting")


def test_another_session_goes_on_without_double_points(kind: str, tmp_path: Path) -> None:
    tracker = make(kind, tmp_path)
    tracker.begin(START, RECIPE)
    tracker.write(rows(1, 5))
    tracker.flush()
    tracker.end(Outcome("stopped", 5, 200.0, "SIGINT"))
    following, told = again(kind, tmp_path, tracker)
    assert told == (None if kind == "wandb" else 5)
    if following.goes_back:
        following.go_back(3)
        told = 3
    following.write(rows((told or 0) + 1, 7))
    following.flush()
    following.end(Outcome("finished", 7, 300.0, "", JUDGED))
    assert losses(kind, tmp_path) == expected(rows(1, 7))


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_steps_are_taken_back_within_a_session(name: str, tmp_path: Path) -> None:
    tracker = make(name, tmp_path)
    tracker.begin(START, RECIPE)
    tracker.write(rows(1, 5))
    tracker.go_back(2)
    other = [Row(3, 110.0, {"train/loss": 9.0}), Row(4, 111.0, {"train/loss": 8.0})]
    tracker.write(other)
    tracker.end(Outcome("finished", 4, 200.0))
    assert losses(name, tmp_path) == expected(rows(1, 2), other)


def test_a_missing_package_names_its_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = TRACKERS.get(kind)
    if not tracker.packages:
        assert kind == "csv"
        tracker.check(TrackingSection(to=[kind]))
        return

    def missing(module: str, *, extra: str, purpose: str) -> None:
        raise MissingDependencyError(f"{module} to {purpose}", remedy=f"trimtab[{extra}]")

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    monkeypatch.setattr(base, "require", missing)
    with pytest.raises(MissingDependencyError, match=rf"trimtab\[{kind}\]"):
        tracker.check(TrackingSection(to=[kind]))


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_tables_grow_by_columns_and_keep_text_from_being_a_formula(tmp_path: Path) -> None:
    tracker = make("csv", tmp_path)
    tracker.begin(START, RECIPE)
    tracker.write(rows(1, 2))
    tracker.write([Row(3, 103.0, {"train/loss": float("nan"), "validation/loss": 0.25, "drift/block, 0": 0.5})])
    tracker.finding(FINDING)
    folder = tmp_path / "run" / "tracking" / "csv"
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["validation/loss"] for row in table] == ["", "", "0.25"]
    assert [row["train/loss"] for row in table] == ["0.1", "0.2", "nan"]
    assert table[0]["time"] == "1970-01-01 00:01:41"
    with open(folder / "blocks.csv", encoding="utf-8", newline="") as file:
        assert [(row["block"], row["drift"]) for row in csv.DictReader(file)] == [("block, 0", "0.5")]
    with open(folder / "findings.csv", encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["message"] == f"'{FINDING['message']}" and row["remedy"] == "Stop."
    assert (folder / "findings.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
    assert "model.name,'=cmd" in (folder / "recipe.csv").read_text(encoding="utf-8-sig")


def test_a_torn_row_is_taken_out(tmp_path: Path) -> None:
    tracker = make("csv", tmp_path)
    tracker.begin(START, RECIPE)
    tracker.write(rows(1, 3))
    with open(tmp_path / "run" / "tracking" / "csv" / "metrics.csv", "a", encoding="utf-8") as file:
        file.write("4,1970-01-01 00:0")
    following, told = again("csv", tmp_path, tracker)
    assert told == 3
    following.write(rows(4, 4))
    assert losses("csv", tmp_path) == expected(rows(1, 4))


# --- MLflow ----------------------------------------------------------------------------------------------------------


def test_mlflow_holds_parameters_files_and_state(tmp_path: Path) -> None:
    stores.need("mlflow")
    tracker = make("mlflow", tmp_path, project="my project")
    tracker.begin(START, RECIPE)
    tracker.write([Row(1, 101.0, {f"learning_rate/block {index}": 0.1 for index in range(1500)})])
    run = stores.mlflow_run(tmp_path / "run", "my project")
    assert run.info.status == "RUNNING" and run.info.run_name == "my run"
    assert len(run.data.metrics) == 1500
    assert run.data.params["optimizer.learning_rate"] == "0.001" and "empty" not in run.data.params
    tracker.end(Outcome("stopped", 1, 200.0, "SIGINT received"))
    run = stores.mlflow_run(tmp_path / "run", "my project")
    assert run.info.status == "KILLED"
    assert run.data.tags["mlflow.note.content"] == "SIGINT received"
    assert (tmp_path / "mlartifacts" / run.info.run_id / "artifacts" / "recipe.yaml").is_file()


def test_a_store_given_by_a_variable_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.need("mlflow")
    section = TrackingSection(to=["mlflow"], uri="env:MY_STORE")
    monkeypatch.delenv("MY_STORE", raising=False)
    with pytest.raises(RecipeError, match="MY_STORE is not set"):
        TRACKERS.get("mlflow").check(section)
    monkeypatch.setenv("MY_STORE", "https://user:secret99@server/")
    TRACKERS.get("mlflow").check(section)
    monkeypatch.setenv("MY_STORE", "postgresql://user:secret99@server/db")
    with pytest.raises(RecipeError) as caught:
        TRACKERS.get("mlflow").check(section)
    assert "secret99" not in str(caught.value)


# --- Weights & Biases ------------------------------------------------------------------------------------------------


def test_a_part_that_was_synchronised_is_gone_on_with(tmp_path: Path) -> None:
    stores.need("wandb")
    tracker = make("wandb", tmp_path)
    tracker.begin(START, RECIPE)
    tracker.write(rows(1, 5))
    tracker.end(Outcome("stopped", 5, 200.0))
    (part,) = (tmp_path / "run" / "tracking" / "wandb").glob("offline-run-*")
    (part / f"run-{tracker.state()['id']}.wandb.synced").touch()
    following, told = again("wandb", tmp_path, tracker)
    assert told == 5
    following.end(Outcome("stopped", 5, 200.0))
    assert part.is_dir()
