"""The worlds of the doctor's benchmark (a data set with a model), and its healthy runs.

Thresholds were set on the worlds of `calibration`; those of `test` share neither data set nor model with them, save
that the weights of the one real backbone for images serve on both sides, on pictures of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["calibration", "test"]

# What a run leaves out that no condition reads, or that the fault at hand does not need, to save time.
QUIET: dict[str, Any] = {
    "retention.measure": False,
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.compile": False,
}


@dataclass(frozen=True)
class World:
    """A data set with a model, and how long it is trained on.

    Args:
        name: short.
        split: which side of the benchmark it is on.
        data: key of `world_data.POOLS`.
        model: `starter`, or a key of `world_models.MODELS`.
        rows: split -> rows.
        epochs: passes over the training rows.
        batch_size: rows of a step.
        kind: `text` or `image`.
        long: whether most texts have more than a dozen words.
        small_class: its own rare class, where it has one: a finding about it is true.
    """

    name: str
    split: Split
    data: str
    model: str
    rows: Mapping[str, int]
    epochs: int = 3
    batch_size: int = 16
    kind: Literal["text", "image"] = "text"
    long: bool = False
    small_class: bool = False


def _rows(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


WORLDS = {
    world.name: world
    for world in (
        World("trec-starter", "calibration", "trec", "starter", _rows(320, 160, 80), small_class=True),
        World("mr-electra", "calibration", "mr", "electra4", _rows(320, 160, 80), long=True),
        World(
            "hymenoptera-mobilenet",
            "calibration",
            "hymenoptera",
            "mobilenet_imagenet",
            _rows(220, 80, 80),
            epochs=4,
            kind="image",
        ),
        World("tickets-distil", "calibration", "tickets", "distil3", _rows(360, 160, 80), epochs=5, long=True),
        World("diseases-bert2", "calibration", "diseases", "bert2", _rows(360, 160, 80), epochs=5, long=True),
        World(
            "cifar10-insects",
            "calibration",
            "cifar10",
            "mobilenet_insects",
            _rows(240, 100, 60),
            epochs=4,
            kind="image",
        ),
        World("stereotypes-roberta", "test", "stereotypes", "roberta3", _rows(360, 160, 80), epochs=5, long=True),
        World("numbers-bert5", "test", "numbers", "bert5", _rows(360, 160, 80), epochs=4),
        World("digits-mobilenet", "test", "digits", "mobilenet_imagenet", _rows(240, 100, 60), epochs=5, kind="image"),
    )
}

# Worlds of healthy runs only.
HEALTHY_WORLDS = {
    world.name: world
    for world in (
        World("mr-starter", "calibration", "mr", "starter", _rows(320, 160, 80), long=True),
        World("trec-electra", "calibration", "trec", "electra4", _rows(320, 160, 80), small_class=True),
        World("diseases-distil", "calibration", "diseases", "distil3", _rows(360, 160, 80), epochs=4, long=True),
        World("tickets-bert2", "calibration", "tickets", "bert2", _rows(360, 160, 80), epochs=7, long=True),
        World("genres-roberta", "test", "genres", "roberta3", _rows(360, 160, 80)),
        World("genres-bert5", "test", "genres", "bert5", _rows(360, 160, 80)),
    )
}


@dataclass(frozen=True)
class Healthy:
    """A run in which nothing was planted.

    Args:
        name: tells it from the others of its world.
        world: its world.
        settings: recipe keys beside those of the world.
        rows: other numbers of rows, split -> rows.
        epochs: other than the world's.
        batch_size: other than the world's.
    """

    name: str
    world: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    epochs: int | None = None
    batch_size: int | None = None

    @property
    def key(self) -> str:
        """What stands in place of a fault in a run's name."""
        return f"healthy-{self.name}"


LORA = {"strategy.name": "lora"}
BITFIT = {"strategy.name": "bitfit"}
GRADUAL = {"strategy.name": "gradual"}
DISCRIMINATIVE = {"strategy.name": "discriminative"}
LAST_TWO = {"strategy.name": "partial", "strategy.last_blocks": 2}
LP_FT = {"strategy.name": "lp-ft"}


def _text_runs(first: str, second: str) -> tuple[Healthy, ...]:
    """Runs that differ in what people vary: strategy, length, rows, batch, schedule, regularisation."""
    short, long = {"train": 200, "validation": 100}, {"train": 520}
    epochs = {name: world_of(name).epochs for name in (first, second)}
    return (
        Healthy("default", first),
        Healthy("default", second),
        Healthy("batch32", first, batch_size=32, epochs=2 * epochs[first]),
        Healthy("batch32", second, batch_size=32, epochs=2 * epochs[second]),
        Healthy("batch8", second, batch_size=8),
        Healthy("short", first, rows=short, epochs=epochs[first] + 1),
        Healthy("short", second, rows=short, epochs=epochs[second] + 1),
        Healthy("long", first, rows=long),
        Healthy("long", second, rows=long),
        Healthy("lora", first, LORA),
        Healthy("bitfit", second, BITFIT, epochs=epochs[second] + 2),
        Healthy("gradual", first, GRADUAL, epochs=epochs[first] + 2),
        Healthy("discriminative", second, DISCRIMINATIVE),
        Healthy("last-two", first, LAST_TWO),
        Healthy("lp-ft", second, LP_FT),
        Healthy("cosine", first, {"schedule.name": "cosine", "regularization.label_smoothing": 0.1}),
        Healthy("dropout", second, {"model.dropout": 0.2, "optimizer.weight_decay": 0.1}),
        Healthy("half-rate", second, {"rate_factor": 0.5}, epochs=epochs[second] + 2),
    )


def _image_runs(world: str) -> tuple[Healthy, ...]:
    return (
        Healthy("default", world),
        Healthy("batch32", world, batch_size=32, epochs=6),
        Healthy("head", world, {"strategy.name": "partial"}, epochs=5),
        Healthy("discriminative", world, DISCRIMINATIVE),
    )


def world_of(name: str) -> World:
    """A world by its name.

    Raises:
        KeyError: there is none of this name.
    """
    return {**WORLDS, **HEALTHY_WORLDS}[name]


HEALTHY = (
    *_text_runs("trec-starter", "mr-electra"),
    *_image_runs("hymenoptera-mobilenet"),
    Healthy("default", "mr-starter"),
    Healthy("default", "trec-electra"),
    Healthy("lora", "mr-starter", LORA, epochs=4),
    *_text_runs("tickets-distil", "diseases-bert2"),
    *_image_runs("cifar10-insects"),
    Healthy("default", "diseases-distil"),
    Healthy("default", "tickets-bert2"),
    Healthy("lora", "diseases-distil", LORA, epochs=4),
    *_text_runs("stereotypes-roberta", "numbers-bert5"),
    *_image_runs("digits-mobilenet"),
    Healthy("default", "genres-roberta"),
    Healthy("default", "genres-bert5"),
    Healthy("lora", "genres-bert5", LORA, epochs=4),
)
