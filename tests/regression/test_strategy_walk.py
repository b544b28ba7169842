"""Faults that a walk through strategies, weights and stages as a new user brought to light."""

from __future__ import annotations

import itertools
import json
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_architectures
import torch
from command import QUICK, trimtab

from trimtab.core.errors import RecipeError
from trimtab.core.events import read_events
from trimtab.core.registry import STRATEGIES
from trimtab.evaluation.svg import Series, line_chart
from trimtab.models.blocks import map_blocks
from trimtab.pipeline import doctor, probe
from trimtab.regularization.penalties import l2_sp_penalty
from trimtab.strategies.base import Stage, TrainingPlan
from trimtab.training.session import Judgement
from trimtab.training.stages import unreachable

FAST = (*QUICK, "--set", "evaluation.baselines=false", "--set", "retention.measure=false")
POSITIONS = 64


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that reads 64 tokens, short texts, and texts of 60 to 80 tokens."""
    folder = tmp_path_factory.mktemp("walk")
    tokenizer = tiny.make_tokenizer()
    tokenizer.model_max_length = POSITIONS
    tiny.save_bert(folder / "bert", max_position_embeddings=POSITIONS)
    tokenizer.save_pretrained(folder / "bert")
    tiny.write_csv(folder / "short.csv", 60)
    draw = random.Random(0)
    rows = [
        f"{' '.join(draw.choices(tiny.FILLER, k=60 + index % 20))} {draw.choice(words)},{label}"
        for index in range(20)
        for label, words in tiny.CLASS_WORDS.items()
    ]
    (folder / "long.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


@pytest.fixture(autouse=True)
def inside(walk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(walk)


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def refused(*arguments: str, data: str = "short.csv") -> str:
    """The message of a training that is refused before there is a run directory."""
    outcome = trimtab("train", data, "--model", "bert", "--output", "refused", *FAST, *arguments)
    assert outcome.code == 2, outcome.err
    assert not Path("refused").exists()
    return outcome.error


@pytest.mark.parametrize("strategy", ["prompt", "prefix"])
def test_virtual_tokens_leave_the_rest_of_the_room_to_the_text(strategy: str) -> None:
    """20 virtual tokens before a text of 64 would be more than the model has positions for."""
    pytest.importorskip("peft")
    run = Path(f"room-{strategy}")
    arguments = ("--model", "bert", "--strategy", strategy, "--output", str(run), *QUICK)
    outcome = trimtab("train", "long.csv", *arguments, "--set", "evaluation.baselines=false")
    assert outcome.code == 0, outcome.err
    assert f"longer than the {POSITIONS - 20} tokens" in outcome.err
    assert json.loads((run / "model" / "trimtab.json").read_text())["max_length"] == POSITIONS - 20
    assert trimtab("predict", run, "the router is broken " * 30).code == 0
    assert trimtab("evaluate", run, "long.csv").code == 0
    card = (run / "model" / "README.md").read_text()
    assert 'PeftModel.from_pretrained(model, f"{folder}/adapter")' in card
    assert card.count("```") == 2
    found: dict[str, object] = {}
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(run / "model"))
    exec(code, found)  # noqa: S102 (what a reader of the card would run)
    told = found["classify"]("the router is broken")[0]  # type: ignore[operator]
    (ours,) = trimtab("predict", run, "the router is broken", "--json").json["predictions"]
    assert told["label"] == ours["prediction"]
    assert told["score"] == pytest.approx(ours["probability"], abs=1e-5)


def test_virtual_tokens_that_leave_no_room() -> None:
    pytest.importorskip("peft")
    message = refused("--strategy", "prompt", *settings("strategy.num_virtual_tokens=62"))
    assert "62 asked for, and the model reads 64 tokens at once" in message
    assert "at most 60" in message


@pytest.mark.parametrize("strategy", ["partial", "prompt"])
def test_an_interpolation_that_would_mix_nothing(strategy: str) -> None:
    if strategy == "prompt":
        pytest.importorskip("peft")
    message = refused("--strategy", strategy, *settings("weights.interpolation=0.5"))
    assert message.startswith("weights.interpolation mixes the fine-tuned weights with the pretrained ones")
    assert f"--strategy {strategy}" in message


def test_a_new_head_under_virtual_tokens_does_not_count_as_pretrained() -> None:
    """The wrapper gives the parameters other names, by which they were not found among the new ones."""
    pytest.importorskip("peft")
    message = refused("--strategy", "prompt", *settings("regularization.l2_sp=0.1"))
    assert message.startswith("regularization.l2_sp: it pulls pretrained parameters to their start")


def test_replay_without_a_mask_token_is_refused_before_there_is_a_run() -> None:
    assert "has no mask token" in refused(*settings("forgetting.replay=1"))


def test_a_share_of_the_run_is_below_one() -> None:
    message = refused("--strategy", "lp-ft", *settings("strategy.probe_length=1.5"))
    assert "probe_length 1.5 is a share of the run, and has to be below 1" in message
    assert "--epochs" not in message


def test_the_way_to_longer_stages_names_what_limits_the_run() -> None:
    message = refused("--strategy", "gradual", "--epochs", "9", *settings("training.max_steps=2"))
    assert "steps or more (training.max_steps)" in message


def test_a_plateau_takes_at_least_its_evaluations() -> None:
    """The first evaluation of a stage is its best so far, and `length` others have to follow."""
    stages = (Stage("head", ("head",), 2, "plateau"), Stage("all", ("head", "body")))
    plan = TrainingPlan(groups=(), stages=stages)
    assert unreachable(plan, steps_per_epoch=5, total_steps=15) == ["all"]
    assert unreachable(plan, steps_per_epoch=5, total_steps=16) == []
    assert unreachable(plan, steps_per_epoch=5, total_steps=4, evaluate_every=1) == []


def test_stages_that_never_began_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that gets better all the time never ends a stage that waits for a plateau."""
    values = itertools.count(0.1, 0.01)
    monkeypatch.setattr(
        doctor, "judge", lambda parts, held_in: Judgement("macro_f1", next(values), True, {"loss": 1.0})
    )
    run = Path("waiting")
    arguments = (*settings("strategy.probe_unit=plateau", "strategy.probe_length=1"), "--epochs", "4")
    outcome = trimtab(
        "train", "short.csv", "--model", "bert", "--strategy", "lp-ft", "--output", run, *FAST, *arguments
    )
    assert outcome.code == 0, outcome.err
    events = list(read_events(run / "events.jsonl"))
    assert not [event for event in events if event.get("action") == "stage"]
    notes = json.loads((run / "evaluation.json").read_text())["notes"]
    assert "Training ended in stage 1 of 2; the stages after it never began: everything." in notes


def test_a_candidate_that_fails_in_its_trial_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    build = probe.build_engine

    def steps() -> Iterator[None]:
        raise RuntimeError("sizes do not match")
        yield

    def engine(parts: Any, *others: Any) -> Any:
        return SimpleNamespace(steps=steps) if parts.recipe.strategy.name == "bitfit" else build(parts, *others)

    monkeypatch.setattr(probe, "build_engine", engine)
    values = settings("strategy.candidates=[bitfit, partial]", "strategy.minutes=0.001")
    outcome = trimtab(
        "train", "short.csv", "--model", "bert", "--strategy", "auto", "--output", "tried", *FAST, *values
    )
    assert outcome.code == 0, outcome.err
    (told,) = [event for event in read_events(Path("tried") / "events.jsonl") if event["type"] == "probe"]
    assert told["chosen"] == "partial"
    assert "sizes do not match" in told["passed_over"]["bitfit"]


def test_importance_does_not_claim_more_rows_than_there_are() -> None:
    run = Path("chosen")
    outcome = trimtab("train", "short.csv", "--model", "bert", "--strategy", "importance", "--output", run, *FAST)
    assert outcome.code == 0, outcome.err
    (note,) = json.loads((run / "strategy.json").read_text())["notes"]
    assert note.startswith("By fisher on at most 256 training rows")


@pytest.mark.parametrize("values", [(1.0985, 1.0986, 1.0984), (2e-5, 1e-5, 5e-6), (0.2, 0.8, 0.5), (3e7, 3.00001e7)])
def test_neighbouring_ticks_read_differently(values: tuple[float, ...]) -> None:
    chart = ElementTree.fromstring(line_chart("Loss", [Series("a", list(enumerate(values)))]))
    ticks = [one.text for one in chart.iter("text") if one.get("text-anchor") == "end"]
    assert len(ticks) > 2
    assert len(set(ticks)) == len(ticks), ticks


def test_a_range_test_needs_a_strategy_that_trains() -> None:
    outcome = trimtab("lr-find", "short.csv", "--model", "bert", "--strategy", "auto", "--output", "range")
    assert outcome.code == 2
    assert "--strategy auto is still to choose one" in outcome.error
    assert not Path("range").exists()


def test_an_average_that_never_began_is_told() -> None:
    """Early stopping ends the run before the share of it after which `swa` begins."""
    run = Path("stopped")
    values = settings(
        "weights.source=swa",
        "weights.swa_start=0.9",
        "regularization.early_stopping_patience=1",
        "regularization.early_stopping_min_change=1",
    )
    outcome = trimtab("train", "short.csv", "--model", "bert", "--output", run, *FAST, *values, "--epochs", "9")
    assert outcome.code == 0, outcome.err
    note = json.loads((run / "evaluation.json").read_text())["notes"][0]
    assert note.endswith("the last. Training ended before the average of the weights (swa) began.")


def test_several_processes_go_on_with_the_choice_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice rests on processor time, which differs from process to process."""
    told = iter([0.01, "bitfit"])
    monkeypatch.setattr(probe, "broadcast_object_list", lambda values: [next(told)])
    values = settings("strategy.candidates=[partial, bitfit]", "strategy.minutes=0.001")
    outcome = trimtab(
        "train", "short.csv", "--model", "bert", "--strategy", "auto", "--output", "agreed", *FAST, *values
    )
    assert outcome.code == 0, outcome.err
    assert json.loads((Path("agreed") / "strategy.json").read_text())["name"] == "bitfit"


@pytest.mark.parametrize(("strategy", "key"), [("lora", "r"), ("adalora", "init_r")])
def test_a_rank_that_no_layer_has_is_refused(strategy: str, key: str) -> None:
    options = {key: 1000, **({"target_r": 8} if strategy == "adalora" else {})}
    strategy_class = STRATEGIES.get(strategy)
    model = tiny_architectures.make("bert")
    with pytest.raises(RecipeError, match=f"strategy.{key}: 1000 is above the rank") as caught:
        strategy_class(strategy_class.Options(**options)).adapt(model, map_blocks(model))
    assert "from 1 to 16" in str(caught.value.remedy)


def test_l2_sp_leaves_the_rows_of_new_tokens_alone() -> None:
    table = torch.nn.Parameter(torch.ones(5, 2))
    penalty = l2_sp_penalty([table], [], 2.0, 0.0, {id(table): 3})
    with torch.no_grad():
        table.add_(1.0)
    table.grad = torch.zeros(5, 2)
    values = penalty.after_backward(1)
    assert torch.equal(table.grad, torch.tensor([[2.0, 2.0]] * 3 + [[0.0, 0.0]] * 2))
    assert values == {"l2_sp": pytest.approx(2.0 / 2 * 6)}
