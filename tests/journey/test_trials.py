"""Several trainings of one recipe through the API: what they share is made once, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

import trimtab

SETTINGS = {"training.num_epochs": 2, "training.precision": "fp32", "strategy": "partial", "retention.measure": False}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.save_bert(tmp_path / "bert")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.write_csv(tmp_path / "rows.csv", 90)


def _run(data: Path, model: Path, trials: list[dict[str, Any]], **fields: Any) -> Any:
    settings = {**SETTINGS, "model.name": str(model), **fields.pop("settings", {})}
    return trimtab.run_trials(data, trials=trials, settings=settings, **fields)


def test_trials_give_what_single_runs_give(data: Path, model: Path, tmp_path: Path) -> None:
    trials = [{"optimizer.learning_rate": 1e-2}, {"optimizer.learning_rate": 1e-4, "training.num_epochs": 1}]
    first, second = _run(data, model, trials)
    run = trimtab.train(data, output=tmp_path / "run", settings={**SETTINGS, "model.name": str(model), **trials[0]})
    judged = [event for event in run.events if event["type"] == "evaluation"]
    assert [metrics for _, metrics in first.evaluations] == [event["metrics"] for event in judged]
    assert first.value == max(event["metrics"]["macro_f1"] for event in judged) and first.metric == "macro_f1"
    assert first.steps == 2 * second.steps and len(first.evaluations) == 2
    assert second.changes == trials[1] and second.seconds > 0


def test_trials_share_data_tokens_and_frozen_blocks(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    events: list[dict[str, Any]] = []
    results = _run(
        data,
        model,
        [{"seed": seed} for seed in range(3)],
        on_event=events.append,
        settings={"cache.folder": str(tmp_path / "own-cache")},
    )
    assert len({result.value for result in results}) > 1
    assert [event["type"] for event in events].count("report") == 1
    # Training and validation rows pass the frozen blocks once, in the first trial.
    filled = [event for event in events if event.get("action") == "fill_cache"]
    assert len(filled) == 2 and all(event["found"] == 0 for event in filled)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "own-cache"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.max_rows": 20}, "data: trials share it"),
        ({"model.dropout": 0.2}, "model: trials share it"),
        ({"strategy": "auto"}, "chooses among strategies by trials of its own"),
        ({"monitor.autopilot": "act"}, "nothing acts in a trial"),
        ({"optimizer.learning_rat": 1}, "Did you mean"),
    ],
)
def test_what_trials_cannot_change_is_refused(data: Path, model: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(trimtab.TrimtabError, match=words):
        _run(data, model, [change])
