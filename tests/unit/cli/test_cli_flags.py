from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.config.fields import fields
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES


def parse(*arguments: str, prefixes: tuple[str, ...] = ()) -> RecipeArguments:
    seen: list[RecipeArguments] = []

    @click.command()
    @recipe_flags(*prefixes)
    def command(recipe: RecipeArguments) -> None:
        seen.append(recipe)

    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if result.exception:
        raise result.exception
    return seen[0]


def help_text(*prefixes: str) -> str:
    @click.command()
    @recipe_flags(*prefixes)
    def command(**_: Any) -> None:
        pass

    return " ".join(CliRunner().invoke(command, ["--help"]).stdout.split())


def test_only_what_was_given_is_passed() -> None:
    assert parse() == RecipeArguments()
    assert parse("--epochs", "3", "--force", "--text", "a", "--text", "b").overrides == {
        "training.num_epochs": "3",
        "data.force": True,
        "data.text": ["a", "b"],
    }


def test_flags_become_values_with_their_origin(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("seed: 5\ntraining: {num_epochs: 2}\n")
    arguments = parse("--epochs", "3", "--learning-rate", "3e-5", "--recipe", str(file), "--set", "data.label=2")
    resolved = arguments.override(data__path="x.csv").resolve()
    assert resolved.recipe.training.num_epochs == 3
    assert resolved.recipe.optimizer.learning_rate == 3e-5
    assert {key: origin for key, origin in resolved.origins.items() if origin != "default"} == {
        "seed": "file",
        "data.path": "flag",
        "data.label": "flag",
        "optimizer.learning_rate": "flag",
        "training.num_epochs": "flag",
    }


def test_all_faults_of_flags_and_settings_come_at_once() -> None:
    arguments = parse("--epochs", "many", "--precision", "fp23", "--set", "optimizer.beta3=1", "--set", "x")
    with pytest.raises(RecipeError) as caught:
        arguments.resolve()
    assert len(caught.value.problems) == 4


def test_every_flag_of_the_recipe_is_offered_with_its_description() -> None:
    text = help_text()
    for field in fields():
        if field.flag:
            assert f"{field.flag} " in text
            assert " ".join(field.description.split()) in text
            assert f"[{field.key}" in text
    assert f"--strategy [{'|'.join(STRATEGIES.names())}]" in text
    assert "[training.batch_size; default: 32]" in text


def test_prefixes_choose_the_flags() -> None:
    text = help_text("data", "model.name")
    assert "--label" in text and "--model" in text and "--set" in text
    assert "--epochs" not in text
    assert parse("--model", "m", prefixes=("model",)).overrides == {"model.name": "m"}
