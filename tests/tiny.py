"""Tiny random models and small data sets, made offline: what every test of the later rooms starts from."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from trimtab.models.quiet import quiet_transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "router", "is", "broken", "refund", "please", "thanks"]
FILLER = WORDS[5:]
# Words that give each class away, so that a tiny model learns something and weights move.
CLASS_WORDS = {"network": ["router", "broken"], "billing": ["refund", "please"], "other": ["thanks"]}


def make_tokenizer(**special: Any) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with the special tokens given, or BERT's."""
    vocabulary = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    special = special or {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=vocabulary, model_max_length=32, **special)


def save_tiny(directory: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Save a model and its tokenizer in a directory."""
    with quiet_transformers():
        model.save_pretrained(directory)
        (tokenizer or make_tokenizer()).save_pretrained(directory)
    return directory


def bert_config(**fields: Any) -> BertConfig:
    """A BERT of two blocks, 16 units wide."""
    settings = {
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    return BertConfig(**{**settings, **fields})


def save_bert(directory: Path, **fields: Any) -> Path:
    """Save a random masked language model of the shape of `bert_config`."""
    torch.manual_seed(0)
    return save_tiny(directory, BertForMaskedLM(bert_config(**fields)))


def labelled_texts(count: int, *, seed: int = 0, longest: int = 14) -> list[tuple[str, str]]:
    """Texts of 2 to `longest` + 1 words with their labels, the classes in turn."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        label = list(CLASS_WORDS)[index % len(CLASS_WORDS)]
        words = [*draw.choices(FILLER, k=draw.randint(1, longest)), draw.choice(CLASS_WORDS[label])]
        draw.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: Path, count: int, *, seed: int = 0) -> Path:
    """Write `labelled_texts` as a CSV file with the columns `text` and `label`."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(labelled_texts(count, seed=seed))
    return path
