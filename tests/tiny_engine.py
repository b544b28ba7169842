"""An engine over a tiny model, without run directory or command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd
import tiny
import torch
from torch import nn
from transformers import BertForSequenceClassification

from trimtab.config.recipe import Recipe
from trimtab.core.hooks import StepHook
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.pipeline.parts import make_accelerator
from trimtab.strategies.base import ParameterGroup, TrainingPlan, apply_plan
from trimtab.strategies.full import Full, FullOptions
from trimtab.tasks.base import Examples, TaskContext
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions
from trimtab.training.engine import Engine
from trimtab.training.objective import TaskObjective
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress

LABELS = tuple(tiny.CLASS_WORDS)


def make_task() -> TextClassification:
    """Text classification with the labels of `tiny.labelled_texts`."""
    return TextClassification(TextClassificationOptions(), LABELS)


def make_model(*, dropout: float = 0.0, seed: int = 0, **fields: Any) -> BertForSequenceClassification:
    """A random BERT with a head for `LABELS`, in evaluation mode."""
    torch.manual_seed(seed)
    config = tiny.bert_config(
        num_labels=len(LABELS), hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **fields
    )
    return BertForSequenceClassification(config).eval()


def make_examples(rows: Iterable[tuple[str, str]] | int) -> Examples:
    """Encoded rows: those given, or so many of `tiny.labelled_texts`."""
    rows = tiny.labelled_texts(rows) if isinstance(rows, int) else rows
    frame = pd.DataFrame(rows, columns=["text", "label"])
    return make_task().encode(frame, TaskContext(tiny.make_tokenizer(), 32))


def make_recipe(**sections: dict[str, Any]) -> Recipe:
    """A recipe for float32 on the CPU, with the keys given by section."""
    training = {"num_epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu", "max_tokens_per_batch": 8192}
    optimizer = {"learning_rate": 1e-2}
    return Recipe.model_validate(
        {
            **sections,
            "training": {**training, **sections.get("training", {})},
            "optimizer": {**optimizer, **sections.get("optimizer", {})},
        }
    )


class Notices(list[tuple[str, dict[str, Any]]]):
    """Records what the engine says it did by itself."""

    def __call__(self, action: str, **fields: Any) -> None:
        self.append((action, fields))


def make_engine(
    model: nn.Module,
    examples: Examples,
    recipe: Recipe | None = None,
    plan: TrainingPlan | None = None,
    *,
    blocks: Blocks | None = None,
    hooks: tuple[StepHook, ...] | None = None,
    reserve: tuple[ParameterGroup, ...] = (),
) -> Engine:
    """An engine that trains every parameter, or those of `plan`; its optimizer holds those of `reserve` besides."""
    recipe = recipe or make_recipe()
    rate = float(recipe.optimizer.learning_rate)
    blocks = blocks or map_blocks(model)
    plan = plan or Full(FullOptions()).plan(blocks, rate)
    apply_plan(model, plan)
    budget = recipe.training.max_tokens_per_batch
    return Engine(
        model=model,
        blocks=blocks,
        plan=plan,
        objective=TaskObjective(make_task()),
        examples=examples,
        optimizer=build_optimizer(model, replace(plan, groups=(*plan.groups, *reserve)), recipe.optimizer),
        accelerator=make_accelerator(torch.device("cpu")),
        recipe=recipe,
        precision="fp32",
        progress=Progress(token_budget=int(budget)),
        notify=Notices(),
        hooks=plan.hooks if hooks is None else hooks,
    )


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit; NaN equals NaN."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name].view(torch.uint8), other[name].view(torch.uint8))
        if one[name].ndim
        else one[name] == other[name]
        for name in one
    )
