"""Tiny random models as fixtures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from transformers import PreTrainedTokenizerFast


@pytest.fixture
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """A function that makes a word-level tokenizer with the special tokens given, or BERT's."""
    return tiny.make_tokenizer


@pytest.fixture
def save_tiny() -> Callable[..., Path]:
    """A function that saves a model and its processor in a directory."""
    return tiny.save_tiny


@pytest.fixture(scope="session")
def _tiny_bert_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "tiny_bert")


@pytest.fixture
def tiny_bert(_tiny_bert_original: Path, tmp_path: Path) -> Path:
    """A masked language model of two blocks, with its tokenizer; each test may damage its own copy."""
    return Path(shutil.copytree(_tiny_bert_original, tmp_path / "tiny_bert"))
