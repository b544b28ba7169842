from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.config.load import build_recipe, with_inferred
from trimtab.config.recipe import Recipe, TrainingSection
from trimtab.core.errors import RecipeError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "my.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems_of(**arguments: Any) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        build_recipe(**arguments)
    return caught.value.problems


def test_nothing_given_is_the_default_recipe() -> None:
    resolved = build_recipe()
    assert resolved.recipe == Recipe()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.values()["training.batch_size"] == 32
    assert resolved.values()["strategy"] == "full"
    assert set(resolved.values()) == set(resolved.origins)


def test_layers_go_over_each_other_and_keep_their_origin(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 2\ntraining: {batch_size: 8, num_epochs: 4}\n")
    resolved = build_recipe(
        base={"seed": 1, "training": {"num_epochs": 9}, "data.label": "y"},
        file=file,
        overrides={"training.num_epochs": "5"},
        settings=["optimizer.learning_rate=3e-5"],
    )
    recipe = resolved.recipe
    assert (recipe.seed, recipe.training.batch_size, recipe.training.num_epochs) == (2, 8, 5)
    assert recipe.optimizer.learning_rate == 3e-5
    assert {key: origin for key, origin in resolved.origins.items() if origin != "default"} == {
        "seed": "file",
        "data.label": "python",
        "training.batch_size": "file",
        "training.num_epochs": "flag",
        "optimizer.learning_rate": "flag",
    }


def test_overrides_of_the_python_api_have_their_own_origin() -> None:
    resolved = build_recipe(overrides={"seed": 3, "data.path": Path("a.csv")}, override_origin="python")
    assert resolved.origins["seed"] == "python"
    assert resolved.recipe.data.path == "a.csv"


def test_a_recipe_as_base_counts_what_was_set() -> None:
    base = Recipe(training=TrainingSection(batch_size=32))
    base.optimizer.weight_decay = 0.5
    resolved = build_recipe(base=base)
    assert resolved.recipe == base
    given = {key for key, origin in resolved.origins.items() if origin == "python"}
    assert given == {"training.batch_size", "optimizer.weight_decay"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("3e-5", 3e-5), ("1E3", 1000.0), (".5", 0.5), ("2", 2.0), ("1.5e+2", 150.0), ("auto", "auto"), ("'3e-5'", 3e-5)],
)
def test_numbers_are_what_they_look_like(tmp_path: Path, text: str, value: Any) -> None:
    expected = build_recipe(settings=[f"optimizer.learning_rate={text}"]).recipe.optimizer.learning_rate
    from_file = build_recipe(file=write(tmp_path, f"optimizer:\n  learning_rate: {text}\n")).recipe
    assert expected == value
    assert from_file.optimizer.learning_rate == value


@pytest.mark.parametrize("word", ["no", "on", "Yes", "off", "y", "1:30", "2020-01-01"])
def test_words_of_yaml_1_1_stay_texts(tmp_path: Path, word: str) -> None:
    assert build_recipe(file=write(tmp_path, f"data: {{label: {word}}}")).recipe.data.label == word


def test_leading_zero_is_decimal(tmp_path: Path) -> None:
    assert build_recipe(file=write(tmp_path, "seed: 010")).recipe.seed == 10


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.label=2", "2"),
        ("data.label=true", "true"),
        ("data.label='quoted'", "quoted"),
        ("data.label=null", None),
        ("data.label=", None),
        ("data.label=a=b", "a=b"),
        ("data.label=#", "#"),
        ("data.label= ", " "),
        ("data.label=[x", "[x"),
    ],
)
def test_set_on_a_text_key_takes_the_text_as_it_is(setting: str, value: Any) -> None:
    assert build_recipe(settings=[setting]).recipe.data.label == value


def test_set_takes_lists_null_and_booleans() -> None:
    settings = ["data.text=[a, 1]", "training.max_grad_norm=null", "data.force=true", "strategy.patterns=[x, y]"]
    recipe = build_recipe(settings=[*settings, "strategy=partial"]).recipe
    assert recipe.data.text == ["a", "1"]
    assert recipe.training.max_grad_norm is None
    assert recipe.data.force is True
    assert recipe.strategy.options["patterns"] == ["x", "y"]
    assert build_recipe(settings=["data.text=one"]).recipe.data.text == ["one"]


def test_the_last_setting_of_a_key_holds() -> None:
    assert build_recipe(overrides={"seed": "1"}, settings=["seed=2", "seed=3"]).recipe.seed == 3


@pytest.mark.parametrize("name", ["strategy=partial", "strategy.name=partial"])
@pytest.mark.parametrize("swap", [False, True])
def test_plugin_and_options_in_any_order(name: str, swap: bool) -> None:
    settings = [name, "strategy.last_blocks=2"]
    resolved = build_recipe(settings=settings[::-1] if swap else settings)
    assert resolved.recipe.strategy.flat() == {
        "name": "partial",
        "last_blocks": 2,
        "patterns": [],
        "mode": "soft",
        "rate": 0.5,
    }
    assert resolved.origins["strategy.last_blocks"] == "flag"
    assert resolved.origins["strategy.mode"] == "default"


@pytest.mark.parametrize(
    "text",
    [
        "strategy: {name: partial, last_blocks: 2}",
        "strategy.name: partial\nstrategy.last_blocks: 2",
        "strategy: {name: partial, options: {last_blocks: 2}}",
    ],
)
def test_forms_of_a_plugin_section_in_a_file(tmp_path: Path, text: str) -> None:
    strategy = build_recipe(file=write(tmp_path, text)).recipe.strategy
    assert (strategy.name, strategy.options["last_blocks"]) == ("partial", 2)


def test_naming_another_plugin_drops_the_options_of_the_one_before(tmp_path: Path) -> None:
    file = write(tmp_path, "strategy: {name: partial, last_blocks: 2}")
    assert build_recipe(file=file, settings=["strategy=full"]).recipe.strategy.flat() == {"name": "full"}
    kept = build_recipe(file=file, settings=["strategy=partial"]).recipe.strategy
    assert kept.options["last_blocks"] == 2


def test_options_wait_for_the_inferred_task() -> None:
    resolved = build_recipe(settings=["task=auto", "task.max_length=16"])
    assert resolved.recipe.task.flat() == {"name": "auto", "max_length": 16}
    chosen = with_inferred(resolved, {"task": "text-classification", "training.num_epochs": 3})
    assert chosen.recipe.task.flat() == {"name": "text-classification", "max_length": 16}
    assert chosen.recipe.training.num_epochs == 3
    assert chosen.origins["task"] == chosen.origins["training.num_epochs"] == "inferred"
    assert chosen.origins["task.max_length"] == "flag"
    with pytest.raises(RecipeError) as caught:
        with_inferred(resolved, {"task": "image-classification"})
    assert caught.value.problems == (
        "task.max_length (command line): unknown option of the task 'image-classification'. It is an option of "
        "'text-classification'.",
    )


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "learning_rate: 1\ntrainning: {a: 1}\ntraining:\n  num_epoch: 3\n  batch_size: true\n  learning_rate: 2\n"
        "model: starter\nevaluation: {target: f1}\noptimizer: {beta1: .nan}\n",
    )
    found = problems_of(
        file=file,
        overrides={"seed": "x", "data.text": ["a", "b", "c"], "lr": 3, "training.precision": "fp23"},
        settings=[
            "foo",
            "=1",
            "strategy=parial",
            "strategy.lst_blocks=3",
            "task.max_lenth=2",
            "training.num_epochs=[1",
        ],
    )
    assert sorted(found) == sorted(
        [
            "model (my.yaml, line 7): found 'starter', but model is a section; set a key of it, such as model.name.",
            "--set foo: not of the form key=value, for example optimizer.learning_rate=3e-5.",
            "--set =1: not of the form key=value, for example optimizer.learning_rate=3e-5.",
            "learning_rate (my.yaml, line 1): unknown key. Did you mean 'optimizer.learning_rate'?",
            "trainning (my.yaml, line 2): unknown key. Did you mean 'training'?",
            "training.num_epoch (my.yaml, line 4): unknown key. Did you mean 'training.num_epochs'?",
            "training.learning_rate (my.yaml, line 6): unknown key. Did you mean 'optimizer.learning_rate'?",
            "lr (command line): unknown key. Did you mean 'optimizer.learning_rate'?",
            "task.max_lenth (command line): unknown key. Did you mean 'task.max_length'?",
            "strategy (command line): no strategy is called 'parial'. Did you mean 'partial'? Known: full, partial.",
            "strategy.lst_blocks (command line): unknown key. Did you mean 'strategy.last_blocks'?",
            "seed (command line): found 'x'; allowed: whole number of at least 0.",
            "data.text (command line): names 3 columns; one text column, or two for pairs, can be used.",
            "optimizer.beta1 (my.yaml, line 9): found .nan; allowed: number of at least 0 and below 1 or null.",
            "training.num_epochs (command line): found '[1'; allowed: whole number of at least 1 or `auto`.",
            "training.batch_size (my.yaml, line 5): found true; allowed: whole number of at least 1.",
            "training.precision (command line): found 'fp23'; allowed: `auto`, `fp32` or `bf16`. Did you mean 'fp32'?",
            "evaluation.target (my.yaml, line 8): found 'f1'; allowed: metric=number, for example macro_f1=0.9.",
        ]
    )


def test_problems_of_plugin_options() -> None:
    assert problems_of(
        settings=["strategy=partial", "strategy.last_block=2", "strategy.rate=-1", "strategy.mode=hart"]
    ) == (
        "strategy.mode (command line): found 'hart'; allowed: `soft` or `hard`. Did you mean 'hard'?",
        "strategy.rate (command line): found -1; allowed: number above 0.",
        "strategy.last_block (command line): unknown option of the strategy 'partial'. Did you mean "
        "'strategy.last_blocks'? Options: last_blocks, patterns, mode, rate.",
    )
    assert problems_of(settings=["strategy.last_blocks=2"]) == (
        "strategy.last_blocks (command line): unknown option of the strategy 'full'. It is an option of 'partial'.",
    )
    assert problems_of(settings=["strategy=partial", "strategy.last_blocks=99"]) == (
        "strategy (command line): 99 blocks is too much of a good thing.",
    )
    assert problems_of(base={"strategy": 3}) == (
        "strategy (argument): found 3; allowed: a name, or a mapping with name and options.",
    )
    assert problems_of(base={"strategy": {"name": ["x"]}}) == (
        "strategy (argument): no strategy is called a list ('x'). Known: full, partial.",
    )


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("data.validation_fraction", 0, "number above 0 and below 0.9"),
        ("data.max_dropped_share", 1.5, "number from 0 to 1"),
        ("training.max_steps", 0, "whole number of at least 1 or null"),
        ("training.batch_size", 1.5, "whole number of at least 1"),
        ("training.batch_size", None, "whole number of at least 1"),
        ("optimizer.weight_decay", float("inf"), "number of at least 0 or null"),
        ("optimizer.learning_rate", True, "number above 0 or `auto`"),
        ("data.force", "perhaps", "true or false"),
        ("model.name", {"a": 1}, "text"),
        ("data.label", 3, "text or null"),
        ("data.text", [1, 2], "text, list of text or null"),
    ],
)
def test_wrong_values_tell_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    (problem,) = problems_of(overrides={key: value})
    assert problem.startswith(f"{key} (command line): found ")
    assert problem.endswith(f"; allowed: {allowed}.")
    assert "http" not in problem


@pytest.mark.parametrize("target", ["f1", "=0.9", "f1=", "f1=nan", "f1=high"])
def test_target_must_be_metric_and_number(target: str) -> None:
    (problem,) = problems_of(overrides={"evaluation.target": target})
    assert problem.startswith(f"evaluation.target (command line): found {target!r}; allowed: metric=number")


def test_values_given_in_two_forms_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 1\ntraining: {batch_size: 1}\ntraining.batch_size: 2\n")
    assert problems_of(file=file) == ("training.batch_size (my.yaml, line 3): given twice.",)


def test_an_empty_section_is_no_section(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 1\ntraining:\n  # batch_size: 8\nstrategy:\n")
    assert build_recipe(file=file).recipe == Recipe(seed=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "my.yaml is empty"),
        ("  \n\n", "my.yaml is empty"),
        ("# only this\n", "my.yaml holds no keys"),
        ("- a\n- b\n", "is not a mapping of keys to values: found a list ('a', 'b')"),
        ("just text", "is not a mapping of keys to values: found 'just text'"),
        ("seed: 1\nseed: 2\n", "line 2, column 1 is not valid YAML: the key 'seed' stands twice"),
        ("data:\n  label: a\n  label: b\n", "line 3, column 3 is not valid YAML: the key 'label' stands twice"),
        ("seed: [1\nx: 2", "line 2, column 2 is not valid YAML"),
        ("a: &a [*a]", "a value refers to itself"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "is not valid YAML: expected a single document"),
        ("seed: !!int abc", "is not valid YAML"),
        ("? [a]\n: 1", "is not valid YAML"),
        ("a: \x01", "is not valid YAML"),
        ("[" * 1200, "is not valid YAML"),
        (b"seed: 1\nx: \xff\xfa", "is not text: byte 11 (0xff) is not valid UTF-8"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe(file=write(tmp_path, content))
    assert message in caught.value.message
    assert str(tmp_path / "my.yaml") in caught.value.message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Cannot read the recipe .*none\.yaml: No such file"):
        build_recipe(file=tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="Is a directory"):
        build_recipe(file=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_a_file(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, "data: {label: 标签}".encode(encoding))
    assert build_recipe(file=file).recipe.data.label == "标签"


def test_origins_that_make_no_sense(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 1\norigins:\n  seed: heaven\n  data.label: file\n")
    assert problems_of(file=file) == (
        "origins.seed (my.yaml, line 3): found 'heaven'; allowed: default, inferred, file, flag, python, autopilot.",
        "origins.data.label (my.yaml, line 4): the recipe gives no such key.",
    )
    file = write(tmp_path, "seed: 1\norigins: 3\n")
    assert problems_of(file=file) == ("origins (my.yaml, line 2): found 3, not a mapping.",)
