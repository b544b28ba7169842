"""The pretrained model's state is computed once for all runs from it, and comes back as it was."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from trimtab.config.recipe import EvaluationSection, ModelSection
from trimtab.config.retention import RetentionSection
from trimtab.core.cache import DiskCache
from trimtab.evaluation.retention import measure
from trimtab.evaluation.retention.kept import keep_state, read_state
from trimtab.evaluation.retention.material import RetentionMaterial, read_material
from trimtab.evaluation.retention.state import ClassLosses, RetentionState, TextLosses
from trimtab.models.loading import load_model
from trimtab.models.processors import load_processor
from trimtab.models.sources import ModelSource, resolve_model
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions

TASK = TextClassification(TextClassificationOptions(), ("a", "b"))
EVALUATION = EvaluationSection(bootstrap_samples=100)


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache("retention", tmp_path / "cache", 1 << 24)


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    return resolve_model(str(tiny.save_bert(tmp_path / "model")))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that the measurement reads."""
    found: list[str] = []
    real = measure.load_model

    def counted(source: ModelSource, **named: Any) -> Any:
        found.append(source.name)
        return real(source, **named)

    monkeypatch.setattr(measure, "load_model", counted)
    return found


def material_of(source: ModelSource, tmp_path: Path) -> RetentionMaterial:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in tiny.labelled_texts(20)))
    section = RetentionSection(text=str(texts), rows=20)
    material = read_material(section, "text", source, load_processor(source, "text"), seed=0)
    assert material is not None
    return material


def measured(source: ModelSource, material: RetentionMaterial, cache: DiskCache | None) -> dict[str, Any]:
    section = ModelSection()
    torch.manual_seed(1)
    model = load_model(source, auto_class=TASK.auto_class, labels=TASK.labels, section=section, modality="text").model
    with torch.no_grad():
        for parameter in model.base_model.encoder.layer[1].parameters():
            parameter.add_(0.1)
    return measure.measure_retention(model, material, source, TASK, section, EVALUATION, cache=cache).to_dict()


def test_the_second_time_the_pretrained_model_is_not_run(
    source: ModelSource, tmp_path: Path, cache: DiskCache, loads: list[str]
) -> None:
    material = material_of(source, tmp_path)
    plain = measured(source, material, None)
    assert len(loads) == 1 and cache.entries() == []
    first, second = measured(source, material, cache), measured(source, material, cache)
    assert len(loads) == 2
    assert first == second == plain


def test_other_weights_and_other_material_are_measured_anew(
    source: ModelSource, tmp_path: Path, cache: DiskCache, loads: list[str]
) -> None:
    material = material_of(source, tmp_path)
    measured(source, material, cache)
    measured(source, replace(material, texts=material.texts[:-1]), cache)
    measured(source, replace(material, seed=1), cache)
    os.utime(Path(source.location) / "model.safetensors", ns=(1, 1))
    measured(source, material, cache)
    assert len(loads) == 4


def test_a_damaged_entry_is_made_anew(source: ModelSource, tmp_path: Path, cache: DiskCache, loads: list[str]) -> None:
    material = material_of(source, tmp_path)
    first = measured(source, material, cache)
    ((key, _, _),) = cache.entries()
    file = cache.path / key / "state.npz"
    file.write_bytes(file.read_bytes()[:-100])
    assert measured(source, material, cache) == measured(source, material, cache) == first
    assert len(loads) == 2


@pytest.mark.parametrize("whole", [True, False])
def test_every_part_comes_back(cache: DiskCache, whole: bool) -> None:
    draw = np.random.default_rng(0)
    state = RetentionState(
        {"block 0": draw.normal(size=(3, 2)).astype(np.float32), "block 1": np.ones((3, 1))}, np.ones(3)
    )
    if whole:
        state = replace(
            state,
            language=TextLosses("masked", draw.normal(size=3), np.arange(3)),
            pairs=draw.normal(size=2),
            source=ClassLosses(draw.normal(size=2), np.array([True, False])),
        )
    keep_state(cache, "key", state)
    again = read_state(cache, "key")
    assert again is not None and list(again.blocks) == list(state.blocks)
    for field in fields(RetentionState):
        np.testing.assert_equal(_plain(getattr(again, field.name)), _plain(getattr(state, field.name)))
    assert read_state(cache, "other") is None and read_state(None, "key") is None and read_state(cache, None) is None


def _plain(value: Any) -> Any:
    return vars(value) if hasattr(value, "__dict__") else value
