"""The HF Trainer as a peer: the model, rows, splits, epochs, batch size, rate and decay of a recipe of Trimtab.

It is used as its documentation shows it: with its defaults, or with the flags that help it most on this hardware.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.config.load import build_recipe
from trimtab.config.recipe import EvaluationSection, Recipe


@dataclass(frozen=True)
class Material:
    """What is read once, however many runs are made of it.

    Args:
        place: folder of the pretrained model.
        modality: `text` or `image`.
        labels: names of the classes.
        splits: rows as the Trainer takes them.
        collator: makes batches of them.
        processor: tokenizer or image processor.
    """

    place: str
    modality: str
    labels: tuple[str, ...]
    splits: dict[str, Sequence[dict[str, Any]]]
    collator: Any
    processor: Any


class ImageRows(Sequence[dict[str, Any]]):
    """Images as a user's data set has them: opened and processed at each access, or once and then kept.

    Args:
        paths: image files, `[rows]`.
        labels: class ids, `[rows]`.
        processor: the model's image processor.
        in_memory: whether they are decoded beforehand.
    """

    def __init__(self, paths: list[str], labels: list[int], processor: Any, *, in_memory: bool) -> None:
        self._paths, self._labels, self._processor = paths, labels, processor
        self._kept = [self._decode(row) for row in range(len(paths))] if in_memory else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: Any) -> Any:
        return self._decode(row) if self._kept is None else self._kept[row]

    def _decode(self, row: int) -> dict[str, Any]:
        from PIL import Image

        with Image.open(self._paths[row]) as image:
            encoded = self._processor(images=image.convert("RGB"), return_tensors="pt")
        return {"pixel_values": encoded["pixel_values"][0], "labels": self._labels[row]}


def read_material(recipe: Recipe, *, in_memory: bool = False) -> Material:
    """The rows that Trimtab makes of the same recipe, encoded by the model's own processor.

    Args:
        recipe: names data and model.
        in_memory: whether images are decoded once, beforehand.
    """
    from transformers import AutoTokenizer, DataCollatorWithPadding, default_data_collator

    from trimtab.data.loading import load_dataset
    from trimtab.models.processors import load_processor
    from trimtab.models.sources import resolve_model

    dataset = load_dataset(recipe.data.path, recipe.data, seed=recipe.seed)
    source = resolve_model(recipe.model.name)
    ids = {label: index for index, label in enumerate(dataset.labels)}
    splits: dict[str, Sequence[dict[str, Any]]] = {}
    if "image" in dataset.splits["train"]:
        processor = load_processor(source, "image")
        for split, frame in dataset.splits.items():
            labels = [ids[label] for label in frame["label"]]
            splits[split] = ImageRows(frame["image"].tolist(), labels, processor, in_memory=in_memory)
        return Material(source.location, "image", dataset.labels, splits, default_data_collator, processor)
    tokenizer = AutoTokenizer.from_pretrained(source.location)
    for split, frame in dataset.splits.items():
        encoded = tokenizer(frame["text"].tolist(), truncation=True)
        splits[split] = [
            {"input_ids": tokens, "attention_mask": mask, "label": ids[label]}
            for tokens, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], frame["label"], strict=True)
        ]
    return Material(source.location, "text", dataset.labels, splits, DataCollatorWithPadding(tokenizer), tokenizer)


def train(
    settings: Mapping[str, Any], folder: Path, *, best_flags: bool = False, in_memory: bool = False, **options: Any
) -> dict[str, Any]:
    """One run of the Trainer from a recipe's keys; options and figures are those of `fit`."""
    recipe = build_recipe(overrides=dict(settings)).recipe
    material = read_material(recipe, in_memory=in_memory)
    return fit(material, recipe, folder, best_flags=best_flags, **options)


def fit(
    material: Material, recipe: Recipe, folder: Path, *, best_flags: bool = False, last_blocks: int | None = None
) -> dict[str, Any]:
    """Train, and judge the best weights on the test rows.

    Args:
        material: from `read_material`.
        recipe: with epochs, batch size, learning rate, seed, and the steps between evaluations.
        folder: for checkpoints.
        best_flags: bf16, and for texts batches of like length.
        last_blocks: blocks that train besides the head, the others frozen; everything trains when None.

    Returns:
        Accuracy and macro F1 with intervals; `seconds` of `train()` with its evaluations and checkpoints, and of those
        alone `aside_seconds`; `curve`, (seconds since the beginning, validation accuracy) of each evaluation.
    """
    from transformers import Trainer, set_seed

    set_seed(recipe.seed)
    model = _model(material, last_blocks)
    clock = _clock()
    trainer = Trainer(
        model=model,
        args=_arguments(material, recipe, folder, best_flags=best_flags),
        train_dataset=material.splits["train"],
        eval_dataset=material.splits["validation"],
        data_collator=material.collator,
        compute_metrics=lambda prediction: _scores(prediction, len(material.labels)),
        processing_class=material.processor,
        callbacks=[clock],
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    rows = len(material.splits["train"])
    return {
        **_judge(trainer, material, recipe.seed),
        "rows": {"train": rows, "test": len(material.splits["test"])},
        "seconds": seconds,
        "aside_seconds": clock.aside,
        "samples_per_second": int(recipe.training.num_epochs) * rows / (seconds - clock.aside),
        "curve": clock.curve,
    }


def _model(material: Material, last_blocks: int | None) -> Any:
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    from trimtab.models.blocks import map_blocks

    kind = AutoModelForImageClassification if material.modality == "image" else AutoModelForSequenceClassification
    model = kind.from_pretrained(material.place, num_labels=len(material.labels), ignore_mismatched_sizes=True)
    if last_blocks is not None:
        blocks = map_blocks(model)
        body = blocks.body[len(blocks.body) - last_blocks :]
        trained = {name for block in (*body, blocks.head) for name in block.parameters}
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in trained
    return model


def _arguments(material: Material, recipe: Recipe, folder: Path, *, best_flags: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    epochs, batch_size = int(recipe.training.num_epochs), recipe.training.batch_size
    steps = epochs * -(-len(material.splits["train"]) // batch_size)
    every = recipe.evaluation.every_steps
    grouped = best_flags and material.modality == "text"
    return TrainingArguments(
        output_dir=str(folder / "hf"),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        learning_rate=float(recipe.optimizer.learning_rate),
        weight_decay=0.01,
        warmup_steps=-(-steps // 10),
        eval_strategy="epoch" if every is None else "steps",
        save_strategy="epoch" if every is None else "steps",
        eval_steps=every,
        save_steps=every or 500,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        report_to=[],
        seed=recipe.seed,
        disable_tqdm=True,
        bf16=best_flags,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length" if grouped else "random",
    )


def _scores(prediction: Any, classes: int) -> dict[str, float]:
    from trimtab.metrics.classification import classification_metrics, confusion_matrix

    values = classification_metrics(confusion_matrix(prediction.label_ids, prediction.predictions.argmax(-1), classes))
    return {name: float(values[name]) for name in ("accuracy", "macro_f1")}


def _judge(trainer: Any, material: Material, seed: int) -> dict[str, Any]:
    """Accuracy and macro F1 on the test rows, with the intervals that Trimtab gives its own."""
    import torch

    from trimtab.evaluation.evaluate import evaluate_classification

    # Grouping by length reorders the test rows, too: labels and predictions must come from the same call.
    predicted = trainer.predict(material.splits["test"])
    metrics = evaluate_classification(
        np.asarray(predicted.label_ids),
        torch.from_numpy(predicted.predictions).softmax(-1).numpy(),
        material.labels,
        split="test",
        section=EvaluationSection(),
        primary_metric="macro_f1",
        seed=seed,
        baseline_predictions={},
    ).to_dict()["metrics"]
    return {name: metrics[name] for name in ("accuracy", "macro_f1")}


def _clock() -> Any:
    """A callback that notes each evaluation, and the time of evaluations and checkpoints (`aside`)."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.curve: list[tuple[float, float]] = []
            self.began = self.mark = self.aside = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            # Evaluation and checkpoint come next.
            self.mark = time.perf_counter()

        on_epoch_end = on_step_end

        def on_evaluate(self, *_: Any, metrics: dict[str, float], **__: Any) -> None:
            self.on_save()
            self.curve.append((round(self.mark - self.began, 3), metrics["eval_accuracy"]))

        def on_save(self, *_: Any, **__: Any) -> None:
            before, self.mark = self.mark, time.perf_counter()
            self.aside += self.mark - before

    return Clock()
