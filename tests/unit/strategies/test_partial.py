"""`partial`: what trains by blocks and by names, and what is refused."""

from __future__ import annotations

import pytest
import tiny_architectures
from pydantic import ValidationError
from torch import nn

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.strategies.full import Full, FullOptions
from trimtab.strategies.partial import Partial, PartialOptions


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return tiny_architectures.make("bert")


@pytest.fixture(scope="module")
def blocks(bert: nn.Module) -> Blocks:
    return map_blocks(bert)


def trained(blocks: Blocks, **options: object) -> frozenset[str]:
    return Partial(PartialOptions.model_validate(options)).plan(blocks, 1e-3).trained


def named(bert: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in bert.named_parameters() if name.startswith(prefixes)}


def test_the_head_alone_by_default(bert: nn.Module, blocks: Blocks) -> None:
    assert trained(blocks) == named(bert, "classifier", "bert.pooler")


def test_the_last_blocks_and_the_head(bert: nn.Module, blocks: Blocks) -> None:
    expected = named(bert, "classifier", "bert.pooler", "bert.encoder.layer.1")
    assert trained(blocks, last_blocks=1) == expected
    assert trained(blocks, last_blocks=2) == expected | named(bert, "bert.encoder.layer.0")


def test_the_last_blocks_without_the_head(bert: nn.Module, blocks: Blocks) -> None:
    assert trained(blocks, last_blocks=1, train_head=False) == named(bert, "bert.encoder.layer.1")


@pytest.mark.parametrize(
    ("pattern", "prefixes"),
    [
        ("embeddings", ("bert.embeddings",)),
        ("encoder.layer.0", ("bert.encoder.layer.0",)),
        ("bert.encoder.layer.0.*", ("bert.encoder.layer.0",)),
    ],
)
def test_patterns(bert: nn.Module, blocks: Blocks, pattern: str, prefixes: tuple[str, ...]) -> None:
    assert trained(blocks, patterns=[pattern], train_head=False) == named(bert, *prefixes)


def test_patterns_of_all_norms(bert: nn.Module, blocks: Blocks) -> None:
    found = trained(blocks, patterns=["*.LayerNorm.*"], train_head=False)

    assert found == {name for name, _ in bert.named_parameters() if "LayerNorm" in name}


def test_a_pattern_is_a_whole_part_of_a_name(blocks: Blocks) -> None:
    with pytest.raises(RecipeError, match=r"'layer\.11' matches no parameter"):
        trained(blocks, patterns=["layer.11"])
    with pytest.raises(RecipeError, match="'embed' matches no parameter"):
        trained(blocks, patterns=["embed"])


def test_an_unmatched_pattern_shows_how_names_look(blocks: Blocks) -> None:
    with pytest.raises(RecipeError) as caught:
        trained(blocks, patterns=["embeddings", "*.LayerNrom.*"])

    assert "strategy.patterns: '*.LayerNrom.*' matches no parameter" in caught.value.message
    assert "bert.embeddings.word_embeddings.weight" in caught.value.remedy
    assert "classifier.bias" in caught.value.remedy


def test_more_blocks_than_there_are(blocks: Blocks) -> None:
    with pytest.raises(RecipeError) as caught:
        trained(blocks, last_blocks=3)

    assert caught.value.message == "strategy.last_blocks: 3 asked for, but the model has 2 blocks."
    assert "from 0 to 2" in caught.value.remedy


def test_layers_that_share_their_weights() -> None:
    blocks = map_blocks(tiny_architectures.make("albert"))

    with pytest.raises(RecipeError, match="the 3 layers of albert share one set of weights"):
        trained(blocks, last_blocks=1)
    assert trained(blocks) == set(blocks.head.parameters)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would train"):
        PartialOptions(train_head=False)


def test_groups_are_head_and_chosen(blocks: Blocks) -> None:
    plan = Partial(PartialOptions(last_blocks=1, patterns=["classifier"])).plan(blocks, 2e-4)

    assert [group.name for group in plan.groups] == ["head", "chosen"]
    assert all(group.learning_rate == 2e-4 for group in plan.groups)
    assert set(plan.groups[0].parameters).isdisjoint(plan.groups[1].parameters)


@pytest.mark.parametrize(
    ("options", "width", "rate"),
    [({}, 384, 1e-3), ({}, 1024, 1e-3), ({"last_blocks": 1}, 384, 2e-4), ({"patterns": ["x"]}, 768, 5e-5)],
)
def test_default_learning_rate(options: dict[str, object], width: int, rate: float) -> None:
    assert Partial(PartialOptions.model_validate(options)).default_learning_rate(width)[0] == rate


@pytest.mark.parametrize(("width", "rate"), [(384, 2e-4), (512, 2e-4), (513, 5e-5), (0, 2e-4)])
def test_default_learning_rate_of_full(width: int, rate: float) -> None:
    assert Full(FullOptions()).default_learning_rate(width)[0] == rate
