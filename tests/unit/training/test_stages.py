"""Stages in the loop: who trains when and at which rate, and that a resume in mid-stage gives the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_architectures
import tiny_engine
import torch

from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import Stage, TrainingPlan
from trimtab.strategies.gradual import Gradual, GradualOptions
from trimtab.strategies.lp_ft import LpFt, LpFtOptions
from trimtab.training.checkpoints import CheckpointStore, random_states, restore
from trimtab.training.engine import Engine
from trimtab.training.records import Progress
from trimtab.training.stages import stage_steps, unreachable
from trimtab.training.watch import Watch

ROWS, EPOCHS = 40, 4  # 5 steps an epoch, 20 in all


def gradual_plan(**options: Any) -> TrainingPlan:
    blocks = map_blocks(tiny_engine.make_model())
    return Gradual(GradualOptions.model_validate(options)).plan(blocks, 1e-2)


def make_engine(plan: TrainingPlan, *, dropout: float = 0.1, **sections: Any) -> Engine:
    recipe = tiny_engine.make_recipe(training={"num_epochs": EPOCHS}, **sections)
    return tiny_engine.make_engine(
        tiny_engine.make_model(dropout=dropout), tiny_engine.make_examples(ROWS), recipe, plan
    )


def changed(before: dict[str, torch.Tensor], model: torch.nn.Module) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


def test_each_stage_moves_only_what_it_trains() -> None:
    plan = gradual_plan(stage_length=1)
    engine = make_engine(plan)
    blocks = map_blocks(engine.model)
    before = tiny_engine.weights_of(engine.model)
    seen = []
    for record in engine.steps():
        moved = {blocks.owner_of(name).name for name in changed(before, engine.model)}  # type: ignore[union-attr]
        before = tiny_engine.weights_of(engine.model)
        seen.append((record.stage, frozenset(moved)))
        assert set(record.learning_rates) == set(plan.stages[record.stage].groups)
    stages = [frozenset(stage.groups) for stage in plan.stages]
    assert [stage for stage, _ in seen] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    # Adam moves a parameter from its first gradient on; rows of the embedding without a token stay, the table does not.
    assert all(moved == stages[stage] for stage, moved in seen)


def test_what_has_not_trained_yet_has_no_optimizer_state() -> None:
    engine = make_engine(gradual_plan(stage_length=1))
    steps = engine.steps()
    for _ in range(7):
        next(steps)
    with_state = {id(parameter) for parameter in engine.optimizer.state}
    expected = {id(p) for name, p in engine.model.named_parameters() if name in engine.plan.trained_in(1)}
    assert with_state == expected


@pytest.mark.parametrize("unit", ["epochs", "steps", "share"])
def test_lengths(unit: Any) -> None:
    stage = Stage("one", ("head",), {"epochs": 2, "steps": 7, "share": 0.25}[unit], unit)
    assert stage_steps(stage, 5, 20) == {"epochs": 10, "steps": 7, "share": 5}[unit]


def test_shares_do_not_gain_a_step_from_rounding() -> None:
    assert stage_steps(Stage("one", ("head",), 0.1, "share"), 5, 30) == 3


def test_stages_that_the_run_ends_before_are_named() -> None:
    plan = gradual_plan(stage_length=2)
    assert unreachable(plan, steps_per_epoch=5, total_steps=20) == ["block 0", "embeddings"]
    assert unreachable(plan, steps_per_epoch=5, total_steps=31) == []


def test_a_plateau_ends_a_stage() -> None:
    engine = make_engine(gradual_plan(stage_length=2, stage_unit="plateau"))
    values = iter([0.5, 0.4, 0.4, *[0.1] * 20])
    stages = []
    for record in engine.steps():
        stages.append(record.stage)
        engine.observe(next(values), higher_is_better=True)
    # The value of step 1 is not bettered by steps 2 and 3; in the next stage counting begins anew: three steps again.
    assert stages[:9] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(stages[9:]) == {3}


def test_entering_a_stage_is_told() -> None:
    engine = make_engine(gradual_plan(stage_length=1))
    for _ in engine.steps():
        pass
    told = [fields for action, fields in engine.notify if action == "stage"]  # type: ignore[attr-defined]
    assert [fields["stage"] for fields in told] == [1, 2, 3]
    assert told[0]["groups"] == ["head", "block 1"]


def test_the_schedule_can_start_anew_with_each_stage() -> None:
    blocks = map_blocks(tiny_engine.make_model())
    plan = LpFt(LpFtOptions(probe_length=10, probe_unit="steps")).plan(blocks, 1e-3)
    schedule = {"name": "linear", "warmup_ratio": 0.0}
    rates = [record.learning_rates for record in make_engine(plan, schedule=schedule).steps()]

    assert [step["head"] for step in rates[:10]] == pytest.approx([1e-2 * (1 - k / 10) for k in range(10)])
    assert [step["head"] for step in rates[10:]] == pytest.approx([1e-3 * (1 - k / 10) for k in range(10)])
    assert "body" not in rates[9] and "body" in rates[10]


@pytest.mark.parametrize("stop_after", [3, 5, 8, 12, 17])
def test_resume_in_the_middle_of_a_stage_gives_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    plan = gradual_plan(stage_length=1, decay=0.5)
    torch.manual_seed(1)
    whole = make_engine(plan)
    for _ in whole.steps():
        pass

    torch.manual_seed(1)
    first = make_engine(plan)
    steps = first.steps()
    for _ in range(stop_after):
        next(steps)
    store = CheckpointStore(tmp_path, keep_last=1)
    checkpoint = store.save(first.model, first.optimizer, first.progress, random_states(), first.hooks)

    torch.manual_seed(99)
    second = make_engine(plan)
    progress = restore(checkpoint, second.model, second.optimizer, hooks=second.hooks)
    resumed = Engine(**{**{name: getattr(second, name) for name in second.__dataclass_fields__}, "progress": progress})
    for _ in resumed.steps():
        pass

    assert tiny_engine.same_weights(tiny_engine.weights_of(whole.model), tiny_engine.weights_of(resumed.model))
    assert resumed.progress.stage == whole.progress.stage == 3


def test_batch_norms_of_stages_to_come_keep_their_statistics() -> None:
    model = tiny_architectures.make("resnet")
    blocks = map_blocks(model)
    plan = Gradual(GradualOptions(stage_length=1)).plan(blocks, 1e-2)
    recipe = tiny_engine.make_recipe(training={"num_epochs": EPOCHS})
    # Only the switching of modes is looked at, so that the rows need not be images.
    images = tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe, plan)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    images.train_mode()
    model(**tiny_architectures.inputs("resnet"))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())

    images.progress.stage = 1
    images._set_stage()
    model(**tiny_architectures.inputs("resnet"))
    moved = {blocks.owner_of(name).name for name, b in model.named_buffers() if not torch.equal(before[name], b)}  # type: ignore[union-attr]
    assert moved == {"block 1"}


def test_early_stopping_waits_and_then_ends_the_run() -> None:
    engine = make_engine(
        gradual_plan(), regularization={"early_stopping_patience": 2, "early_stopping_min_change": 0.05}
    )
    engine.progress.stage = 3
    taken = 0
    values = [0.5, 0.6, 0.62, 0.64, 0.9]
    for _ in engine.steps():
        engine.observe(values[taken], higher_is_better=True)
        taken += 1
    # 0.62 and 0.64 are not better than 0.6 by more than 0.05.
    assert taken == 4
    assert engine.progress.stopped == "no better value in 2 evaluations"
    assert engine.is_done


def test_early_stopping_does_not_cut_the_stages_short() -> None:
    engine = make_engine(gradual_plan(), regularization={"early_stopping_patience": 1})
    for _ in range(5):
        assert not engine.observe(0.1, higher_is_better=True)


def test_a_watch_counts_values_that_are_not_finite_as_no_better() -> None:
    watch = Watch()
    for value in (float("nan"), 1.0, float("inf"), 0.5):
        watch.see(value, higher_is_better=False)
    assert (watch.best, watch.waited) == (0.5, 0)
    watch.see(0.5, higher_is_better=False)
    assert watch.waited == 1


def test_progress_survives_json() -> None:
    from dataclasses import asdict

    progress = Progress(step=3, stage=1, stage_start=2, best=[(3, 0.5)])
    progress.stage_watch.see(0.5, higher_is_better=True)
    assert Progress.from_dict(asdict(progress)) == progress
