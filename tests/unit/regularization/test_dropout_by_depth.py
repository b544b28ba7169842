"""Dropout by depth on real architectures: which numbers land where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_architectures
import tiny_engine
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BartConfig, BartForSequenceClassification

from trimtab.core.errors import RecipeError
from trimtab.models.blocks import map_blocks
from trimtab.regularization.dropout import draws_dropout, set_dropout_by_depth
from trimtab.strategies.base import frozen_modules
from trimtab.strategies.partial import Partial, PartialOptions


def all_names(model: nn.Module) -> frozenset[str]:
    return frozenset(name for name, _ in model.named_parameters())


def of_modules(model: nn.Module, prefix: str) -> set[float]:
    """The probabilities of the dropout modules below a name."""
    return {m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout) and name.startswith(prefix)}


def test_one_number_a_part_of_bert() -> None:
    model = tiny_engine.make_model(dropout=0.5)

    chosen = set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.1, 0.2, 0.3])

    assert chosen == {"embeddings": 0.0, "block 0": 0.1, "block 1": 0.2, "head": 0.3}
    assert of_modules(model, "bert.embeddings") == {0.0}
    assert of_modules(model, "bert.encoder.layer.0") == {0.1}
    assert of_modules(model, "bert.encoder.layer.1") == {0.2}
    assert model.dropout.p == 0.3


def test_two_numbers_are_the_ends_of_a_line() -> None:
    model = tiny_engine.make_model(dropout=0.5)

    chosen = set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.3])

    assert list(chosen.values()) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_line_ends_at_the_last_part_that_has_dropout() -> None:
    """ViT's head has none."""
    model = tiny_architectures.make("vit")

    chosen = set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.2])

    assert chosen == pytest.approx({"embeddings": 0.0, "block 0": 0.1, "block 1": 0.2})


def test_line_begins_at_the_first_part_that_trains() -> None:
    model = tiny_engine.make_model(dropout=0.5)
    blocks = map_blocks(model)
    plan = Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-3)

    chosen = set_dropout_by_depth(model, blocks, plan.trained, [0.1, 0.2])

    assert chosen == {"block 1": 0.1, "head": 0.2}
    assert of_modules(model, "bert.encoder.layer.0") == {0.5}


def test_attention_that_holds_a_number_gets_it() -> None:
    vit, t5 = tiny_architectures.make("vit"), tiny_architectures.make("t5")

    set_dropout_by_depth(vit, map_blocks(vit), all_names(vit), [0.0, 0.2])
    chosen = set_dropout_by_depth(t5, map_blocks(t5), all_names(t5), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])

    attention = [m.attention_dropout for m in vit.modules() if hasattr(m, "attention_dropout")]
    assert attention == pytest.approx([0.1, 0.2])
    assert list(chosen) == ["embeddings", "block 0", "block 1", "block 2", "block 3", "head"]
    assert [m.dropout for m in t5.modules() if type(m).__name__ == "T5Attention"] == [0.1, 0.2, 0.3, 0.3, 0.4, 0.4]


def test_the_number_really_acts_in_attention() -> None:
    """Two passes differ by the attention's dropout alone."""
    model = tiny_architectures.make("vit")
    inputs = tiny_architectures.inputs("vit")
    set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.0, 0.5, 0.0])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()

    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.0, 0.0, 0.0])
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)


def test_a_number_of_a_module_that_spans_blocks_goes_with_the_embeddings() -> None:
    """BART's encoder and decoder drop out their embeddings by a number of their own; `layerdrop` stays."""
    config = BartConfig(
        vocab_size=20,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        encoder_layerdrop=0.05,
        num_labels=3,
    )
    model = BartForSequenceClassification(config)

    set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])

    encoder, decoder = model.model.encoder, model.model.decoder
    assert (encoder.dropout, decoder.dropout) == (0.0, 0.0)
    assert [layer.dropout for layer in (*encoder.layers, *decoder.layers)] == [0.1, 0.2, 0.3, 0.4]
    assert encoder.layers[1].self_attn.dropout == 0.2
    assert encoder.layerdrop == 0.05


def test_saved_configuration_stays_valid_and_its_own(tmp_path: Path) -> None:
    model = tiny_engine.make_model(dropout=0.25)
    set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.0, 0.3])
    tiny.save_tiny(tmp_path, model)

    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)

    assert again.config.hidden_dropout_prob == 0.25
    inputs = tiny_architectures.inputs("bert")
    assert torch.equal(again.eval()(**inputs).logits, model.eval()(**inputs).logits)


def test_wrong_count_names_the_parts() -> None:
    model = tiny_engine.make_model(dropout=0.5)

    with pytest.raises(RecipeError, match=r"found 3 numbers.* 4 parts: embeddings, block 0, block 1, head") as caught:
        set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.1, 0.2, 0.3])
    assert "Give 4 numbers" in caught.value.remedy


def test_a_number_that_would_do_nothing_is_refused() -> None:
    vit, bert = tiny_architectures.make("vit"), tiny_engine.make_model(dropout=0.5)
    blocks = map_blocks(bert)
    trained = Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-3).trained

    with pytest.raises(RecipeError, match="head has no dropout"):
        set_dropout_by_depth(vit, map_blocks(vit), all_names(vit), [0.1, 0.1, 0.1, 0.1])
    with pytest.raises(RecipeError, match="embeddings is frozen, block 0 is frozen"):
        set_dropout_by_depth(bert, blocks, trained, [0.1, 0.1, 0.1, 0.1])
    assert set_dropout_by_depth(bert, blocks, trained, [0.0, 0.0, 0.1, 0.2]) == {"block 1": 0.1, "head": 0.2}


@pytest.mark.parametrize(("architecture", "where"), [("resnet", "nowhere"), ("mobilenet_v2", "only in head")])
def test_a_line_needs_two_parts_with_dropout(architecture: str, where: str) -> None:
    model = tiny_architectures.make(architecture)

    with pytest.raises(RecipeError, match=where):
        set_dropout_by_depth(model, map_blocks(model), all_names(model), [0.1, 0.2])


def test_draws_dropout_looks_at_what_is_awake_and_above_zero() -> None:
    model = tiny_engine.make_model(dropout=0.5)
    blocks = map_blocks(model)
    plan = Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-3)
    frozen = frozen_modules(model, blocks, plan)

    assert draws_dropout(model, ())
    assert draws_dropout(model, frozen)
    set_dropout_by_depth(model, blocks, plan.trained, [0.0, 0.0])
    assert draws_dropout(model, ())
    assert not draws_dropout(model, frozen)
    assert not draws_dropout(tiny_architectures.make("resnet"), ())
