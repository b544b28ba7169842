"""Tiny random models of several architectures, with an input for each."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    T5ForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

TOKENS = {
    "input_ids": torch.tensor([[5, 6, 7, 1], [8, 9, 10, 1]]),
    "attention_mask": torch.ones(2, 4, dtype=torch.long),
}
ALL = ("bert", "gpt2", "t5", "vit", "mobilenet_v2", "resnet")
TEXT = ("bert", "gpt2", "t5")


def make(architecture: str) -> nn.Module:
    """A random model of `ALL`, or `albert`, with three classes, in evaluation mode."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _MAKERS[architecture]().eval()


def inputs(architecture: str) -> dict[str, torch.Tensor]:
    """Two inputs of an architecture."""
    if architecture in (*TEXT, "albert"):
        return dict(TOKENS)
    return {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


def _bert() -> nn.Module:
    import tiny_engine

    return tiny_engine.make_model(dropout=0.5)


def _albert() -> nn.Module:
    config = AlbertConfig(
        vocab_size=20,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    return AlbertForSequenceClassification(config)


def _gpt2() -> nn.Module:
    tokens: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = GPT2Config(
        vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=32, num_labels=3, embd_pdrop=0.5, **tokens
    )
    return GPT2ForSequenceClassification(config)


def _t5() -> nn.Module:
    config = T5Config(
        vocab_size=20,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        num_labels=3,
        dropout_rate=0.5,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return T5ForSequenceClassification(config)


def _vit() -> nn.Module:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        num_labels=3,
        hidden_dropout_prob=0.5,
    )
    return ViTForImageClassification(config)


def _mobilenet_v2() -> nn.Module:
    return MobileNetV2ForImageClassification(MobileNetV2Config(image_size=32, depth_multiplier=0.35, num_labels=3))


def _resnet() -> nn.Module:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)
    return ResNetForImageClassification(config)


_MAKERS = {
    "bert": _bert,
    "albert": _albert,
    "gpt2": _gpt2,
    "t5": _t5,
    "vit": _vit,
    "mobilenet_v2": _mobilenet_v2,
    "resnet": _resnet,
}
