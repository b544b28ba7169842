"""Several processes, whole copies or shares (FSDP2), take the steps that one process takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
import tiny_engine
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import BertForSequenceClassification

from trimtab.config.recipe import Recipe
from trimtab.core.errors import OutOfMemoryError, RecipeError
from trimtab.core.hooks import StepHook
from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import Stage
from trimtab.strategies.full import Full, FullOptions
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.training.checkpoints import Checkpoint, CheckpointStore, random_states, restore, tensors_of, written_by
from trimtab.training.engine import Engine
from trimtab.training.inference import Predictor
from trimtab.training.sharding import check_sharding, gathered, is_sharded, make_whole, shard

ROWS = 23
# The last batch of an epoch has 2 rows: fewer than three processes. Budgets cut the rows of processes differently.
TRAINING = {"num_epochs": 2, "batch_size": 7, "max_tokens_per_batch": 40}


def make_recipe(**sections: Any) -> Recipe:
    return tiny_engine.make_recipe(**{**sections, "training": {**TRAINING, **sections.get("training", {})}})


def make_engine(sharding: str = "none", *, dropout: float = 0.0, partial: bool = False, **sections: Any) -> Engine:
    """An engine over all processes that there are."""
    model = tiny_engine.make_model(dropout=dropout)
    if sections.pop("checkpointing", False):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recipe = make_recipe(**sections)
    blocks = map_blocks(model)
    plan = Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-2) if partial else None
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(ROWS), recipe, plan, blocks=blocks)
    if sharding == "fsdp":
        engine.wrap = lambda bare: shard(bare, blocks, engine.optimizer, engine.accelerator.device)
    else:
        engine.wrap = engine.accelerator.prepare_model
    engine._set_stage()
    torch.manual_seed(100 + engine.accelerator.process_index)
    return engine


def curve(engine: Engine, steps: int = 100) -> list[tuple[float | None, float | None, int, int]]:
    """Loss, gradient norm, weight and tokens of up to so many steps."""
    records = engine.steps()
    taken = [record for _, record in zip(range(steps), records, strict=False)]
    return [(record.loss, record.grad_norm, record.weight, record.tokens) for record in taken]


def weights(engine: Engine) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in gathered(engine._bare.state_dict(), keep=True).items()}


def train(sharding: str, **settings: Any) -> tuple[Any, Any]:
    engine = make_engine(sharding, **settings)
    return curve(engine), weights(engine)


def train_each(scenarios: list[tuple[str, dict[str, Any]]]) -> list[tuple[Any, Any]]:
    """Several trainings in the processes that there are, one after the other."""
    return [train(sharding, **settings) for sharding, settings in scenarios]


def save(engine: Engine, folder: Path) -> Checkpoint | None:
    """As a session saves: what all processes gather, the first writes."""
    accelerator = engine.accelerator
    own = random_states(accelerator.process_index)
    random = dict(gather_object(list(own.items()))) if accelerator.num_processes > 1 else own
    tensors = tensors_of(engine._bare, engine.optimizer, keep=accelerator.is_main_process)
    checkpoint = None
    if accelerator.is_main_process:
        store = CheckpointStore(folder, 3)
        checkpoint = store.save(engine._bare, engine.optimizer, engine.progress, random, engine.hooks, tensors)
    accelerator.wait_for_everyone()
    return checkpoint


def three(folder: Path) -> list[tuple[Any, Any]]:
    """In three processes: whole copies, shares, and a checkpoint of two gone on with."""
    return [*train_each(SCENARIOS[:2]), resume("fsdp", folder, 0.0)]


def save_and_go_on(sharding: str, folder: Path, dropout: float) -> tuple[Any, Any]:
    """Train, with a checkpoint after 3 steps; the curve after it, and the weights at the end."""
    engine = make_engine(sharding, dropout=dropout)
    before = curve(engine, 3)
    save(engine, folder)
    assert len(before) == 3
    return curve(engine), weights(engine)


def resume(sharding: str, folder: Path, dropout: float, seed: int = 0) -> tuple[Any, Any]:
    """Train on from the checkpoint after 3 steps; the curve, and the weights at the end."""
    engine = make_engine(sharding, dropout=dropout)
    torch.manual_seed(seed)
    accelerator = engine.accelerator
    checkpoint, faults = CheckpointStore(folder, 3).newest_sound()
    assert checkpoint is not None and not faults
    engine.progress = restore(
        checkpoint,
        engine._bare,
        engine.optimizer,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    assert engine.progress.step == 3
    return curve(engine), weights(engine)


def saves_and_resumes(folder: Path) -> dict[str, tuple[Any, Any]]:
    """In two processes: write checkpoints, go on from them, and from one that a single process wrote."""
    return {
        "fsdp": save_and_go_on("fsdp", folder / "fsdp", 0.1),
        "fsdp again": resume("fsdp", folder / "fsdp", 0.1),
        "copies": save_and_go_on("none", folder / "copies", 0.0),
        "shares of copies": resume("fsdp", folder / "copies", 0.0),
        "copies of one": resume("none", folder / "one", 0.0),
        "shares of one": resume("fsdp", folder / "one", 0.0),
        "dropout of one": resume("none", folder / "dropout", 0.1, seed=1),
        "dropout of one again": resume("none", folder / "dropout", 0.1, seed=2),
    }


def evaluate_and_finish() -> dict[str, Any]:
    """Predict between steps and at the end, with more batches in one process than in the other, or none."""
    engine = make_engine("fsdp")
    model = engine._bare
    curve(engine, 2)
    predictor = Predictor(
        model=model,
        task=tiny_engine.make_task(),
        device=torch.device("cpu"),
        precision="fp32",
        token_budget=1,
        process_index=engine.accelerator.process_index,
        num_processes=2,
    )
    found = {f"{rows} rows": predictor.predict(tiny_engine.make_examples(rows)).values for rows in (5, 1)}
    engine.train_mode()
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    curve(engine)
    found["weights"] = weights(engine)
    make_whole(model, engine.optimizer)
    assert not is_sharded(model)
    assert type(model) is BertForSequenceClassification
    assert not any(isinstance(tensor, DTensor) for tensor in model.state_dict().values())
    assert [name for name, _ in model.named_parameters()] == list(dict(tiny_engine.make_model().named_parameters()))
    found["plain weights"] = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    found["at the end"] = predictor.predict(tiny_engine.make_examples(5)).values
    return found


def run_out_of_memory() -> list[str]:
    """What a sharded training says when the device's memory is too small: forward, or backward in the only piece."""
    told = []
    for where, budget in (("forward", 40), ("backward", 8192)):
        engine = make_engine("fsdp", training={"max_tokens_per_batch": budget})

        def fail(*unused: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        module = engine._bare.get_submodule("bert.encoder.layer.1.output")
        if where == "forward":
            module.register_forward_pre_hook(fail)
        else:
            module.register_full_backward_hook(fail)
        try:
            curve(engine, 1)
        except OutOfMemoryError as error:
            told.append(str(error))
    return told


def assert_alike(one: tuple[Any, Any], other: tuple[Any, Any], tolerance: float = 1e-5) -> None:
    assert len(one[0]) == len(other[0])
    for first, second in zip(one[0], other[0], strict=True):
        assert second == pytest.approx(first, abs=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, array in one[1].items():
        np.testing.assert_allclose(other[1][name], array, atol=tolerance, rtol=0, err_msg=name)


SHORT = {"training": {"num_epochs": 1}}
SCENARIOS: list[tuple[str, dict[str, Any]]] = [
    ("none", {}),
    ("fsdp", {}),
    ("fsdp", {**SHORT, "optimizer": {"name": "adam"}}),
    ("fsdp", {**SHORT, "optimizer": {"name": "sgd", "learning_rate": 0.1}}),
    ("fsdp", {**SHORT, "partial": True}),
    ("fsdp", {**SHORT, "checkpointing": True}),
]


def test_two_processes_take_the_steps_of_one() -> None:
    several = ranks.run(2, train_each, SCENARIOS)

    for (_, settings), *each in zip(SCENARIOS, *several, strict=True):
        one = train("none", **settings)
        assert len(one[0]) == (4 if settings else 8)
        for found in each:
            assert_alike(one, found)


def test_three_processes_where_a_batch_has_two_rows(tmp_path: Path) -> None:
    one = train("none")
    engine = make_engine()
    curve(engine, 3)
    of_two = {**random_states(0), **random_states(1)}
    checkpoint = CheckpointStore(tmp_path, 3).save(engine.model, engine.optimizer, engine.progress, of_two)
    assert written_by(checkpoint) == 2

    for copies, shares, resumed in ranks.run(3, three, tmp_path):
        assert_alike(one, copies)
        assert_alike(one, shares)
        assert_alike((one[0][3:], one[1]), resumed)


def test_checkpoints_of_another_number_of_processes(tmp_path: Path) -> None:
    one = save_and_go_on("none", tmp_path / "one", 0.0)
    save_and_go_on("none", tmp_path / "dropout", 0.1)

    first, second = ranks.run(2, saves_and_resumes, tmp_path)

    assert written_by(CheckpointStore(tmp_path / "fsdp", 3).all()[0]) == 2
    assert_alike(first["fsdp"], first["fsdp again"], tolerance=0)
    for name in ("copies", "shares of copies", "copies of one", "shares of one"):
        assert_alike(one, first[name])
        assert_alike(first[name], second[name], tolerance=0)
    assert_alike(first["dropout of one"], first["dropout of one again"], tolerance=0)
    assert_alike(one, resume("none", tmp_path / "copies", 0.0))
    assert len(resume("none", tmp_path / "fsdp", 0.1)[0]) == 5


def test_evaluation_and_delivery_of_a_sharded_model() -> None:
    first, second = ranks.run(2, evaluate_and_finish)

    alone = make_engine()
    curve(alone, 2)
    predictor = Predictor(alone.model, tiny_engine.make_task(), torch.device("cpu"), "fp32", token_budget=1)
    for rows in (5, 1):
        expected = predictor.predict(tiny_engine.make_examples(rows)).values
        for found in (first, second):
            np.testing.assert_allclose(found[f"{rows} rows"], expected, atol=1e-5)
    for name, array in first["weights"].items():
        np.testing.assert_array_equal(first["plain weights"][name], array)
    np.testing.assert_array_equal(first["at the end"], second["at the end"])


def test_a_lack_of_memory_ends_a_sharded_training() -> None:
    for forward, backward in ranks.run(2, run_out_of_memory):
        assert forward.startswith("Memory ran out in a sharded training (CUDA out of memory")
        assert backward.startswith("Memory ran out in a sharded training (in a backward pass)")


class AHook(StepHook):
    """A hook of some name."""


def problems(**changes: Any) -> str:
    """What `check_sharding` has against a run."""
    model = changes.get("model", tiny_engine.make_model())
    blocks = map_blocks(model)
    plan = changes.get("plan") or Full(FullOptions()).plan(blocks, 1e-2)
    recipe = changes.get("recipe", make_recipe())
    try:
        check_sharding(recipe, model, blocks, plan, changes.get("hooks", ()), changes.get("num_processes", 2))
    except RecipeError as error:
        assert "training.sharding=none" in error.remedy
        return " ".join(error.problems)
    return ""


def test_a_plain_run_may_be_sharded() -> None:
    assert problems() == ""


def test_what_cannot_be_sharded_is_refused() -> None:
    assert "--devices N" in problems(num_processes=1)
    assert "lion" in problems(recipe=make_recipe(optimizer={"name": "lion"}))
    assert "training.compile" in problems(recipe=make_recipe(training={"compile": True}))
    assert "regularization.r_drop" in problems(recipe=make_recipe(regularization={"r_drop": 1.0}))
    assert "forgetting.distillation" in problems(recipe=make_recipe(forgetting={"distillation": 1.0}))
    assert "ema" in problems(hooks=(AHook("ema"),))
    plan = Full(FullOptions()).plan(map_blocks(tiny_engine.make_model()), 1e-2)
    stage = Stage("all", tuple(group.name for group in plan.groups))
    assert "stages" in problems(plan=replace(plan, stages=(stage,)))
    assert "single elements" in problems(plan=replace(plan, masks={"classifier.weight": torch.ones(3, 16) > 0}))


def test_models_that_cannot_be_sharded_are_refused() -> None:
    model = tiny_engine.make_model()
    model.scale = nn.Parameter(torch.tensor(1.0))
    assert "scale" in problems(model=model)
    model = tiny_engine.make_model()
    model.norm = nn.BatchNorm1d(3)
    assert "norm" in problems(model=model)
    model = tiny_engine.make_model()
    model.other = nn.Linear(16, 3)
    model.other.weight = model.classifier.weight
    assert "tied weights" in problems(model=model)
    model = tiny_engine.make_model()
    model.peft_config = {}
    assert "adapters" in problems(model=model)
