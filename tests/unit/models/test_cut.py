"""A model cut above its frozen blocks: the same outputs, nothing below runs, and what cannot be cut is refused."""

from __future__ import annotations

import copy
from collections.abc import Collection

import pytest
import tiny_architectures
import torch
from torch import nn

from trimtab.models.blocks import Blocks, map_blocks
from trimtab.models.cut import ACTIVATIONS, Cut, NoCutError, frozen_depth

CUTS = [("bert", 1), ("bert", 2), ("gpt2", 1), ("gpt2", 2), ("vit", 1), ("vit", 2), ("albert", 1), ("t5", 4)]
CUTS += [("mobilenet_v2", 5), ("mobilenet_v2", 16), ("resnet", 1), ("resnet", 2)]


def _above(blocks: Blocks, depth: int) -> list[str]:
    return [name for block in blocks.blocks[depth + 1 :] for name in block.parameters]


def _cut(architecture: str, depth: int) -> tuple[nn.Module, Blocks, Cut]:
    model = tiny_architectures.make(architecture)
    blocks = map_blocks(model)
    return model, blocks, Cut(model, blocks, depth, _above(blocks, depth), tiny_architectures.inputs(architecture))


@pytest.mark.parametrize(("architecture", "depth"), CUTS)
def test_outputs_are_those_of_the_whole_model(architecture: str, depth: int) -> None:
    model, blocks, cut = _cut(architecture, depth)
    inputs = tiny_architectures.inputs(architecture)
    with torch.no_grad():
        whole = model(**inputs).logits
        activations = cut.below(inputs)[0]
        cut.install()
        assert torch.equal(model(**inputs, **{ACTIVATIONS: activations}).logits, whole)
        # What is given is what is used: nothing below was computed again.
        other = model(**inputs, **{ACTIVATIONS: activations + 1}).logits
        assert not torch.equal(other, whole)
        assert torch.equal(model(**inputs).logits, whole)
        cut.remove()
        assert torch.equal(model(**inputs).logits, whole)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert frozen_depth(blocks, _above(blocks, depth)) == depth


def test_nothing_below_the_cut_runs() -> None:
    model, blocks, cut = _cut("bert", 1)
    inputs = tiny_architectures.inputs("bert")
    activations = cut.below(inputs)[0].detach()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner = blocks.owner_of(name)
            if owner in blocks.blocks[:2]:
                parameter.fill_(float("nan"))
    cut.install()
    outputs = model(**inputs, **{ACTIVATIONS: activations})
    assert torch.isfinite(outputs.logits).all()
    outputs.logits.sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for block in blocks.blocks[:2] for name in block.parameters}


def test_lower_cuts_come_from_the_same_pass() -> None:
    model, blocks, upper = _cut("bert", 2)
    inputs = tiny_architectures.inputs("bert")
    lower = Cut(model, blocks, 1, _above(blocks, 1), inputs)
    both = upper.below(inputs, [lower])
    assert torch.equal(both[0], upper.below(inputs)[0]) and torch.equal(both[1], lower.below(inputs)[0])
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize(
    ("depth", "words"), [(1, "which trains, runs before"), (2, "more than one output"), (3, "more than one output")]
)
def test_an_encoder_and_its_decoder_cannot_be_cut_within(depth: int, words: str) -> None:
    with pytest.raises(NoCutError, match=words):
        _cut("t5", depth)


def test_a_model_whose_upper_part_reads_the_input_again_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
            self.head = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.layers[0](x)
            second = self.layers[1](first)
            return self.head(first + second)  # type: ignore[no-any-return]

    model = Twice()
    blocks = map_blocks(model)
    with pytest.raises(NoCutError, match="more than one output of the frozen blocks"):
        Cut(model, blocks, blocks.depth, blocks.head.parameters, {"x": torch.randn(2, 3)})


def test_training_mode_and_random_state_are_left_alone() -> None:
    model = tiny_architectures.make("bert")
    model.train()
    model.bert.embeddings.eval()  # type: ignore[union-attr,operator]
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    blocks = map_blocks(model)
    Cut(model, blocks, 1, _above(blocks, 1), tiny_architectures.inputs("bert"))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_the_fingerprint_follows_frozen_weights_and_context_only() -> None:
    model, _, cut = _cut("bert", 1)
    known = cut.fingerprint("bf16")
    with torch.no_grad():
        model.classifier.weight.add_(1)  # type: ignore[union-attr,operator]
    assert cut.fingerprint("bf16") == known
    assert cut.fingerprint("fp32") != known
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[3, 3] += 1e-3  # type: ignore[union-attr,index,operator]
    assert cut.fingerprint("bf16") != known


def test_a_copy_of_the_model_after_removal_is_plain() -> None:
    model, _, cut = _cut("bert", 2)
    cut.install()
    cut.remove()
    inputs = tiny_architectures.inputs("bert")
    again = copy.deepcopy(model)
    with torch.no_grad():
        model.classifier.weight.zero_()  # type: ignore[union-attr,operator]
        assert not torch.equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize(
    ("trained", "depth"),
    [
        (["classifier.weight"], 2),
        (["bert.encoder.layer.1.output.dense.weight"], 1),
        (["bert.encoder.layer.0.output.dense.weight"], 0),
        (["bert.embeddings.word_embeddings.weight", "classifier.weight"], 0),
        (["something.unknown"], 0),
        ([], 0),
    ],
)
def test_depth_that_is_frozen(trained: Collection[str], depth: int) -> None:
    assert frozen_depth(map_blocks(tiny_architectures.make("bert")), trained) == depth
