"""The frozen prefix computed once: the same training as without it, and no pass that is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_engine
import torch
from torch import nn

from trimtab.core.cache import DiskCache
from trimtab.data.batching import Batch
from trimtab.models.blocks import Blocks, map_blocks
from trimtab.models.cut import ACTIVATIONS
from trimtab.pipeline.parts import make_accelerator
from trimtab.strategies.base import TrainingPlan
from trimtab.strategies.gradual import Gradual, GradualOptions
from trimtab.strategies.partial import Partial, PartialOptions
from trimtab.tasks.base import Examples
from trimtab.training.prefix import FrozenPrefix

RECIPE = {"num_epochs": 4}


def _examples(count: int, *, same_length: bool) -> Examples:
    rows = tiny.labelled_texts(count)
    if same_length:
        rows = [(" ".join([*text.split(), *["the"] * 20][:8]), label) for text, label in rows]
    return tiny_engine.make_examples(rows)


def _prefix(model: nn.Module, blocks: Blocks, plan: TrainingPlan, folder: Path, **fields: Any) -> FrozenPrefix:
    budget = fields.pop("budget", 1 << 30)
    settings: dict[str, Any] = {"token_budget": 8192, "notify": tiny_engine.Notices(), **fields}
    return FrozenPrefix(
        model,
        blocks,
        plan,
        DiskCache("activations", folder, budget),
        accelerator=make_accelerator(torch.device("cpu")),
        precision="fp32",
        **settings,
    )


class _Watched:
    """Counts how often, and with how many rows, token embeddings are looked up."""

    def __init__(self, model: Any) -> None:
        self.rows: list[int] = []
        model.bert.embeddings.word_embeddings.register_forward_pre_hook(
            lambda module, args: self.rows.append(len(args[0]))
        )


def _train(
    plan_of: Any, examples: Examples, folder: Path | None, **fields: Any
) -> tuple[dict[str, torch.Tensor], list[float], FrozenPrefix | None, _Watched]:
    """Train a tiny BERT with three blocks; with a folder, through the cache that lies there."""
    model = tiny_engine.make_model(num_hidden_layers=3)
    blocks = map_blocks(model)
    plan = plan_of(blocks)
    watched = _Watched(model)
    recipe = tiny_engine.make_recipe(training=RECIPE)
    prefix = None if folder is None else _prefix(model, blocks, plan, folder, **fields)
    rows = examples if prefix is None else prefix.wrap(examples)
    hooks = () if prefix is None else (prefix,)
    engine = tiny_engine.make_engine(model, rows, recipe, plan, blocks=blocks, hooks=hooks)
    losses = [float(record.loss or 0.0) for record in engine.steps()]
    if prefix is not None:
        prefix.close()
    return tiny_engine.weights_of(model), losses, prefix, watched


def _head_only(blocks: Blocks) -> TrainingPlan:
    return Partial(PartialOptions()).plan(blocks, 1e-2)


def _last_block(blocks: Blocks) -> TrainingPlan:
    return Partial(PartialOptions(last_blocks=1)).plan(blocks, 1e-2)


def _gradual(blocks: Blocks) -> TrainingPlan:
    return Gradual(GradualOptions()).plan(blocks, 1e-2)


@pytest.mark.parametrize("plan_of", [_head_only, _last_block, _gradual])
def test_bit_for_bit_where_rows_pass_in_batches_of_the_same_shape(plan_of: Any, tmp_path: Path) -> None:
    examples = _examples(32, same_length=True)
    # Pieces of 8 rows of 8 tokens fill the cache as batches of 8 rows train.
    whole, losses, _, _ = _train(plan_of, examples, None)
    kept, kept_losses, prefix, _ = _train(plan_of, examples, tmp_path, token_budget=64)
    assert prefix is not None and prefix.savings.served and not prefix.savings.notes
    assert tiny_engine.same_weights(whole, kept)
    assert losses == kept_losses


@pytest.mark.parametrize("plan_of", [_head_only, _last_block, _gradual])
def test_rows_of_mixed_length_train_alike(plan_of: Any, tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    whole, losses, _, _ = _train(plan_of, examples, None)
    kept, kept_losses, _, _ = _train(plan_of, examples, tmp_path)
    torch.testing.assert_close(kept, whole, rtol=0, atol=1e-5)
    assert kept_losses == pytest.approx(losses, abs=1e-5)


def test_frozen_blocks_see_each_row_once(tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    _, _, prefix, watched = _train(_head_only, examples, tmp_path)
    assert prefix is not None
    # Two trial passes of two rows (whole, to be stopped at the cut), one for the form, and each row once.
    assert sum(watched.rows) == 40 + sum(watched.rows[: watched.rows.index(1) + 1])
    assert prefix.savings.computed == 40 and prefix.savings.served == 4 * 40
    notices = dict(prefix.notify)  # type: ignore[call-overload]
    assert notices["fill_cache"]["rows"] == 40 and notices["fill_cache"]["found"] == 0


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    first, _, _, _ = _train(_head_only, examples, tmp_path)
    again, _, prefix, watched = _train(_head_only, examples, tmp_path)
    assert prefix is not None and prefix.savings.computed == 0 and prefix.savings.served == 160
    assert tiny_engine.same_weights(first, again)
    assert max(watched.rows) <= 2
    # More rows of the same model: only the new ones pass.
    _, _, more, _ = _train(_head_only, _examples(50, same_length=False), tmp_path)
    assert more is not None and 0 < more.savings.computed <= 10


def test_one_pass_fills_the_cuts_of_all_stages(tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    _, _, prefix, _ = _train(_gradual, examples, tmp_path)
    assert prefix is not None and prefix.savings.computed == 40
    fills = [fields for action, fields in prefix.notify if action == "fill_cache"]  # type: ignore[attr-defined]
    assert len(fills) == 1
    depths = {path.name[:32] for path in (tmp_path / "activations").iterdir() if path.is_dir()}
    assert len(depths) >= 2


def test_changed_weights_do_not_find_old_activations(tmp_path: Path) -> None:
    examples = _examples(16, same_length=False)
    located = []
    for seed in (0, 1):
        model = tiny_engine.make_model(seed=seed)
        blocks = map_blocks(model)
        prefix = _prefix(model, blocks, _head_only(blocks), tmp_path)
        prefix.wrap(examples)
        prefix.begin(10)
        located.append(prefix.savings.computed)
        prefix.close()
    assert located == [16, 16]


def test_a_cache_too_small_is_said_and_done_without(tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    whole, _, _, _ = _train(_head_only, examples, None)
    kept, _, prefix, _ = _train(_head_only, examples, tmp_path, budget=1000)
    assert prefix is not None and not prefix.savings.served
    assert "cache.prefix_mib" in prefix.savings.notes[0]
    assert tiny_engine.same_weights(whole, kept)


def test_a_short_run_takes_what_is_there_and_makes_nothing(tmp_path: Path) -> None:
    examples = _examples(40, same_length=False)
    _, _, short, _ = _train(_head_only, examples, tmp_path, worth_filling=False)
    assert short is not None and not short.savings.served and "too short" in short.savings.notes[0]
    _train(_head_only, examples, tmp_path)
    _, _, warm, _ = _train(_head_only, examples, tmp_path, worth_filling=False)
    assert warm is not None and warm.savings.served == 160


def test_a_folder_that_cannot_be_written_costs_only_later_runs(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    examples = _examples(24, same_length=False)
    whole, _, _, _ = _train(_head_only, examples, None)
    kept, _, prefix, _ = _train(_head_only, examples, blocked)
    assert prefix is not None and prefix.savings.served == 96 and prefix.savings.computed == 24
    torch.testing.assert_close(kept, whole, rtol=0, atol=1e-5)
    assert blocked.read_text() == ""


def test_memory_that_runs_out_halves_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_engine.make_model()
    blocks = map_blocks(model)
    prefix = _prefix(model, blocks, _head_only(blocks), tmp_path)
    rows: list[int] = []
    inner = prefix._below

    def below(batch: Batch) -> list[torch.Tensor]:
        if len(batch.inputs["input_ids"]) > 4:
            raise torch.OutOfMemoryError("out of memory")
        rows.append(len(batch.inputs["input_ids"]))
        return inner(batch)

    monkeypatch.setattr(prefix, "_below", below)
    prefix.wrap(_examples(20, same_length=True))
    prefix.begin(10)
    prefix.close()
    assert prefix.savings.computed == 20 and sum(rows[1:]) == 20 and max(rows) <= 4


def test_rows_that_change_with_the_epoch_pass_through_the_model(tmp_path: Path) -> None:
    class Changing(Examples):
        def __init__(self, inner: Examples) -> None:
            self.inner = inner
            self.lengths, self.labels = inner.lengths, inner.labels

        def keys(self) -> np.ndarray | None:
            return self.inner.keys()

        def at_epoch(self, epoch: int) -> Examples:
            return self.inner

        def collate(self, rows: np.ndarray) -> Batch:
            return self.inner.collate(rows)

    model = tiny_engine.make_model()
    blocks = map_blocks(model)
    prefix = _prefix(model, blocks, _head_only(blocks), tmp_path)
    wrapped = prefix.wrap(Changing(_examples(8, same_length=True)))
    prefix.begin(10)
    assert ACTIVATIONS in wrapped.collate(np.arange(2)).inputs
    assert ACTIVATIONS not in wrapped.at_epoch(0).collate(np.arange(2)).inputs
    prefix.close()
    assert ACTIVATIONS not in wrapped.collate(np.arange(2)).inputs


def test_a_model_that_trains_whole_is_left_alone(tmp_path: Path) -> None:
    from trimtab.strategies.full import Full, FullOptions

    def full(blocks: Blocks) -> TrainingPlan:
        return Full(FullOptions()).plan(blocks, 1e-2)

    _, _, prefix, _ = _train(full, _examples(16, same_length=True), tmp_path)
    assert prefix is not None and not prefix.savings.served and not prefix.savings.notes
    assert not (tmp_path / "activations").exists()


def test_images_are_not_read_again(tmp_path: Path) -> None:
    import tiny_architectures

    class Images(Examples):
        def __init__(self, count: int) -> None:
            self.pixels = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
            self.lengths, self.labels = np.full(count, 4), np.arange(count) % 3
            self.read: list[int] = []

        def keys(self) -> np.ndarray:
            return np.array([f"image {row}".encode() for row in range(len(self))], dtype="S16")

        def collate(self, rows: np.ndarray) -> Batch:
            self.read.extend(int(row) for row in rows)
            return Batch({"pixel_values": self.pixels[rows]}, torch.from_numpy(self.labels[rows]), len(rows), len(rows))

        def outline(self, rows: np.ndarray) -> Batch:
            empty = torch.zeros(()).expand(len(rows), 3, 32, 32)
            return Batch({"pixel_values": empty}, torch.from_numpy(self.labels[rows]), len(rows), len(rows))

    for architecture in ("vit", "mobilenet_v2", "resnet"):
        model = tiny_architectures.make(architecture)
        blocks = map_blocks(model)
        images = Images(6)
        prefix = _prefix(model, blocks, _head_only(blocks), tmp_path)
        wrapped = prefix.wrap(images)
        rows: Sequence[int] = [4, 1, 1, 5]
        with torch.no_grad():
            expected = model(**images.collate(np.array(rows)).inputs).logits
            prefix.begin(10)
            images.read.clear()
            found = model(**wrapped.collate(np.array(rows)).inputs).logits
        prefix.close()
        assert not images.read
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
