"""Tiny random models, made offline, in the layout of `save_pretrained`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from trimtab.models.quiet import quiet_transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "router", "is", "broken", "refund", "please", "thanks"]


def _make_tokenizer(**special: Any) -> PreTrainedTokenizerFast:
    vocabulary = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    special = special or {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=vocabulary, model_max_length=32, **special)


def _save_tiny(directory: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    with quiet_transformers():
        model.save_pretrained(directory)
        (tokenizer or _make_tokenizer()).save_pretrained(directory)
    return directory


@pytest.fixture
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """A function that makes a word-level tokenizer with the special tokens given, or BERT's."""
    return _make_tokenizer


@pytest.fixture
def save_tiny() -> Callable[..., Path]:
    """A function that saves a model and its processor in a directory."""
    return _save_tiny


@pytest.fixture(scope="session")
def _tiny_bert_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    return _save_tiny(tmp_path_factory.mktemp("models") / "tiny_bert", BertForMaskedLM(config))


@pytest.fixture
def tiny_bert(_tiny_bert_original: Path, tmp_path: Path) -> Path:
    """A masked language model of two blocks, with its tokenizer; each test may damage its own copy."""
    return Path(shutil.copytree(_tiny_bert_original, tmp_path / "tiny_bert"))
