from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.config.fields import FieldInfo, plain_fields, plugin_kinds
from trimtab.config.load import build_recipe, recipe_text, with_inferred, write_recipe
from trimtab.config.yaml_text import format_value, parse_value
from trimtab.core.errors import RunError

TRICKY = ["no", "3e-5", "null", "", " ", "a: b", "# x", "\n", "\x85", "é", "标签", "🙂", "'", '"', "\\", "[a", "1_000"]
texts = st.one_of(st.text(max_size=12), st.sampled_from(TRICKY))


def values_of(field: FieldInfo) -> st.SearchStrategy[Any]:
    if field.choices:
        return st.sampled_from(field.choices)
    if field.key == "evaluation.target":
        return st.sampled_from([None, "macro_f1=0.9"])
    if field.key == "evaluation.metric":
        return st.sampled_from(["auto", "mcc"])
    if field.key == "training.device":
        return st.sampled_from(["auto", "cpu", "cuda:1"])
    if field.types == {bool}:
        return st.booleans()
    if bool in field.types:
        return st.one_of(st.booleans(), st.just("auto"))
    if list in field.types:
        return st.lists(texts, min_size=1, max_size=2)
    if int in field.types:
        return st.integers(100, 10**20)
    if float in field.types:
        return st.floats(0.51, 0.89)
    return texts


# Keys of the other sections do not go with each other in any combination; `SETS` has some that do.
FREE = ("", "data", "training", "checkpoint", "evaluation")
plain = st.fixed_dictionaries(
    {}, optional={key: values_of(field) for key, field in plain_fields().items() if field.section in FREE}
)
SETS: list[dict[str, Any]] = [
    {},
    {"model.extend_vocabulary": True, "model.vocabulary_vectors": "vectors/标签", "model.dropout": 0.25},
    {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "optimizer.nesterov": True},
    {"schedule.name": "cosine_restarts", "schedule.cycles": 2, "schedule.warmup_steps": 7},
    {"regularization.class_weights": {"a: b": 2.0, "no": 0.5}, "regularization.dropout_by_depth": [0.0, 0.5]},
    {"forgetting.ewc": 1.5, "forgetting.text": "# x", "retention.measure": False},
    {"augmentation.word_swap": 0.25, "weights.source": "ema", "weights.ema_decay": 0.5},
]
small_rates = st.one_of(st.just("auto"), st.floats(1e-300, 1e300, allow_nan=False))
strategy_options = st.fixed_dictionaries(
    {},
    optional={
        "strategy.last_blocks": st.integers(0, 98),
        "strategy.patterns": st.lists(texts, max_size=3),
        "strategy.rate": st.floats(min_value=1e-300, max_value=1e300),
    },
)


@settings(max_examples=50, deadline=None)
@given(
    from_python=plain,
    from_flags=plain,
    rate=small_rates,
    strategy=st.one_of(st.just({}), strategy_options.map(lambda options: {"strategy": "partial", **options})),
    task=st.sampled_from([{}, {"task.max_length": 16}, {"task": "image-classification", "task.image_size": 8}]),
    infer=st.booleans(),
    together=st.sampled_from(SETS),
)
def test_what_is_written_reads_back_equal(
    from_python: dict[str, Any],
    from_flags: dict[str, Any],
    rate: Any,
    strategy: Any,
    task: Any,
    infer: bool,
    together: dict[str, Any],
) -> None:
    flags = {**from_flags, **together, **strategy, **task, "optimizer.learning_rate": rate}
    resolved = build_recipe(base=from_python, overrides=flags)
    if infer:
        name = "image-classification" if "task" in task else "text-classification"
        resolved = with_inferred(resolved, {"task": name, "training.num_epochs": 3})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        write_recipe(path, resolved, {"training.num_epochs": "small\ndata # \x00"})
        assert build_recipe(file=path) == resolved


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts), st.lists))
def test_a_value_on_one_line_reads_back_with_its_type(value: Any) -> None:
    line = format_value(value)
    assert "\n" not in line
    again = parse_value(line)
    assert again == value
    assert type(again) is type(value)


def test_every_line_tells_its_origin_and_the_note() -> None:
    resolved = with_inferred(build_recipe(overrides={"seed": 3}), {"optimizer.learning_rate": 1e-4})
    lines = recipe_text(resolved, {"optimizer.learning_rate": "narrow model"}).splitlines()
    assert lines[2] == "seed: 3                                   # flag"
    assert "  learning_rate: 0.0001                   # inferred: narrow model" in lines
    assert "  name: full                              # default" in lines
    end = lines.index("origins:  # where each value that is not a default came from")
    assert lines[end + 1 :] == ["  seed: flag", "  optimizer.learning_rate: inferred"]
    assert all("  # " in line or line.endswith(":") for line in lines[2:end])


def test_readers_of_yaml_1_1_see_the_same_values() -> None:
    resolved = build_recipe(overrides={"data.label": "no", "optimizer.learning_rate": 3e-5})
    read = yaml.safe_load(recipe_text(resolved))
    assert read["data"]["label"] == "no"
    assert read["optimizer"]["learning_rate"] == 3e-5
    assert read["optimizer"]["epsilon"] is None
    assert read["evaluation"]["confidence"] == 0.95


def test_a_changed_line_of_a_run_recipe_counts_as_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, build_recipe(overrides={"seed": 3}))
    path.write_text(path.read_text().replace("batch_size: 32", "batch_size: 16"))
    resolved = build_recipe(file=path)
    assert resolved.recipe.training.batch_size == 16
    given_keys = {key: origin for key, origin in resolved.origins.items() if origin != "default"}
    assert given_keys == {"seed": "flag", "training.batch_size": "file"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file or directory"):
        write_recipe(tmp_path / "none" / "recipe.yaml", build_recipe())
    assert list(tmp_path.iterdir()) == []


def test_plugin_kinds_are_those_of_the_recipe() -> None:
    assert list(plugin_kinds()) == ["task", "strategy"]
