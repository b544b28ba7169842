"""The recipe's section: what it takes from flags and files, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.config.load import build_recipe, recipe_text
from trimtab.config.regularization import RegularizationSection
from trimtab.core.errors import RecipeError


def test_defaults_are_off() -> None:
    given = RegularizationSection().model_dump()

    assert not any(given.values())


def test_settings_of_the_command_line() -> None:
    made = build_recipe(
        settings=[
            "regularization.dropout_by_depth=[0, 0.3]",
            "regularization.class_weights={refund: 2, 1: 3.5}",
            "regularization.l2_sp=1e-3",
        ]
    ).recipe.regularization

    assert made.dropout_by_depth == [0.0, 0.3]
    assert made.class_weights == {"refund": 2.0, "1": 3.5}
    assert made.l2_sp == 1e-3


def test_a_run_reads_its_own_recipe_back(tmp_path: Path) -> None:
    made = build_recipe(
        settings=[
            "regularization.class_weights={no: 2, 1: 3.5, 很好: 0.5}",
            "regularization.dropout_by_depth=[0.1, 0.2, 0.3, 0]",
            "regularization.early_stopping_patience=3",
        ]
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_text(made), encoding="utf-8")

    assert build_recipe(file=file).recipe.regularization == made.recipe.regularization


def test_mapping_of_labels_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("regularization:\n  class_weights:\n    a: 2\n    0: 0.5\n", encoding="utf-8")

    assert build_recipe(file=file).recipe.regularization.class_weights == {"a": 2.0, "0": 0.5}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"r_drop": 1, "mixup": 0.4}, "r_drop and mixup exclude each other"),
        ({"focal_gamma": 2, "label_smoothing": 0.1}, "focal_gamma and label_smoothing exclude each other"),
        ({"l2": 0.1, "l2_sp": 0.1}, "set one of them to 0"),
        ({"l2_sp_head": 0.1}, "no effect without l2_sp"),
        ({"early_stopping_min_change": 0.01}, "no effect without early_stopping_patience"),
        ({"dropout_by_depth": [0.1]}, "found 1 number"),
        ({"dropout_by_depth": [True, 0.1]}, "a list of numbers"),
        ({"dropout_by_depth": [0.1, 1.0]}, "allowed"),
        ({"class_weights": {}}, "empty mapping"),
        ({"class_weights": {True: 1.0}}, "in quotes"),
        ({"class_weights": {"a": True}}, "in quotes"),
        ({"class_weights": {"a": 0}}, "allowed"),
        ({"class_weights": {"a": float("inf")}}, "allowed"),
        ({"class_weights": "balance"}, "allowed"),
        ({"mixout": 1.0}, "allowed"),
        ({"l1": -1}, "allowed"),
        ({"early_stopping_patience": 0}, "allowed"),
    ],
)
def test_bad_values_are_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe(base={"regularization": values})

    assert any(told in problem and "regularization" in problem for problem in caught.value.problems)


def test_every_contradiction_is_told() -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe(base={"regularization": {"r_drop": 1, "mixup": 1, "l2": 1, "l2_sp": 1}})

    assert "r_drop and mixup" in str(caught.value)
    assert "l2 pulls" in str(caught.value)
