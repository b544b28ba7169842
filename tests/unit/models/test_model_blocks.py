"""The depth map, on a tiny random model of every architecture that we name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from trimtab.core.errors import ModelError
from trimtab.models.blocks import Blocks, map_blocks

ENCODER = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DECODER = {**ENCODER, "num_key_value_heads": 2}
SMALL_EMBEDDING = {**ENCODER, "embedding_size": 8}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 8}
DEBERTA_V3 = {**ENCODER, **RELATIVE, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "position_buckets": 8}
DISTILBERT = {"vocab_size": 60, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 3, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2}
STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [2, 1, 1, 2]}

# name: configuration, number of blocks, a parameter of block 0 and one of the last block, the head's modules.
TEXT: dict[str, tuple[Any, int, str, str, set[str]]] = {
    "bert": (
        hf.BertConfig(**ENCODER), 3, "bert.encoder.layer.0.", "bert.encoder.layer.2.",
        {"bert.pooler", "dropout", "classifier"},
    ),
    "roberta": (
        hf.RobertaConfig(**ENCODER), 3, "roberta.encoder.layer.0.", "roberta.encoder.layer.2.", {"classifier"},
    ),
    "xlm-roberta": (
        hf.XLMRobertaConfig(**ENCODER), 3, "roberta.encoder.layer.0.", "roberta.encoder.layer.2.", {"classifier"},
    ),
    "distilbert": (
        hf.DistilBertConfig(**DISTILBERT), 3, "distilbert.transformer.layer.0.", "distilbert.transformer.layer.2.",
        {"pre_classifier", "classifier", "dropout"},
    ),
    "electra": (
        hf.ElectraConfig(**SMALL_EMBEDDING), 3, "electra.encoder.layer.0.", "electra.encoder.layer.2.", {"classifier"},
    ),
    "deberta": (
        hf.DebertaConfig(**ENCODER, **RELATIVE), 3, "deberta.encoder.layer.0.", "deberta.encoder.layer.2.",
        {"pooler", "classifier", "dropout"},
    ),
    "deberta-v2": (
        hf.DebertaV2Config(**DEBERTA_V3), 3, "deberta.encoder.layer.0.", "deberta.encoder.layer.2.",
        {"pooler", "classifier", "dropout"},
    ),
    "modernbert": (
        hf.ModernBertConfig(**ENCODER, cls_token_id=1, sep_token_id=2), 3, "model.layers.0.", "model.final_norm.",
        {"head", "drop", "classifier"},
    ),
    "mpnet": (hf.MPNetConfig(**ENCODER), 3, "mpnet.encoder.layer.0.", "mpnet.encoder.layer.2.", {"classifier"}),
    "gpt2": (hf.GPT2Config(**GPT2), 3, "transformer.h.0.", "transformer.ln_f.", {"score"}),
    "llama": (hf.LlamaConfig(**DECODER), 3, "model.layers.0.", "model.norm.", {"score"}),
    "mistral": (hf.MistralConfig(**DECODER), 3, "model.layers.0.", "model.norm.", {"score"}),
    "qwen2": (hf.Qwen2Config(**DECODER), 3, "model.layers.0.", "model.norm.", {"score"}),
    "t5": (
        hf.T5Config(**T5), 5, "transformer.encoder.block.0.", "transformer.decoder.final_layer_norm.",
        {"classification_head"},
    ),
}  # fmt: skip
IMAGES: dict[str, tuple[Any, int, str, str, set[str]]] = {
    "mobilenet_v2": (
        hf.MobileNetV2Config(depth_multiplier=0.25), 16, "mobilenet_v2.layer.0.", "mobilenet_v2.conv_1x1.",
        {"mobilenet_v2.pooler", "dropout", "classifier"},
    ),
    "resnet": (
        hf.ResNetConfig(embedding_size=8, **STAGES), 6, "resnet.encoder.stages.0.layers.0.",
        "resnet.encoder.stages.3.layers.1.", {"resnet.pooler", "classifier"},
    ),
    "vit": (
        hf.ViTConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32),
        3, "vit.layers.0.", "vit.layernorm.", {"classifier"},
    ),
    "convnext": (
        hf.ConvNextConfig(**STAGES), 6, "convnext.encoder.stages.0.layers.0.", "convnext.layernorm.", {"classifier"},
    ),
}  # fmt: skip


def build(name: str) -> nn.Module:
    if name in IMAGES:
        return hf.AutoModelForImageClassification.from_config(IMAGES[name][0])
    return hf.AutoModelForSequenceClassification.from_config(TEXT[name][0])


def assert_partition(model: nn.Module, blocks: Blocks) -> None:
    listed = [name for block in blocks.blocks for name in block.parameters]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    leaves = {name for name, module in model.named_modules() if next(module.children(), None) is None}
    modules = dict(model.named_modules())
    covered = [
        f"{name}.{child}".rstrip(".")
        for block in blocks.blocks
        for name in block.modules
        for child, module in modules[name].named_modules()
        if next(module.children(), None) is None
    ]
    assert sorted(covered) == sorted(leaves)
    for block in blocks.blocks:
        for name in block.parameters:
            assert blocks.owner_of(name) is block


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_known_architecture_is_mapped_in_depth_order(name: str) -> None:
    _, depth, first, last, head = {**TEXT, **IMAGES}[name]
    model = build(name)
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert blocks.architecture == name
    assert not blocks.inferred
    assert blocks.shared_layers == 0
    assert blocks.depth == depth
    assert [block.name for block in blocks.blocks] == ["embeddings", *(f"block {i}" for i in range(depth)), "head"]
    assert [block.kind for block in blocks.blocks] == ["embeddings", *["block"] * depth, "head"]
    assert blocks.body[0].parameters[0].startswith(first)
    assert blocks.body[-1].parameters[-1].startswith(last)
    assert head <= set(blocks.head.modules)
    assert all(block.parameters for block in blocks.blocks)


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_blocks_follow_the_numbers_in_the_names(name: str) -> None:
    """Each block's parameters come from one layer, and layers count up (each stage, encoder and decoder from 0)."""
    blocks = map_blocks(build(name))
    order = [block.parameters[0] for block in blocks.body]
    numbers = [[int(part) for part in name.split(".") if part.isdigit()] for name in order]
    if name == "t5":
        assert [number[0] for number in numbers] == [0, 1, 0, 1, 2]
    elif name in ("resnet", "convnext"):
        assert [number[0] for number in numbers] == [0, 0, 1, 2, 3, 3]
    else:
        assert [number[0] for number in numbers] == list(range(blocks.depth))


def test_albert_shares_one_block() -> None:
    model = hf.AlbertForSequenceClassification(hf.AlbertConfig(**SMALL_EMBEDDING))
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert (blocks.depth, blocks.shared_layers, blocks.inferred) == (1, 3, False)
    assert "albert.encoder.embedding_hidden_mapping_in.weight" in blocks.embeddings.parameters
    assert "albert.pooler.weight" in blocks.head.parameters


def test_albert_groups_are_blocks() -> None:
    blocks = map_blocks(hf.AlbertForSequenceClassification(hf.AlbertConfig(**SMALL_EMBEDDING, num_hidden_groups=3)))
    assert (blocks.depth, blocks.shared_layers) == (3, 3)


def test_deberta_parts_go_where_they_act() -> None:
    blocks = map_blocks(build("deberta-v2"))
    for name in ("deberta.encoder.rel_embeddings.weight", "deberta.encoder.LayerNorm.weight"):
        assert blocks.owner_of(name) is blocks.embeddings
    assert blocks.owner_of("deberta.encoder.conv.conv.weight") is blocks.body[0]


def test_mpnet_relative_bias_belongs_to_the_embeddings() -> None:
    blocks = map_blocks(build("mpnet"))
    assert "mpnet.encoder.relative_attention_bias.weight" in blocks.embeddings.parameters


def test_t5_dropout_before_the_first_block_belongs_to_the_embeddings() -> None:
    blocks = map_blocks(build("t5"))
    assert {"transformer.encoder.dropout", "transformer.decoder.dropout"} <= set(blocks.embeddings.modules)
    assert "transformer.encoder.final_layer_norm.weight" in blocks.body[1].parameters


def test_convnext_downsampling_belongs_to_the_stage_it_opens() -> None:
    blocks = map_blocks(build("convnext"))
    assert blocks.owner_of("convnext.encoder.stages.1.downsampling_layer.0.weight") is blocks.body[2]
    assert blocks.owner_of("convnext.encoder.stages.3.downsampling_layer.1.weight") is blocks.body[4]


def test_tied_weights_stand_once() -> None:
    model = hf.BertForMaskedLM(hf.BertConfig(**ENCODER))
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert "bert.embeddings.word_embeddings.weight" in blocks.embeddings.parameters


@pytest.mark.parametrize("name", ["distilbert", "gpt2"])
def test_base_model_without_task_head_has_an_empty_head(name: str) -> None:
    model = hf.AutoModel.from_config(TEXT[name][0])
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert (blocks.depth, blocks.inferred, blocks.head.parameters) == (3, False, ())


@pytest.mark.parametrize(
    ("config", "depth"),
    [
        (
            hf.BartConfig(
                vocab_size=60,
                d_model=16,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=16,
                decoder_ffn_dim=16,
            ),
            4,
        ),
        (hf.XLNetConfig(vocab_size=60, d_model=16, n_layer=3, n_head=2, d_inner=16), 3),
        (hf.Qwen3Config(**DECODER, head_dim=8), 3),
    ],
    ids=["bart", "xlnet", "qwen3"],
)
def test_architecture_outside_the_table_is_inferred(config: Any, depth: int) -> None:
    model = hf.AutoModelForSequenceClassification.from_config(config)
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert (blocks.depth, blocks.inferred) == (depth, True)
    assert any("emb" in name or "shared" in name for name in blocks.embeddings.parameters)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.1)


class MadeUp(nn.Module):
    """No configuration, no base model: stem, five cells in two lists, a norm, and a head by a name of its own."""

    def __init__(self, head_name: str) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.cells = nn.ModuleList(Cell() for _ in range(5))
        self.adapters = nn.ModuleList([nn.Sequential(nn.Linear(1, 1)), nn.Sequential(nn.Linear(1, 1))])
        self.norm = nn.LayerNorm(4)
        self.dropout = nn.Dropout(0.1)
        self.add_module(head_name, nn.Linear(4, 2))


@pytest.mark.parametrize("head_name", ["classifier", "verdict"])
def test_made_up_architecture_by_inspection(head_name: str) -> None:
    model = MadeUp(head_name)
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert (blocks.architecture, blocks.inferred, blocks.depth) == ("MadeUp", True, 5)
    assert blocks.embeddings.parameters == ("stem.weight", "stem.bias")
    assert blocks.body[2].parameters == ("cells.2.mix.weight", "cells.2.mix.bias")
    assert blocks.body[2].modules == ("cells.2",)
    assert "norm.weight" in blocks.body[-1].parameters
    assert blocks.head.parameters == (f"{head_name}.weight", f"{head_name}.bias")


def test_model_without_a_chain_is_one_block() -> None:
    model = nn.Module()
    model.embedding = nn.Embedding(5, 4)
    model.recurrent = nn.LSTM(4, 4)
    model.classifier = nn.Linear(4, 2)
    blocks = map_blocks(model)
    assert_partition(model, blocks)
    assert [len(block.parameters) for block in blocks.blocks] == [1, 4, 2]


def test_owner_of_names_below_and_outside() -> None:
    blocks = map_blocks(build("mobilenet_v2"))
    assert blocks.owner_of("mobilenet_v2.layer.3.conv_3x3.normalization.running_mean") is blocks.body[3]
    assert blocks.owner_of("mobilenet_v2") is None


def test_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="no parameters"):
        map_blocks(nn.Sequential(nn.ReLU()))


def test_mapping_leaves_the_model_alone() -> None:
    model = build("bert")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    map_blocks(model)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
