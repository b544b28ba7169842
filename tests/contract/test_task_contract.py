"""What every task keeps to, whatever its modality: encode, collate, loss, predict, metrics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import tiny_architectures
import torch
import transformers
from torch import nn

from trimtab.core.errors import TrimtabError
from trimtab.core.registry import TASKS
from trimtab.tasks.base import Examples, Task, TaskContext

LABELS = tuple(tiny.CLASS_WORDS)
ROWS = 7
# A model for each modality; a task of a new modality adds one.
ARCHITECTURES = {"text": "bert", "image": "vit"}


@pytest.fixture(params=TASKS.names())
def task(request: pytest.FixtureRequest) -> Task:
    task_class = TASKS.get(request.param)
    return task_class(task_class.Options(), LABELS)


@pytest.fixture
def frame(task: Task, tmp_path: Path) -> pd.DataFrame:
    rows = tiny.labelled_texts(ROWS)
    frame = pd.DataFrame(rows, columns=["text", "label"])
    if task.modality == "image":
        image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
        paths = []
        for index in range(ROWS):
            paths.append(str(tmp_path / f"{index}.png"))
            pixels = np.random.default_rng(index).integers(0, 255, (20 + index, 30, 3), dtype=np.uint8)
            image.fromarray(pixels).save(paths[-1])
        frame = pd.DataFrame({"image": paths, "label": frame["label"]})
    return frame


@pytest.fixture
def context(task: Task) -> TaskContext:
    if task.modality == "text":
        return TaskContext(tiny.make_tokenizer(), 32)
    return TaskContext(transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}))


@pytest.fixture
def examples(task: Task, frame: pd.DataFrame, context: TaskContext) -> Examples:
    return task.encode(frame, context)


@pytest.fixture
def model(task: Task) -> nn.Module:
    return tiny_architectures.make(ARCHITECTURES[task.modality])


def test_names_what_transformers_knows(task: Task) -> None:
    assert hasattr(transformers, task.auto_class)
    transformers.pipelines.check_task(task.pipeline_name)


def test_encoding_keeps_rows_and_labels(task: Task, frame: pd.DataFrame, examples: Examples) -> None:
    assert len(examples) == len(frame)
    assert examples.lengths.shape == (ROWS,)
    assert (examples.lengths > 0).all()
    assert [LABELS[index] for index in examples.labels] == frame["label"].tolist()


def test_rows_without_labels(task: Task, frame: pd.DataFrame, context: TaskContext, model: nn.Module) -> None:
    examples = task.encode(frame.drop(columns="label"), context)

    assert examples.labels is None
    batch = examples.collate(np.arange(3))
    assert batch.labels is None
    with torch.no_grad():
        outputs = model(**batch.inputs)
    assert task.predict(outputs).shape[0] == 3
    with pytest.raises(ValueError, match="without labels"):
        task.loss(outputs, batch)


def test_rows_are_collated_in_the_order_given(examples: Examples) -> None:
    order = np.array([4, 0, 6])
    batch = examples.collate(order)

    assert batch.labels.tolist() == examples.labels[order].tolist()
    assert all(len(tensor) == 3 for tensor in batch.inputs.values())
    assert batch.tokens == examples.lengths[order].sum()
    assert batch.tokens <= batch.padded_tokens


def test_loss_of_a_batch_is_the_sum_over_its_parts(task: Task, examples: Examples, model: nn.Module) -> None:
    with torch.no_grad():
        losses = {}
        for name, rows in {"whole": range(ROWS), "first": range(3), "rest": range(3, ROWS)}.items():
            batch = examples.collate(np.array(rows))
            losses[name] = task.loss(model(**batch.inputs), batch)

    assert losses["whole"][1] == losses["first"][1] + losses["rest"][1]
    assert losses["whole"][0].ndim == 0
    assert float(losses["whole"][0]) == pytest.approx(float(losses["first"][0] + losses["rest"][0]), rel=1e-5)
    assert float(losses["whole"][0]) > 0


def test_loss_has_a_gradient(task: Task, examples: Examples, model: nn.Module) -> None:
    batch = examples.collate(np.arange(ROWS))
    loss, _ = task.loss(model(**batch.inputs), batch)
    loss.backward()

    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_prediction_of_a_row_does_not_depend_on_its_neighbours(
    task: Task, examples: Examples, model: nn.Module
) -> None:
    with torch.no_grad():
        together = task.predict(model(**examples.collate(np.arange(ROWS)).inputs))
        alone = torch.cat([task.predict(model(**examples.collate(np.array([row])).inputs)) for row in range(ROWS)])

    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_metrics_hold_the_primary_one_and_a_perfect_prediction_is_best(task: Task, examples: Examples) -> None:
    labels = examples.labels
    right = np.full((ROWS, len(LABELS)), 0.01, dtype=np.float32)
    right[np.arange(ROWS), labels] = 0.98
    wrong = np.roll(right, 1, axis=1)
    primary = task.primary_metric("auto")

    good, bad = task.metrics(labels, right), task.metrics(labels, wrong)

    assert primary in good
    assert good.keys() == bad.keys()
    for name in good:
        assert isinstance(good[name], float)
        assert task.primary_metric(name) == name
        if name == "ece":
            continue
        assert (good[name] > bad[name]) == task.higher_is_better(name), name


def test_a_metric_that_does_not_exist_is_refused(task: Task) -> None:
    with pytest.raises(TrimtabError, match="macro_f2"):
        task.primary_metric("macro_f2")


def test_loss_in_half_precision_is_summed_in_float32(task: Task, examples: Examples) -> None:
    batch = examples.collate(np.arange(ROWS))
    outputs = SimpleNamespace(logits=torch.zeros(ROWS, len(LABELS), dtype=torch.bfloat16))

    loss, weight = task.loss(outputs, batch)

    assert loss.dtype == torch.float32
    assert float(loss) / weight == pytest.approx(np.log(len(LABELS)), abs=1e-6)
