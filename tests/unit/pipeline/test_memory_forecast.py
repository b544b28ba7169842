"""Forecast and measurement in the record of a run, and the warning where the forecast is above what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch

import trimtab.pipeline.memory as memory
from trimtab.config.load import build_recipe
from trimtab.core.events import EventLog
from trimtab.data.loading import load_dataset
from trimtab.pipeline.memory import forecast_of, remedy, watched_memory
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    bert = tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")
    resolved = build_recipe(overrides={"model.name": str(bert), "training.device": "cpu"})
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    recipe = resolved.recipe
    return build_parts(resolved, lay_groundwork(recipe, load_dataset(frame, recipe.data, seed=recipe.seed)))


def watch(parts: Parts) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    log = EventLog(None)
    log.listen(events.append)
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    with watched_memory(parts, optimizer, log, Progress(token_budget=8192)):
        pass
    return events


def test_forecast_and_measurement_are_recorded(parts: Parts) -> None:
    before, after = watch(parts)
    assert before["type"] == after["type"] == "memory"
    assert before["forecast"] == after["forecast"] == before["parts"]["peak"]
    assert before["parts"]["baseline"] > 50 << 20  # this process
    assert after["measured"] > 50 << 20
    assert "measured" not in before


def test_more_than_there_is_gives_a_finding_and_no_error(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "room_bytes", lambda device: 1 << 20)
    (finding,) = [event for event in watch(parts) if event["type"] == "finding"]
    assert finding["severity"] == "warning" and "the cpu has 0.0 GiB for it" in finding["message"]
    assert finding["remedy"].startswith("Take ")


def test_what_is_held_after_an_error_is_told_too(parts: Parts) -> None:
    events: list[dict[str, Any]] = []
    log = EventLog(None)
    log.listen(events.append)
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    progress = Progress(token_budget=8192)
    with pytest.raises(ValueError, match="inside"), watched_memory(parts, optimizer, log, progress):
        raise ValueError("inside")
    assert events[-1]["measured"] > 0


def test_a_pass_that_fails_leaves_the_measurement(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("not this one")

    monkeypatch.setattr(memory, "forecast_memory", fail)
    assert forecast_of(parts) is None
    (after,) = watch(parts)
    assert after["forecast"] is None and after["measured"] > 0


def test_the_remedy_names_the_greatest_part_first(parts: Parts) -> None:
    from dataclasses import replace

    forecast = forecast_of(parts)
    assert forecast is not None
    wide = replace(forecast, activations=100 * (forecast.optimizer + forecast.gradients))
    assert remedy(parts, wide).startswith("Take a smaller token budget (training.max_tokens_per_batch=")
    assert "gradient_checkpointing" in remedy(parts, wide)
    deep = replace(forecast, activations=0)
    assert remedy(parts, deep).startswith("Take adapters (--strategy lora)")
    assert "adafactor" in remedy(parts, deep)


def test_state_that_is_there_is_not_counted_twice(parts: Parts, tmp_path: Path) -> None:
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    big = {"momentum": torch.ones(8 << 20)}
    optimizer.state[next(parts.model.parameters())] = big
    without, counted = forecast_of(parts), forecast_of(parts, optimizer)
    assert without is not None and counted is not None
    assert without.baseline - counted.baseline == pytest.approx(32 << 20, abs=8 << 20)
