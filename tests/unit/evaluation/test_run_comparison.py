"""Several runs side by side: keys that differ, seeds as groups, refusals, and the command and function for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import trimtab
from scipy.stats import ttest_ind

import trimtab as package
from trimtab.core.errors import DataError, RunError
from trimtab.evaluation.comparison import compare_runs
from trimtab.evaluation.seeds import group_difference, group_of
from trimtab.metrics.classification import classification_metrics, confusion_matrix

TRUTH = np.arange(120) % 2


def make_run(path: Path, right: float, *, first_row: int = 1, finished: bool = True, **recipe: Any) -> Path:
    """A finished run that predicts a share `right` of its rows right."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(len(path.name))
    predicted = np.where(rng.random(120) < right, TRUTH, 1 - TRUTH)
    names = np.array(["no", "yes"])
    frame = pd.DataFrame(
        {
            "row": np.arange(120) + first_row,
            "source": "t.csv",
            "text": [f"text {number + first_row}" for number in range(120)],
            "label": names[TRUTH],
            "prediction": names[predicted],
            "probability": 0.7,
        }
    )
    frame.to_parquet(path / "predictions.parquet")
    values = classification_metrics(confusion_matrix(TRUTH, predicted, 2))
    metrics = {name: {"value": float(value), "low": 0.0, "high": 1.0} for name, value in values.items()}
    told = {"primary_metric": "accuracy", "split": "test", "rows": 120, "metrics": metrics}
    if finished:
        (path / "evaluation.json").write_text(json.dumps(told))
    learning_rate = recipe.get("learning_rate", 1e-4)
    (path / "recipe.yaml").write_text(
        f"seed: {recipe.get('seed', 0)}\noutput: {path}\nstrategy:\n  name: {recipe.get('strategy', 'full')}\n"
        f"optimizer:\n  learning_rate: {learning_rate}\ntraining:\n  max_tokens_per_batch: {len(path.name)}\n"
        "origins:\n  seed: flag\n  output: flag\n  strategy: flag\n  optimizer.learning_rate: flag\n"
        "  training.max_tokens_per_batch: inferred\n"
    )
    return path


def test_two_runs(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / "weak", 0.55), make_run(tmp_path / "strong", 0.95, learning_rate=3e-4)]
    found = compare_runs(paths, samples=500)
    assert (found.metric, found.higher_is_better, found.groups) == ("accuracy", True, ())
    assert list(found.differs) == ["optimizer.learning_rate", "training.max_tokens_per_batch"]
    assert found.differs["optimizer.learning_rate"] == {"weak": 1e-4, "strong": 3e-4}
    assert [pair.verdict for pair in found.pairs] == ["second"]
    assert found.adjusted == (found.pairs[0].p_value,)
    assert package.compare(*paths, samples=500).to_dict() == found.to_dict()
    assert json.loads(json.dumps(found.to_dict()))["pairs"][0]["rows"] == 120


def test_seeds_of_a_recipe_are_a_group(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / f"a{'x' * seed}", 0.6, seed=seed) for seed in range(3)]
    paths += [make_run(tmp_path / f"b{'x' * seed}", 0.9, seed=seed, strategy="lora") for seed in range(3)]
    found = compare_runs(paths, samples=200)
    assert [group.runs for group in found.groups] == [("a", "ax", "axx"), ("b", "bx", "bxx")]
    group = found.groups[0]
    values = [run.metrics["accuracy"].value for run in found.runs[:3]]
    assert group.mean == pytest.approx(np.mean(values))
    assert group.deviation == pytest.approx(np.std(values, ddof=1))
    assert (group.low, group.high) == (min(values), max(values))
    assert found.group_difference is not None
    assert found.group_difference.beyond_chance
    assert len(found.pairs) == 5
    assert "5 comparisons" in found.notes[-1]


def test_difference_of_groups_is_welchs() -> None:
    first, second = [0.80, 0.83, 0.79, 0.82], [0.86, 0.84, 0.91]
    groups = [group_of([(str(place), value) for place, value in enumerate(values)]) for values in (first, second)]
    found = group_difference(groups[0], groups[1], "accuracy", 0.95)
    expected = ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert found.difference.low == pytest.approx(expected.low)
    assert found.difference.high == pytest.approx(expected.high)
    assert found.beyond_chance == (expected.low > 0)
    alike = group_of([("a", 0.5), ("b", 0.5)])
    assert group_difference(alike, alike, "accuracy", 0.95).difference.high == 0
    assert np.isnan(group_of([("a", 0.5)]).deviation)


def test_other_rows_are_refused(tmp_path: Path) -> None:
    here, there = make_run(tmp_path / "here", 0.8), make_run(tmp_path / "there", 0.8, first_row=500, strategy="lora")
    with pytest.raises(DataError, match="they share 0") as told:
        compare_runs([here, there])
    assert "trimtab evaluate" in told.value.remedy
    third = make_run(tmp_path / "third", 0.9, learning_rate=1e-3)
    found = compare_runs([here, there, third], samples=200)
    assert list(found.refused) == ["there"]
    assert [pair.second for pair in found.pairs] == ["third"]


def test_seeds_with_other_rows_still_have_a_mean(tmp_path: Path) -> None:
    found = compare_runs([make_run(tmp_path / "a", 0.8), make_run(tmp_path / "bb", 0.8, first_row=500, seed=1)])
    assert [group.runs for group in found.groups] == [("a", "bb")]
    assert list(found.refused) == ["bb"]
    assert not found.pairs


def test_what_is_no_comparison(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.8)
    with pytest.raises(RunError, match="two runs or more"):
        compare_runs([run])
    with pytest.raises(RunError, match="named twice"):
        compare_runs([run, run / ".." / "a"])
    with pytest.raises(RunError, match="has not finished") as told:
        compare_runs([run, make_run(tmp_path / "b", 0.8, finished=False)])
    assert "trimtab resume" in told.value.remedy
    with pytest.raises(RunError, match="No run directory"):
        compare_runs([run, tmp_path / "none"])
    damaged = make_run(tmp_path / "c", 0.8)
    (damaged / "evaluation.json").write_text('{"metrics": 3}')
    with pytest.raises(RunError, match="cannot be read"):
        compare_runs([run, damaged])


def test_a_recipe_of_an_older_version(tmp_path: Path) -> None:
    old, new = make_run(tmp_path / "old", 0.8), make_run(tmp_path / "new", 0.8)
    text = (new / "recipe.yaml").read_text()
    (new / "recipe.yaml").write_text(f"{text}".replace("origins:", "checkpoint:\n  keep_last: 2\ngone: 3\norigins:"))
    found = compare_runs([old, new], samples=200)
    # keep_last 2 is the default, which the other run had without saying so.
    assert list(found.differs) == ["gone"]


def test_runs_of_one_name(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / "x" / "run", 0.8), make_run(tmp_path / "y" / "run", 0.9, seed=2)]
    assert [run.name for run in compare_runs(paths, samples=200).runs] == [str(path) for path in paths]


def test_the_command(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / "weak", 0.55), make_run(tmp_path / "strong", 0.95, learning_rate=3e-4)]
    outcome = trimtab("compare", *paths, "--samples", "200")
    assert outcome.code == 0
    assert "strong is better than weak by" in outcome.out
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "optimizer.learning_rate 0.0001 0.0003" in lines
    told = trimtab("compare", *paths, "--metric", "mcc", "--samples", "200", "--json").json
    assert told["metric"] == "mcc"
    assert told["pairs"][0]["difference"]["low"] > 0
    assert told["differs"]["optimizer.learning_rate"] == {"weak": 1e-4, "strong": 3e-4}


def test_the_command_refuses_in_words(tmp_path: Path) -> None:
    here, there = make_run(tmp_path / "here", 0.8), make_run(tmp_path / "there", 0.8, first_row=500, strategy="lora")
    outcome = trimtab("compare", here, there)
    assert outcome.code == 2
    assert outcome.error.startswith("here (120 rows) and there (120 rows) were not evaluated on the same rows")
    told = trimtab("compare", here, there, "--json").json
    assert told["error"]["type"] == "DataError"
    assert trimtab("compare", here, here, "--metric", "f1").code == 2
