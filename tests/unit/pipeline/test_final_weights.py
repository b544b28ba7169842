"""Soups and interpolation, on a model of one number whose judgement is a known function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trimtab.pipeline.final_weights import greedy_soup, interpolate, mix, weights_of
from trimtab.training.session import Judgement


class Number(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))


def judge(model: Number, target: float, *, higher_is_better: bool = True) -> Judgement:
    """The nearer to the target, the better."""
    distance = abs(float(model.value.detach()) - target)
    value = -distance if higher_is_better else distance
    return Judgement("closeness", value, higher_is_better, {})


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"value": torch.tensor([value])}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_soup_takes_what_does_not_make_it_worse(higher_is_better: bool) -> None:
    model = Number(0.0)
    # Best first: 4 alone is 1 away from 5; with 6 the mean is 5; with 20 it would be 10; with 5 it stays at 5.
    candidates = [weights(value) for value in (4.0, 6.0, 20.0, 5.0)]
    count, judgement = greedy_soup(model, candidates, lambda: judge(model, 5.0, higher_is_better=higher_is_better))
    assert count == 3
    assert float(model.value.detach()) == pytest.approx(5.0)
    assert judgement.value == pytest.approx(0.0)


def test_interpolation_keeps_the_best_share() -> None:
    model = Number(10.0)
    share, judgement, tried = interpolate(model, weights(0.0), (0.5, 0.7, 1.0), lambda: judge(model, 7.2))
    assert share == 0.7
    assert float(model.value.detach()) == pytest.approx(7.0)
    assert judgement.value == pytest.approx(-0.2)
    assert [one for one, _ in tried] == [0.5, 0.7, 1.0]


def test_what_the_pretrained_model_lacks_or_has_in_another_shape_stays_as_it_was_trained() -> None:
    tuned = {"body": torch.ones(2), "head": torch.ones(3), "new": torch.ones(1), "count": torch.tensor(4)}
    pretrained = {"body": torch.zeros(2), "head": torch.zeros(5), "count": torch.tensor(0)}
    mixed = mix(pretrained, tuned, 0.25)
    assert torch.equal(mixed["body"], torch.full((2,), 0.25))
    assert torch.equal(mixed["head"], torch.ones(3))
    assert torch.equal(mixed["new"], torch.ones(1))
    assert int(mixed["count"]) == 4


def test_weights_of_is_a_copy() -> None:
    model = Number(1.0)
    copy = weights_of(model)
    with torch.no_grad():
        model.value.add_(1.0)
    assert float(copy["value"]) == 1.0
