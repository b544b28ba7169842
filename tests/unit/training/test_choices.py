"""What is chosen from synthetic timings: the default unless another is clearly faster and computes the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from trimtab.config.recipe import Recipe
from trimtab.training.choices import Candidate, Choice, agreement, candidates_of, choose, choose_compile
from trimtab.training.trial_steps import Outcome

FP32, BF16 = Candidate("fp32", "sdpa"), Candidate("bf16", "sdpa")
FP32_EAGER, BF16_EAGER = Candidate("fp32", "eager"), Candidate("bf16", "eager")
SAME = Outcome(1.0, torch.tensor([1.0, 1.0]))


def chosen(seconds: dict[Candidate, float], default: Candidate = BF16, **odd: Outcome) -> Choice:
    """The choice where all give the same but those of a precision that is named."""
    outcomes = {one: odd.get(one.precision, SAME) if one != FP32 else odd.get("reference", SAME) for one in seconds}
    return choose(default, FP32, seconds, outcomes)


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({FP32: 1.9, BF16: 1.0}, BF16),
        ({FP32: 0.95, BF16: 1.0}, BF16),  # within the noise the default stays
        ({FP32: 0.85, BF16: 1.0}, FP32),
        ({FP32: 1.9, BF16: 1.0, FP32_EAGER: 1.5, BF16_EAGER: 0.95}, BF16),
        ({FP32: 1.9, BF16: 1.0, FP32_EAGER: 1.5, BF16_EAGER: 0.8}, BF16_EAGER),
        ({FP32: 1.9, BF16: 1.0, FP32_EAGER: 0.5, BF16_EAGER: 0.8}, FP32_EAGER),
    ],
)
def test_another_setting_needs_to_be_a_tenth_faster(seconds: dict[Candidate, float], taken: Candidate) -> None:
    assert chosen(seconds).taken == taken


def test_the_reasons_tell_ratio_and_agreement() -> None:
    choice = chosen({FP32: 1.9, BF16: 1.0, FP32_EAGER: 2.0, BF16_EAGER: 0.5})
    assert choice.precision_reason == "measured: bf16 4.00x as fast as fp32, gradients agree 1.000"
    assert choice.attention_reason == "measured: eager 2.00x as fast as sdpa"
    choice = chosen({FP32: 0.5, BF16: 1.0})
    assert choice == Choice(FP32, "measured: fp32 2.00x as fast as bf16", "")


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Outcome(math.nan, SAME.gradient), "its loss is nan"),
        (Outcome(1.03, SAME.gradient), "its loss is 1.0300 against 1.0000"),
        (Outcome(1.0, torch.tensor([1.0, 0.2])), "its gradients agree only 0.832"),
        (Outcome(1.0, torch.tensor([math.nan, 0.2])), "its gradients agree only nan"),
        (Outcome(1.0, torch.zeros(2)), "its gradients agree only nan"),
    ],
)
def test_bfloat16_that_does_not_keep_the_gradient_is_not_taken(odd: Outcome, why: str) -> None:
    choice = chosen({FP32: 1.9, BF16: 1.0}, bf16=odd)
    assert choice.taken == FP32
    assert choice.precision_reason == f"measured: bf16 does not keep what fp32 computes: {why}"


def test_a_small_loss_may_differ_by_a_thousandth() -> None:
    assert agreement(Outcome(0.0019, SAME.gradient), Outcome(0.001, SAME.gradient))[1] == ""
    assert agreement(Outcome(0.0029, SAME.gradient), Outcome(0.001, SAME.gradient))[1] != ""


def test_a_default_of_float32_is_left_for_bfloat16_only_where_it_pays() -> None:
    assert chosen({FP32: 1.05, BF16: 1.0}, FP32).taken == FP32
    assert chosen({FP32: 1.2, BF16: 1.0}, FP32).taken == BF16


def recipe(**sections: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(sections)


def test_candidates_are_what_is_open() -> None:
    both = ("sdpa", "eager")
    assert candidates_of(recipe(), BF16, both, native_bf16=True) == [BF16, FP32, FP32_EAGER, BF16_EAGER]
    assert candidates_of(recipe(), FP32, both, native_bf16=False) == [FP32, FP32_EAGER]
    fixed = recipe(training={"precision": "bf16"})
    assert candidates_of(fixed, BF16, both, native_bf16=True) == [BF16, BF16_EAGER]
    fixed = recipe(model={"attention": "eager"})
    assert candidates_of(fixed, BF16_EAGER, both, native_bf16=True) == [BF16_EAGER, FP32_EAGER]
    fixed = recipe(model={"attention": "eager"}, training={"precision": "fp32"})
    assert candidates_of(fixed, FP32_EAGER, both, native_bf16=True) == [FP32_EAGER]


def test_flash_attention_is_tried_in_half_precision_only() -> None:
    found = candidates_of(recipe(), BF16, ("sdpa", "flash_attention_2"), native_bf16=True)
    assert [one.precision for one in found if one.attention == "flash_attention_2"] == ["bf16"]


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "estimated", "stages", "can", "sections", "compiles", "reason"),
    [
        (torch.device("cpu"), 1e6, False, True, {}, False, "slower than plain ones on a cpu"),
        (CUDA, 601.0, False, True, {}, True, "10 minutes of training repay"),
        (CUDA, 599.0, False, True, {}, False, "shorter than the 10 minutes"),
        (CUDA, None, False, True, {}, False, "not measured"),
        (CUDA, 1e6, True, True, {}, False, "what trains changes"),
        (CUDA, 1e6, False, False, {}, False, "triton"),
        (CUDA, 1e6, False, True, {"forgetting": {"distillation": 1.0}}, False, "hidden states"),
    ],
)
def test_compilation(
    device: torch.device,
    estimated: float | None,
    stages: bool,
    can: bool,
    sections: dict[str, Any],
    compiles: bool,
    reason: str,
) -> None:
    found, why = choose_compile(recipe(**sections), device, estimated, has_stages=stages, can_compile=can)
    assert found is compiles
    assert reason in why
