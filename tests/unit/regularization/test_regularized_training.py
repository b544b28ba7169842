"""All of it at once in the loop: it trains, says so in the record, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.models.blocks import map_blocks
from trimtab.regularization.build import build_hooks, build_objective, edit_model
from trimtab.training.checkpoints import CheckpointStore, restore
from trimtab.training.engine import Engine

EVERYTHING = {
    "r_drop": {"l1": 1e-4, "l2_sp": 0.01, "l2_sp_head": 0.01, "gradient_noise": 0.01, "mixout": 0.5, "r_drop": 1.0},
    "mixup": {"l2": 1e-3, "dropout_by_depth": [0.0, 0.3], "class_weights": "sqrt", "focal_gamma": 1.0, "mixup": 0.4},
}


def make_engine(kind: str) -> Engine:
    """An engine in the order of a run: pretrained weights, edits, hooks, and only then a checkpoint."""
    recipe = tiny_engine.make_recipe(
        regularization=EVERYTHING[kind], training={"num_epochs": 2, "max_tokens_per_batch": 40}
    )
    section = recipe.regularization
    model: nn.Module = tiny_engine.make_model(dropout=0.1)
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(32), recipe)
    head = map_blocks(model).head.parameters
    edit_model(section, model, engine.blocks, engine.plan, head)
    engine.hooks = build_hooks(section, model, engine.plan, recipe.seed, head)
    engine.objective = build_objective(section, tiny_engine.make_task(), engine.examples.labels, recipe.seed)
    return engine


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_resumed_run_gives_the_same_weights(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = make_engine(kind)
    store = CheckpointStore(tmp_path, keep_last=1)
    for record in whole.steps():
        assert record.loss is not None
        if record.step == 3:
            random = {"0/cpu": torch.get_rng_state()}
            checkpoint = store.save(whole.model, whole.optimizer, whole.progress, random, whole.hooks)
    assert whole.progress.step == 8

    torch.manual_seed(2)
    resumed = make_engine(kind)
    resumed.progress = restore(checkpoint, resumed.model, resumed.optimizer, hooks=resumed.hooks)
    for _ in resumed.steps():
        pass

    assert tiny_engine.same_weights(tiny_engine.weights_of(whole.model), tiny_engine.weights_of(resumed.model))


def test_the_record_holds_the_penalties() -> None:
    record = next(make_engine("r_drop").steps())

    assert set(record.extras) == {"l1", "l2_sp", "gradient_noise"}
    assert record.extras["l1"] > 0
    assert record.extras["gradient_noise"] == pytest.approx(0.1)


def test_it_changes_what_is_learned() -> None:
    plain = tiny_engine.make_engine(tiny_engine.make_model(dropout=0.1), tiny_engine.make_examples(32))
    regularized = make_engine("mixup")
    for engine in (plain, regularized):
        torch.manual_seed(1)
        next(engine.steps())

    assert not tiny_engine.same_weights(tiny_engine.weights_of(plain.model), tiny_engine.weights_of(regularized.model))
