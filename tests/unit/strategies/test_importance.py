"""`importance`: which tensors, blocks and elements the scores choose."""

from __future__ import annotations

import pytest
import tiny_architectures
import torch

from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.base import TrainingPlan
from trimtab.strategies.importance import Importance, ImportanceOptions


def blocks_of_bert() -> Blocks:
    return map_blocks(tiny_architectures.make("bert"))


def plan(blocks: Blocks, scores: dict[str, torch.Tensor], **options: object) -> TrainingPlan:
    return Importance(ImportanceOptions.model_validate(options)).plan(blocks, 1e-3, scores)


def chosen(made: TrainingPlan) -> set[str]:
    return {name for group in made.groups if group.name == "chosen" for name in group.parameters}


def test_the_tensors_with_the_highest_mean_scores_are_chosen_within_the_share() -> None:
    blocks = blocks_of_bert()
    body = [name for block in blocks.blocks[:-1] for name in block.parameters]
    scores = {name: torch.tensor(float(index)) for index, name in enumerate(blocks.sizes)}
    made = plan(blocks, scores, share=0.3)

    taken = sum(blocks.sizes[name] for name in chosen(made))
    total = sum(blocks.sizes[name] for name in body)
    assert 0 < taken <= 0.3 * total
    # Going down the scores, a tensor is missing only where it would not have fitted.
    room = 0.3 * total
    for name in sorted(body, key=lambda name: -float(scores[name])):
        if name in chosen(made):
            room -= blocks.sizes[name]
        else:
            assert blocks.sizes[name] > room
    assert set(blocks.head.parameters) <= made.trained


def test_whole_blocks_are_chosen_by_their_mean_score() -> None:
    blocks = blocks_of_bert()
    scores = {name: torch.tensor(1.0 if name in blocks.body[0].parameters else 0.5) for name in blocks.sizes}
    made = plan(blocks, scores, share=0.4, unit="block")

    assert set(blocks.body[0].parameters) <= chosen(made)
    for block in blocks.blocks[:-1]:
        inside = chosen(made) & set(block.parameters)
        assert inside in (set(), set(block.parameters)), "a block was cut"


def test_elements_above_the_border_are_masked_in() -> None:
    blocks = blocks_of_bert()
    generator = torch.Generator().manual_seed(0)
    model = tiny_architectures.make("bert")
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    scores = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    made = plan(blocks, scores, share=0.25, unit="element")

    body = [name for block in blocks.blocks[:-1] for name in block.parameters]
    flat = torch.cat([scores[name].flatten() for name in body])
    border = flat.sort(descending=True).values[round(0.25 * flat.numel()) - 1]
    for name in body:
        expected = scores[name] >= border
        if name in made.masks:
            assert torch.equal(made.masks[name], expected)
        else:
            assert bool(expected.all()) == (name in made.trained)
    assert not set(blocks.head.parameters) & set(made.masks)


def test_a_tensor_without_a_chosen_element_is_frozen_whole() -> None:
    blocks = blocks_of_bert()
    scores = {name: torch.zeros(size) for name, size in blocks.sizes.items()}
    best = blocks.body[1].parameters[0]
    scores[best] = torch.ones(blocks.sizes[best])
    share = blocks.sizes[best] / sum(blocks.sizes[n] for block in blocks.blocks[:-1] for n in block.parameters)
    made = plan(blocks, scores, share=share, unit="element")

    assert chosen(made) == {best}
    assert not made.masks


def test_without_scores_it_does_not_plan() -> None:
    with pytest.raises(ValueError, match="none were measured"):
        Importance(ImportanceOptions()).plan(blocks_of_bert(), 1e-3)


@pytest.mark.parametrize(("unit", "per_element"), [("tensor", False), ("block", False), ("element", True)])
def test_it_asks_for_the_scores_it_needs(unit: str, per_element: bool) -> None:
    request = Importance(ImportanceOptions.model_validate({"unit": unit, "rows": 7})).scores_wanted()
    assert (request.rows, request.per_element) == (7, per_element)
