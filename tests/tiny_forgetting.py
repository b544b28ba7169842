"""What tests of the care against forgetting start from: tiny pretrained models with and without a language head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiny
import tiny_engine
import torch
from torch import nn
from transformers import BertForMaskedLM, BertModel, GPT2Config, GPT2LMHeadModel

from trimtab.config.recipe import ModelSection
from trimtab.core.hooks import StepHook
from trimtab.models.language_heads import load_language_model, share_backbone
from trimtab.models.loading import load_model, resolve_model
from trimtab.pipeline.parts import make_accelerator
from trimtab.regularization.distillation import catching, pooled
from trimtab.regularization.forgetting import ForgettingContext
from trimtab.tasks.base import Examples, TaskContext
from trimtab.training.objective import Objective, TaskObjective

CPU = torch.device("cpu")
KINDS = ("masked", "causal", "headless")


def tokenizer() -> Any:
    """The tiny tokenizer with a mask token."""
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return tiny.make_tokenizer(**names, mask_token="[MASK]")


def save(directory: Path, kind: str, *, dropout: float = 0.0) -> Path:
    """A pretrained model with a masked head, a causal head, or none."""
    torch.manual_seed(0)
    drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if kind == "causal":
        config = GPT2Config(
            vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=32, pad_token_id=0, bos_token_id=1,
            eos_token_id=1, embd_pdrop=dropout, attn_pdrop=dropout, resid_pdrop=dropout,
        )  # fmt: skip
        model: nn.Module = GPT2LMHeadModel(config)
    else:
        model = (BertForMaskedLM if kind == "masked" else BertModel)(tiny.bert_config(**drop))
    return tiny.save_tiny(directory, model, tokenizer())


def encode(texts: Iterable[str]) -> Examples:
    """Texts without labels as encoded rows."""
    frame = pd.DataFrame({"text": list(texts)})
    return tiny_engine.make_task().encode(frame, TaskContext(tokenizer(), 32))


def make_context(directory: Path, *, rows: int = 24, **fields: Any) -> ForgettingContext:
    """A classifier from a pretrained model, all of which trains, over `rows` rows."""
    source = resolve_model(str(directory))
    torch.manual_seed(7)
    loaded = load_model(
        source,
        auto_class="AutoModelForSequenceClassification",
        labels=tiny_engine.LABELS,
        section=ModelSection(),
        modality="text",
    )
    context = ForgettingContext(
        model=loaded.model,
        blocks=loaded.blocks,
        trained=frozenset(name for name, _ in loaded.model.named_parameters()),
        source=source,
        processor=loaded.processor,
        modality="text",
        examples=tiny_engine.make_examples(rows),
        encode=encode,
        accelerator=make_accelerator(CPU),
        precision="fp32",
        seed=3,
        fresh_head=True,
    )
    return replace(context, **fields)


class Run:
    """Plain training with hooks and an objective, a step at a time."""

    def __init__(self, context: ForgettingContext, hooks: tuple[StepHook, ...] = (), rate: float = 3e-3) -> None:
        self.context = context
        self.model = context.model.train()
        self.hooks = hooks
        self.objective: Objective = TaskObjective(tiny_engine.make_task())
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=rate)
        self.step = 0

    def steps(self, count: int) -> dict[str, float]:
        """Take steps, and return the last one's values."""
        values: dict[str, float] = {}
        for _ in range(count):
            self.step += 1
            batch = self.context.examples.collate(np.arange(len(self.context.examples)))
            loss, weight = self.objective.loss(lambda inputs: self.model(**inputs), batch, self.step)
            self.optimizer.zero_grad(set_to_none=True)
            (loss / weight).backward()
            for hook in self.hooks:
                values |= hook.after_backward(self.step)
            for hook in self.hooks:
                hook.before_update(self.step)
            self.optimizer.step()
            for hook in self.hooks:
                hook.after_update(self.step)
        return values


def representations(context: ForgettingContext) -> torch.Tensor:
    """Pooled last hidden states of the training rows, without dropout, `[rows, units]`."""
    context.model.eval()
    batch = context.examples.collate(np.arange(len(context.examples)))
    with torch.no_grad(), catching(context.model) as caught:
        context.model(**batch.inputs)
    assert caught.hidden is not None
    return pooled(caught.hidden, batch.inputs["attention_mask"])


def drift(context: ForgettingContext, before: torch.Tensor) -> float:
    """Mean squared change of the representations."""
    return float((representations(context) - before).square().mean())


def predictions(context: ForgettingContext) -> torch.Tensor:
    """Log-probabilities from the original language head for each token of the training rows, `[tokens, vocabulary]`."""
    language = load_language_model(context.source)
    assert language is not None
    share_backbone(language, context.model)
    context.model.eval()
    batch = context.examples.collate(np.arange(len(context.examples)))
    with torch.no_grad():
        logits = language.model(**batch.inputs).logits
    return logits[batch.inputs["attention_mask"].bool()].log_softmax(dim=-1)


def divergence(context: ForgettingContext, before: torch.Tensor) -> float:
    """Mean KL divergence of the language model's predictions from those before."""
    return float((before.exp() * (before - predictions(context))).sum(dim=-1).mean())
