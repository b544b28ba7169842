"""A finding's change of the recipe: the diff that is shown, and the flags that make it."""

from __future__ import annotations

import shlex

import pytest
import yaml

from trimtab.cli.flags import RecipeOption
from trimtab.cli.main import cli
from trimtab.cli.train import command as train_command
from trimtab.config.load import build_recipe
from trimtab.monitor.remedy import command_line, recipe_diff


def test_a_changed_value_stands_below_its_section() -> None:
    assert recipe_diff({"optimizer.learning_rate": 6e-4, "seed": 0}, {"optimizer.learning_rate": 2e-5, "seed": 1}) == [
        "  optimizer:",
        "-   learning_rate: 0.0006",
        "+   learning_rate: 2.0e-05",
        "- seed: 0",
        "+ seed: 1",
    ]


def test_what_stays_is_not_shown() -> None:
    assert recipe_diff({"seed": 1, "task.max_length": 8}, {"seed": 1, "task.max_length": 8}) == []
    assert recipe_diff({"seed": 1}, {}) == []


def test_an_unknown_recipe_shows_the_new_values_alone() -> None:
    assert recipe_diff({}, {"optimizer.learning_rate": 2e-5}) == ["  optimizer:", "+   learning_rate: 2.0e-05"]


@pytest.mark.parametrize("name", ["strategy", "strategy.name"])
def test_another_plugin_takes_the_options_of_the_one_before_with_it(name: str) -> None:
    recipe = {"strategy": "gradual", "strategy.blocks_per_stage": 1, "seed": 0}
    assert recipe_diff(recipe, {name: "partial", "strategy.last_blocks": 2}) == [
        "  strategy:",
        "-   name: gradual",
        "+   name: partial",
        "-   blocks_per_stage: 1",
        "+   last_blocks: 2",
    ]


def test_nested_recipes_are_read_too() -> None:
    nested = {"strategy": {"name": "partial", "last_blocks": 1}, "optimizer": {"learning_rate": 1e-3}}
    assert recipe_diff(nested, {"strategy.last_blocks": 2}) == [
        "  strategy:",
        "-   last_blocks: 1",
        "+   last_blocks: 2",
    ]


def test_the_added_lines_are_yaml_of_the_new_values() -> None:
    resolved = build_recipe(overrides={"optimizer.learning_rate": 1e-3}).values()
    change = {"optimizer.learning_rate": 2e-5, "model.dropout": 0.2, "data.label": "no", "seed": 3}
    kept = [line[2:] for line in recipe_diff(resolved, change) if not line.startswith("-")]
    assert yaml.safe_load("\n".join(kept)) == {
        "optimizer": {"learning_rate": 2e-5}, "model": {"dropout": 0.2}, "data": {"label": "no"}, "seed": 3,
    }  # fmt: skip


def test_flags_are_used_where_there_are_some() -> None:
    change = {"optimizer.learning_rate": 2e-5, "regularization.dropout": 0.2, "strategy.name": "partial"}
    assert command_line(change) == "--learning-rate 2e-05 --set regularization.dropout=0.2 --strategy partial"
    assert command_line({}) == ""


def test_values_that_a_flag_cannot_say_are_set() -> None:
    assert command_line({"data.force": True}) == "--force"
    assert command_line({"data.force": False}) == "--set data.force=false"
    assert command_line({"data.max_rows": None}) == "--set data.max_rows=null"


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.learning_rate": 2e-5},
        {"strategy": "partial", "strategy.last_blocks": 2},
        {"data.text": ["a b", "it's"], "data.label": "; rm -rf /"},
        {"data.label": "[x]", "data.force": True, "data.max_rows": None},
        {"data.label": "no", "cache.enabled": False, "model.name": "my model"},
    ],
)
def test_what_is_typed_gives_the_change(change: dict) -> None:
    words = shlex.split(command_line(change))
    context = train_command.make_context("train", ["data.csv", *words], parent=cli.make_context("trimtab", []))
    with context:
        flags = [parameter for parameter in train_command.params if isinstance(parameter, RecipeOption)]
        given = {option.recipe_field.key: context.params[str(option.name)] for option in flags}
        overrides = {key: value for key, value in given.items() if value not in (None, (), False)}
        resolved = build_recipe(overrides=overrides, settings=context.params["recipe_settings"]).values()
    assert {key: resolved[key] for key in change} == change
