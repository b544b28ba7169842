"""Elastic weight consolidation: what is measured for each kind of model, and that it holds the weights back."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_architectures
import tiny_engine
import tiny_forgetting
import torch
from torch import nn

from trimtab.config.forgetting import ForgettingSection
from trimtab.config.load import build_recipe
from trimtab.core.errors import DataError, RecipeError
from trimtab.data.batching import Batch
from trimtab.models.blocks import map_blocks
from trimtab.pipeline.parts import make_accelerator
from trimtab.regularization.ewc import EwcPenalty, measure_fisher
from trimtab.regularization.forgetting import (
    ForgettingContext,
    build_forgetting_hooks,
    check_forgetting,
    measurements,
    read_texts,
)
from trimtab.tasks.base import Examples, Modality

SECTION = ForgettingSection(ewc=1.0, ewc_rows=8)


@pytest.fixture(params=tiny_forgetting.KINDS)
def context(request: pytest.FixtureRequest, tmp_path: Path) -> ForgettingContext:
    return tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", request.param))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_fisher_is_of_the_weights_below_the_head(context: ForgettingContext) -> None:
    fisher = measurements(SECTION, context)

    weights = dict(context.model.named_parameters())
    assert set(fisher) == set(context.backbone)
    assert not set(fisher) & set(context.blocks.head.parameters)
    for name, value in fisher.items():
        assert value.shape == weights[name].shape
        assert bool((value >= 0).all()) and bool(value.isfinite().all())
    assert all(bool(value.any()) for name, value in fisher.items() if name.endswith("weight"))
    everything = torch.cat([value.flatten() for value in fisher.values()])
    assert everything.mean() == pytest.approx(1.0, rel=1e-5)


def test_measuring_is_repeatable_and_leaves_no_trace(context: ForgettingContext) -> None:
    context.model.train()
    weights = tiny_engine.weights_of(context.model)
    torch.manual_seed(11)
    random = torch.get_rng_state()

    first = measurements(SECTION, context)
    again = measurements(SECTION, context)

    assert same(first, again)
    assert not same(first, measurements(SECTION, replace(context, seed=4)))
    assert tiny_engine.same_weights(tiny_engine.weights_of(context.model), weights)
    assert torch.equal(torch.get_rng_state(), random)
    assert context.model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in context.model.parameters())


def test_labels_and_the_new_head_do_not_matter(context: ForgettingContext) -> None:
    first = measurements(SECTION, context)
    with torch.no_grad():
        for name in context.blocks.head.parameters:
            context.model.get_parameter(name).normal_()
    context.examples.labels = None

    assert same(first, measurements(SECTION, context))


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_a_language_model_has_the_fisher_of_its_own_loss(tmp_path: Path, kind: str) -> None:
    """With a language head, the output side of the tied table counts: also tokens that occur nowhere matter."""
    context = tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", kind))
    table = next(name for name in context.backbone if "word_embeddings" in name or "wte" in name)
    absent = torch.tensor([18, 19])

    language = measurements(SECTION, context)[table][absent]
    representation = measure_fisher(
        context.model, context.backbone, context.examples, accelerator=context.accelerator, seed=0
    )[table][absent]

    assert bool((language > 0).any())
    assert not bool(representation.any())


def test_the_sample_is_read_from_the_file(tmp_path: Path) -> None:
    """In a model without a language head, only the rows of words in the file have a Fisher information."""
    context = tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", "headless"))
    path = tmp_path / "general.txt"
    path.write_text("thanks thanks\n\n  please \n", encoding="utf-8")

    fisher = measurements(ForgettingSection(ewc=1.0, text=str(path)), context)

    table = fisher["bert.embeddings.word_embeddings.weight"].sum(dim=1)
    words = {context.processor.convert_tokens_to_ids(word) for word in ("thanks", "please")}
    assert {int(row) for row in table.nonzero().flatten()} == words


class _Fixed(Examples):
    def __init__(self, architecture: str) -> None:
        self.inputs = tiny_architectures.inputs(architecture)
        self.labels = None
        self.lengths = np.array([4, 4])

    def collate(self, rows: np.ndarray) -> Batch:
        return Batch({name: value[torch.from_numpy(rows)] for name, value in self.inputs.items()}, None, 4, 4)


@pytest.mark.parametrize("architecture", (*tiny_architectures.ALL, "albert"))
def test_every_architecture_has_a_fisher_of_its_representation(architecture: str) -> None:
    model = tiny_architectures.make(architecture)
    blocks = map_blocks(model)
    backbone = [name for block in blocks.blocks[:-1] for name in block.parameters]

    fisher = measure_fisher(
        model, backbone, _Fixed(architecture), accelerator=make_accelerator(tiny_forgetting.CPU), seed=0
    )

    for block in blocks.blocks[:-1]:
        assert any(bool(fisher[name].any()) for name in block.parameters), block.name


@pytest.mark.parametrize("kind", tiny_forgetting.KINDS)
def test_a_strong_penalty_keeps_what_it_was_measured_on(tmp_path: Path, kind: str) -> None:
    """The language model's predictions, or the representations of a model without a language head."""
    context = tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", kind))
    of_language = kind != "headless"
    start = tiny_engine.weights_of(context.model)
    state, change = tiny_forgetting.representations, tiny_forgetting.drift
    if of_language:
        state, change = tiny_forgetting.predictions, tiny_forgetting.divergence
    before = state(context)
    tiny_forgetting.Run(context).steps(30)
    without = change(context, before)
    context.model.load_state_dict(start)
    hooks = build_forgetting_hooks(ForgettingSection(ewc=20.0), context, measurements(SECTION, context))
    head = context.blocks.head.parameters[-1]

    values = tiny_forgetting.Run(context, hooks).steps(30)

    assert change(context, before) < 0.5 * without
    assert values["ewc"] > 0
    assert not torch.equal(context.model.get_parameter(head), start[head]), "the head is free"


def test_where_the_fisher_is_large_the_weight_moves_less() -> None:
    """Two weights with the same gradient: the one that matters stays."""
    parameter = nn.Parameter(torch.zeros(2))
    penalty = EwcPenalty({"w": parameter}, {"w": torch.tensor([100.0, 0.0])}, 1.0)
    for step in range(1, 201):
        parameter.grad = torch.ones(2)
        penalty.after_backward(step)
        with torch.no_grad():
            parameter.sub_(parameter.grad, alpha=0.005)

    assert parameter[0].item() == pytest.approx(-0.01, rel=1e-3)
    assert parameter[1].item() == pytest.approx(-1.0, rel=1e-3)


def test_a_frozen_weight_gets_no_gradient() -> None:
    still, trained = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    ones = {"still": torch.ones(2), "trained": torch.ones(2)}
    penalty = EwcPenalty(
        {"still": still, "trained": trained}, ones, 1.0, reference={name: 0 * ones[name] for name in ones}
    )
    trained.grad = torch.zeros(2)

    values = penalty.after_backward(1)

    assert still.grad is None
    assert torch.equal(trained.grad, torch.ones(2))
    assert values == {"ewc": 1.0}
    trained.grad = None
    assert penalty.after_backward(2) == {"ewc": 0.0}


def test_the_reference_is_a_copy_of_the_weights_as_they_were() -> None:
    parameter = nn.Parameter(torch.ones(2))
    penalty = EwcPenalty({"w": parameter}, {"w": torch.ones(2)}, 3.0)
    with torch.no_grad():
        parameter.fill_(2.0)
    parameter.grad = torch.zeros(2)
    penalty.after_backward(1)

    assert torch.equal(parameter.grad, torch.full((2,), 3.0))


def test_only_what_trains_is_measured_and_held(context: ForgettingContext) -> None:
    upper = frozenset(context.blocks.body[-1].parameters) | frozenset(context.blocks.head.parameters)
    fisher = measurements(SECTION, replace(context, trained=upper))

    assert set(fisher) == set(context.blocks.body[-1].parameters)
    everything = measurements(SECTION, context)
    assert all(torch.equal(fisher[name], everything[name]) for name in fisher), "the scale is that of the whole model"


def test_off_measures_and_builds_nothing(context: ForgettingContext) -> None:
    assert measurements(ForgettingSection(), context) == {}
    assert build_forgetting_hooks(ForgettingSection(), context, {}) == ()


def test_a_head_alone_has_nothing_to_keep(context: ForgettingContext) -> None:
    head_only = replace(context, trained=frozenset(context.blocks.head.parameters))

    with pytest.raises(RecipeError, match="trains the head alone"):
        measurements(SECTION, head_only)


@pytest.mark.parametrize("kind", tiny_forgetting.KINDS)
def test_parameters_outside_the_base_model_cannot_be_kept(tmp_path: Path, kind: str) -> None:
    """Prompts that are put before the tokens train alone: neither the Fisher information nor replay reaches them."""
    context = tiny_forgetting.make_context(tiny_forgetting.save(tmp_path / "model", kind))
    context.model.prompt = nn.Parameter(torch.zeros(3))
    first = replace(context.blocks.embeddings, parameters=(*context.blocks.embeddings.parameters, "prompt"))
    blocks = replace(context.blocks, blocks=(first, *context.blocks.blocks[1:]))
    trained = frozenset({"prompt", *blocks.head.parameters})
    context = replace(context, blocks=blocks, trained=trained)

    with pytest.raises(RecipeError, match=r"forgetting\.ewc reaches none"):
        measurements(SECTION, context)
    with pytest.raises(RecipeError, match=r"forgetting\.replay reaches none"):
        build_forgetting_hooks(ForgettingSection(replay=1.0), context, {})


def test_a_model_without_base_model_is_refused() -> None:
    with pytest.raises(RecipeError, match="Linear does not say"):
        measure_fisher(
            nn.Linear(2, 2),
            ["weight"],
            tiny_engine.make_examples(2),
            accelerator=make_accelerator(tiny_forgetting.CPU),
            seed=0,
        )


def test_an_empty_sample_is_refused(context: ForgettingContext) -> None:
    with pytest.raises(RecipeError, match="empty sample"):
        measure_fisher(context.model, context.backbone, _Nothing(), accelerator=context.accelerator, seed=0)


class _Nothing(Examples):
    lengths = np.array([], dtype=np.int64)
    labels = None

    def collate(self, rows: np.ndarray) -> Batch:
        raise AssertionError("no row was asked for")


@pytest.mark.parametrize("content", ["", "\n  \n\t\n"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "general.txt"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=r"forgetting\.text: the file .*general\.txt holds no text"):
        check_forgetting(ForgettingSection(ewc=1.0, text=str(path)), "text")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"forgetting\.replay_text: the file .*lost\.txt cannot be read: No such file"):
        check_forgetting(ForgettingSection(replay=1.0, replay_text=str(tmp_path / "lost.txt")), "text")


def test_lines_are_read_without_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("one\u2028still one\r\n\r\n 两 \n".encode())

    assert read_texts(path, "forgetting.text") == ["one\u2028still one", "两"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ewc": 1.0, "text": "x.txt"}, "forgetting.text names a file of texts"),
        ({"replay": 1.0}, "forgetting.replay goes on with language modelling"),
    ],
)
def test_what_images_cannot_use_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_forgetting(ForgettingSection.model_validate(fields), "image")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_what_is_refused_for_images_is_not_refused_with_ewc_and_distillation_alone(modality: Modality) -> None:
    section = ForgettingSection(ewc=1.0, distillation=1.0)
    assert check_forgetting(section, modality) is None  # type: ignore[func-returns-value]
    with pytest.raises(RecipeError) if modality == "image" else contextlib.nullcontext():
        check_forgetting(section.model_copy(update={"replay": 1.0}), modality)


def test_distillation_of_a_compiled_model_is_refused() -> None:
    with pytest.raises(RecipeError, match="compile"):
        check_forgetting(ForgettingSection(distillation=1.0), "text", compiled=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ewc_rows": 5}, "ewc_rows has no effect without forgetting.ewc"),
        ({"text": "a.txt"}, "text has no effect without forgetting.ewc"),
        ({"replay_rows": 5}, "replay_rows has no effect without forgetting.replay"),
        ({"replay_text": "a.txt"}, "replay_text has no effect without forgetting.replay"),
        ({"replay_mask_probability": 0.3}, "replay_mask_probability has no effect"),
        ({"distillation_target": "tokens"}, "distillation_target has no effect"),
        ({"distillation": 1.0, "distillation_temperature": 3.0}, "is for forgetting.distillation_target: logits"),
        (
            {"distillation": 1.0, "distillation_target": "logits", "distillation_distance": "cosine"},
            "logits are compared by KL",
        ),
        ({"ewc": -1.0}, "forgetting.ewc .*found -1"),
        ({"ewc": 1.0, "ewc_rows": 0}, "forgetting.ewc_rows .*found 0"),
        ({"distillation": 1.0, "distillation_target": "head"}, "`pooled`, `tokens` or `logits`"),
    ],
)
def test_options_that_have_no_effect_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        build_recipe(overrides={f"forgetting.{name}": value for name, value in values.items()})


def test_a_written_section_is_read_back() -> None:
    section = ForgettingSection(replay=0.5, replay_rows=4)

    assert ForgettingSection.model_validate(section.model_dump()) == section
