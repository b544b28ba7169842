"""Precision, attention and compilation by measuring: when it is done, what it leaves behind, and that it is kept."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import tiny_engine
import torch

import trimtab.pipeline.tune as tune
import trimtab.training.bench as bench
import trimtab.training.precision as precision
from trimtab.config.load import build_recipe
from trimtab.core.cache import DiskCache
from trimtab.data.loading import load_dataset
from trimtab.models.attention import attention_of
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.training.choices import Candidate

KEYS = ("training.precision", "model.attention", "training.compile")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine of the tests computes bfloat16."""
    for module in (tune, precision):
        monkeypatch.setattr(module, "computes_bf16", lambda device: True)


def make_parts(bert: Path, folder: Path, **settings: Any) -> Parts:
    settings = {"model.name": str(bert), "training.device": "cpu", "cache.folder": str(folder), **settings}
    resolved = build_recipe(overrides=settings)
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    recipe = resolved.recipe
    return build_parts(resolved, lay_groundwork(recipe, load_dataset(frame, recipe.data, seed=recipe.seed)))


def choices(parts: Parts) -> tuple[Any, ...]:
    values = parts.resolved.values()
    return tuple(values[key] for key in KEYS)


class Clock:
    """Passes that take as long as is said, by precision and attention."""

    def __init__(self, seconds: dict[tuple[str, str], float]) -> None:
        self.seconds = seconds
        self.passes: list[Candidate] = []

    def __call__(self, trial: tune.Bench, candidate: Candidate, batch: Any) -> float:
        self.passes.append(candidate)
        return self.seconds[candidate.precision, candidate.attention]


EAGER_IS_FAST = {("fp32", "sdpa"): 9.0, ("bf16", "sdpa"): 4.0, ("fp32", "eager"): 6.0, ("bf16", "eager"): 2.0}


def use(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], float]) -> Clock:
    clock = Clock(seconds)
    monkeypatch.setattr(tune.Bench, "seconds", lambda *arguments: clock(*arguments))
    return clock


def test_a_short_run_takes_the_defaults(bert: Path, tmp_path: Path) -> None:
    parts = make_parts(bert, tmp_path)
    assert choices(parts) == ("bf16", "sdpa", False)
    assert "not measured for a run under 60 seconds" in parts.notes["training.precision"]
    assert "not measured" in parts.notes["model.attention"]
    assert "slower than plain ones" in parts.notes["training.compile"]
    assert not list(tmp_path.glob("choices/*"))


def test_a_long_run_takes_what_is_measured_faster(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = use(monkeypatch, EAGER_IS_FAST)
    parts = make_parts(bert, tmp_path)
    assert choices(parts) == ("bf16", "eager", False)
    assert attention_of(parts.model) == "eager"
    assert parts.notes["training.precision"].startswith("measured: bf16 3.00x as fast as fp32, gradients agree ")
    assert parts.notes["model.attention"] == "measured: eager 2.00x as fast as sdpa"
    turns = [(one.precision, one.attention) for one in clock.passes[-12:]]
    assert len(set(turns[:4])) == 4 and turns[:4] == turns[4:8] == turns[8:]


def test_a_second_run_chooses_the_same_without_measuring(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, EAGER_IS_FAST)
    first = choices(make_parts(bert, tmp_path))
    other = use(monkeypatch, {key: 10 / seconds for key, seconds in EAGER_IS_FAST.items()})
    again = make_parts(bert, tmp_path)
    assert choices(again) == first
    assert not other.passes
    assert again.notes["model.attention"] == "measured in an earlier run: eager 2.00x as fast as sdpa"
    # What trains, or no cache, makes another measurement.
    assert choices(make_parts(bert, tmp_path, strategy="partial"))[1] == "sdpa"
    assert choices(make_parts(bert, tmp_path, **{"cache.enabled": False}))[1] == "sdpa"


@pytest.mark.parametrize("text", ["", "{}", '{"choice": {"taken": {"precision": "fp8", "attention": "eager"}}}'])
def test_a_damaged_choice_is_measured_again(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    clock = use(monkeypatch, EAGER_IS_FAST)
    make_parts(bert, tmp_path)
    (entry,) = tmp_path.glob(f"choices/*/{tune.FILE}")
    entry.write_text(text)
    clock.passes.clear()
    assert choices(make_parts(bert, tmp_path)) == ("bf16", "eager", False)
    assert clock.passes
    clock.passes.clear()
    make_parts(bert, tmp_path)
    assert not clock.passes


def test_what_the_user_fixes_is_not_measured(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = use(monkeypatch, EAGER_IS_FAST)
    fixed = {"training.precision": "fp32", "model.attention": "sdpa", "training.compile": True}
    parts = make_parts(bert, tmp_path, **fixed)
    assert choices(parts) == ("fp32", "sdpa", True)
    assert not clock.passes and not set(KEYS) & set(parts.notes)
    parts = make_parts(bert, tmp_path, **{"training.precision": "fp32"})
    assert choices(parts) == ("fp32", "eager", False)
    assert {one.precision for one in clock.passes} == {"fp32"}


def test_several_processes_take_the_defaults(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = use(monkeypatch, EAGER_IS_FAST)
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    parts = make_parts(bert, tmp_path)
    assert choices(parts) == ("bf16", "sdpa", False)
    assert "several processes" in parts.notes["training.precision"]
    assert not clock.passes


def test_a_failing_pass_leaves_the_defaults(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> float:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(tune.Bench, "seconds", fail)
    parts = make_parts(bert, tmp_path)
    assert choices(parts) == ("bf16", "sdpa", False)
    assert "a trial pass failed (RuntimeError)" in parts.notes["training.precision"]


def test_a_candidate_that_fails_is_left_out(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, EAGER_IS_FAST)
    measured = tune.Bench.outcome

    def fail_eager(trial: tune.Bench, candidate: Candidate, batch: Any) -> Any:
        if candidate.attention == "eager":
            raise RuntimeError("no such kernel")
        return measured(trial, candidate, batch)

    monkeypatch.setattr(tune.Bench, "outcome", fail_eager)
    assert choices(make_parts(bert, tmp_path)) == ("bf16", "sdpa", False)


def test_measuring_leaves_no_trace(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = {"training.precision": "fp32", "model.attention": "sdpa"}
    plain = make_parts(bert, tmp_path, **fixed, strategy="gradual", **{"model.dropout": 0.1})
    weights, state = tiny_engine.weights_of(plain.model), (torch.get_rng_state(), random.getstate())
    trains = [parameter.requires_grad for parameter in plain.model.parameters()]
    monkeypatch.setattr(tune, "SHORT_RUN", 0.0)
    passes = []
    timed = bench.timed_pass
    monkeypatch.setattr(bench, "timed_pass", lambda *arguments: passes.append(1) or timed(*arguments))
    tried = make_parts(bert, tmp_path, strategy="gradual", **{"model.dropout": 0.1})
    assert passes
    assert tiny_engine.same_weights(weights, tiny_engine.weights_of(tried.model))
    assert torch.equal(state[0], torch.get_rng_state()) and state[1] == random.getstate()
    assert trains == [parameter.requires_grad for parameter in tried.model.parameters()]
    assert all(parameter.grad is None for parameter in tried.model.parameters())
    assert not tried.model.training


def test_choices_of_other_models_lie_beside(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, EAGER_IS_FAST)
    make_parts(bert, tmp_path)
    make_parts(tiny.save_bert(tmp_path / "wide", hidden_size=32), tmp_path)
    assert len(DiskCache("choices", tmp_path, 1 << 20).entries()) == 2


def test_what_cannot_run_here_is_refused_before_weights_are_read(bert: Path, tmp_path: Path) -> None:
    from trimtab.core.errors import RecipeError

    with pytest.raises(RecipeError, match="flash_attention_2 needs CUDA"):
        make_parts(bert, tmp_path, **{"model.attention": "flash_attention_2"})


def test_distillation_makes_automatic_compilation_false(bert: Path, tmp_path: Path) -> None:
    from trimtab.core.errors import RecipeError

    parts = make_parts(bert, tmp_path, **{"forgetting.distillation": 1.0})
    assert choices(parts)[2] is False
    with pytest.raises(RecipeError, match="compiled"):
        make_parts(bert, tmp_path, **{"forgetting.distillation": 1.0, "training.compile": True})
