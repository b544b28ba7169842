"""Stages of `gradual` and `lp-ft`, rates by depth, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_architectures
from pydantic import ValidationError

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import TrainingPlan
from trimtab.strategies.discriminative import Discriminative, DiscriminativeOptions
from trimtab.strategies.gradual import Gradual, GradualOptions
from trimtab.strategies.lp_ft import LpFt, LpFtOptions

RATE = 2.6e-3


def gradual(architecture: str = "bert", **options: Any) -> TrainingPlan:
    blocks = map_blocks(tiny_architectures.make(architecture))
    return Gradual(GradualOptions.model_validate(options)).plan(blocks, RATE)


def unfrozen(plan: TrainingPlan) -> list[list[str]]:
    """The groups that each stage adds to those before."""
    seen: set[str] = set()
    steps = []
    for stage in plan.stages:
        steps.append(sorted(set(stage.groups) - seen))
        assert seen <= set(stage.groups), "what a stage unfroze goes on training"
        seen |= set(stage.groups)
    return steps


def test_the_head_comes_first_and_the_embeddings_last() -> None:
    assert unfrozen(gradual()) == [["head"], ["block 1"], ["block 0"], ["embeddings"]]


def test_the_other_direction_keeps_the_head_training() -> None:
    steps = unfrozen(gradual(direction="embeddings_first"))
    assert steps == [["embeddings", "head"], ["block 0"], ["block 1"]]


def test_several_blocks_a_stage() -> None:
    assert unfrozen(gradual(blocks_per_stage=2)) == [["head"], ["block 0", "block 1"], ["embeddings"]]


def test_stages_of_ones_own() -> None:
    plan = gradual(stages=[["head", "block 1"], ["*"]], stage_length=30, stage_unit="steps")
    assert unfrozen(plan) == [["block 1", "head"], ["block 0", "embeddings"]]
    assert [(stage.length, stage.unit) for stage in plan.stages] == [(30, "steps"), (None, "steps")]


def test_what_no_stage_names_never_trains() -> None:
    plan = gradual(stages=[["head"], ["block 1"]])
    assert {group.name for group in plan.groups} == {"head", "block 1"}


def test_auto_length_unfreezes_everything_by_the_middle_of_the_run() -> None:
    plan = gradual()
    assert {stage.unit for stage in plan.stages} == {"share"}
    assert sum(stage.length or 0 for stage in plan.stages) == pytest.approx(0.5)
    assert plan.stages[-1].length is None


def test_a_stage_list_without_the_head_is_refused() -> None:
    with pytest.raises(RecipeError, match="no stage unfreezes the head") as caught:
        gradual(stages=[["block 1"], ["block 0"]])
    assert "head" in str(caught.value.remedy)


def test_an_unknown_block_is_refused_with_the_blocks_there_are() -> None:
    with pytest.raises(RecipeError, match="stage 2 names 'block 7'") as caught:
        gradual(stages=[["head"], ["block 7"]])
    assert "embeddings, block 0, block 1, head" in str(caught.value.remedy)


def test_a_stage_that_adds_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="stage 2 unfreezes nothing"):
        gradual(stages=[["head"], ["head"], ["*"]])


def test_shared_layers_are_refused() -> None:
    with pytest.raises(RecipeError, match="share one set of weights"):
        gradual("albert")


@pytest.mark.parametrize(
    "options",
    [{"stage_unit": "plateau"}, {"stage_length": 0}, {"decay": 0}, {"stages": [["head"]], "blocks_per_stage": 2}],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GradualOptions.model_validate(options)


# Distance from the head: blocks of the depth map, the embeddings counted in.
DEPTHS = {"bert": 3, "gpt2": 3, "t5": 5, "vit": 3, "resnet": 3, "albert": 2}


@pytest.mark.parametrize("architecture", sorted(DEPTHS))
def test_rates_fall_by_the_factor_from_each_block_to_the_one_below(architecture: str) -> None:
    blocks = map_blocks(tiny_architectures.make(architecture))
    plan = Discriminative(DiscriminativeOptions(decay=1 / 2.6)).plan(blocks, RATE)
    rates = [group.learning_rate for group in reversed(plan.groups)]

    assert plan.groups[-1].name == "head"
    assert rates == pytest.approx([RATE / 2.6**distance for distance in range(DEPTHS[architecture] + 1)])
    assert plan.trained == frozenset(blocks.sizes)


def test_gradual_can_have_rates_by_depth() -> None:
    rates = {group.name: group.learning_rate for group in gradual(decay=1 / 2.6).groups}
    assert rates["head"] == pytest.approx(2.6e-3)
    assert rates["block 1"] == pytest.approx(1e-3)
    assert rates["block 0"] == pytest.approx(1e-3 / 2.6)


def test_lp_ft_probes_at_a_rate_of_its_own_then_trains_everything() -> None:
    blocks = map_blocks(tiny_architectures.make("bert"))
    plan = LpFt(LpFtOptions(probe_length=2, probe_unit="epochs")).plan(blocks, 1e-4)

    assert plan.trained_in(0) == frozenset(blocks.head.parameters)
    assert plan.trained_in(1) == frozenset(blocks.sizes)
    assert plan.stages[0].rates == {"head": pytest.approx(1e-3)}
    assert plan.restart_schedule
