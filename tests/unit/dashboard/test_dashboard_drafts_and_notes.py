"""What the server writes: recipes of drafts, names of runs, notes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trimtab.config.load import build_recipe
from trimtab.dashboard.drafts import draft_of, nested, recipe_file, with_changes, write_recipe
from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.notes import MOST_TAGS, Notes
from trimtab.dashboard.pieces import MOST_PIECES, pieces_of, without
from trimtab.dashboard.predictor import explained
from trimtab.dashboard.starting import checked_data, checked_name


def test_a_recipe_written_from_dotted_values_is_read_back_with_their_types(tmp_path: Path) -> None:
    values = {
        "seed": 7,
        "model.name": "starter",
        "strategy": "lora",
        "strategy.r": 4,
        "optimizer.learning_rate": 3e-5,
        "data.label": "1e-5",  # a column of this name, and no number
        "data.text": ["title", "no"],
        "evaluation.baselines": False,
    }
    resolved = build_recipe(file=write_recipe(tmp_path / "recipe.yaml", values)).values()
    assert {key: resolved[key] for key in values} == values
    assert isinstance(resolved["optimizer.learning_rate"], float)


def test_no_values_make_a_recipe_of_defaults(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", {})
    assert build_recipe(file=path).values() == build_recipe().values()


def test_plugin_names_stand_beside_their_options() -> None:
    assert nested({"strategy": "lora", "strategy.r": 4}) == {"strategy": {"name": "lora", "r": 4}}
    assert nested({"strategy.r": 4, "strategy": "lora", "seed": 1}) == {"strategy": {"r": 4, "name": "lora"}, "seed": 1}


@pytest.mark.parametrize("key", ["", "a b", "a\nb: 1", "../x", "a.", "__class__", "A"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(Refusal, match="no key"):
        recipe_file({key: 1})


def test_a_draft_keeps_what_was_chosen_or_inferred_but_not_the_name_of_the_run() -> None:
    rows = [
        {"key": "seed", "value": 0, "origin": "default"},
        {"key": "output", "value": "runs/a", "origin": "flag"},
        {"key": "task", "value": "text-classification", "origin": "inferred"},
        {"key": "optimizer.learning_rate", "value": 1e-4, "origin": "flag"},
    ]
    assert draft_of(rows) == {"task": "text-classification", "optimizer.learning_rate": 1e-4}


def test_another_plugin_drops_the_options_of_the_one_before() -> None:
    values = {"strategy": "lora", "strategy.r": 4, "seed": 1}
    assert with_changes(values, {"strategy": "full"}) == {"strategy": "full", "seed": 1}
    assert with_changes(values, {"strategy": "lora", "strategy.r": 8}) == {**values, "strategy.r": 8}


def test_notes_of_two_dashboards_are_merged_run_by_run(tmp_path: Path) -> None:
    one, two = Notes(tmp_path / ".trimtab-dashboard"), Notes(tmp_path / ".trimtab-dashboard")
    one.change("a", {"tags": ["good", "good ", " 很好 "], "note": "one"})
    assert two.of("a") == {"tags": ["good", "很好"], "note": "one", "archived": False}
    two.change("b", {"archived": True})
    two.change("a", {"note": "two"})
    assert one.of("a") == {"tags": ["good", "很好"], "note": "two", "archived": False}
    assert one.of("b")["archived"] is True
    assert one.of("c") == {"tags": [], "note": "", "archived": False}


def test_damaged_notes_are_shown_as_none_and_never_written_over(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.path.write_text('{"a": {"tags"')
    assert notes.all() == {}
    with pytest.raises(Refusal, match="nothing is written over"):
        notes.change("a", {"note": "x"})
    assert notes.path.read_text() == '{"a": {"tags"'


def test_notes_of_another_shape_become_sound(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.path.write_text(json.dumps({"a": {"tags": "x", "note": None, "archived": "yes"}, "b": 3}))
    assert notes.all() == {"a": {"tags": [], "note": "", "archived": False}}


def test_too_many_tags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="tags"):
        Notes(tmp_path).change("a", {"tags": [str(number) for number in range(MOST_TAGS + 1)]})


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "a\x00b", "é" * 100])
def test_names_that_are_no_directory_are_refused(name: str) -> None:
    with pytest.raises(Refusal, match="cannot be the name"):
        checked_name(name)


@pytest.mark.parametrize("name", ["a", "工单 1", "<img src=x onerror=alert(1)>", "%2e%2e", "-x", "a.b"])
def test_other_names_are_text(name: str) -> None:
    assert checked_name(name) == name


def test_data_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n")
    (tmp_path / "r.yaml").write_text("seed: 1\n")
    assert checked_data(f" {tmp_path}/x.csv ") == tmp_path / "x.csv"
    for data, words in (("", "No data"), (f"{tmp_path}/y.csv", "no data at"), (f"{tmp_path}/r.yaml", "is a recipe"),
                        ("a\0b", "cannot be a path")):  # fmt: skip
        with pytest.raises(Refusal, match=words):
            checked_data(data)


def test_texts_are_cut_at_spaces_and_chinese_by_character() -> None:
    assert _pieces("the router  is broken") == ["the", "router", "is", "broken"]
    assert _pieces("退款 please 快") == ["退", "款", "please", "快"]
    assert _pieces("") == [] == _pieces(" \n")
    long = "退款请求" * 20
    assert _pieces(long) == [long[start : start + 2] for start in range(0, len(long), 2)]
    assert len(_pieces("word " * 1000)) <= MOST_PIECES


def _pieces(text: str) -> list[str]:
    return [text[piece.start : piece.end] for piece in pieces_of(text)]


def test_a_piece_is_left_out_with_one_of_its_spaces() -> None:
    text = "a bb c"
    assert [without(text, piece) for piece in pieces_of(text)] == ["bb c", "a c", "a bb"]


def test_the_effect_of_a_word_is_what_its_absence_takes_from_the_label() -> None:
    asked: list[Any] = []

    def probabilities(texts: list[Any], label: str) -> list[float]:
        asked.extend(texts)
        return [0.9 if "broken" in text else 0.2 for text in texts]

    words = explained("it is broken", "network", 0.9, probabilities)
    assert asked == ["is broken", "it broken", "it is"]
    assert [(word["text"], round(word["effect"], 6), word["after"]) for word in words] == [
        ("it", 0.0, " "), ("is", 0.0, " "), ("broken", 0.7, "")]  # fmt: skip
    assert explained("broken", "network", 0.9, probabilities) == []


def test_each_text_of_a_pair_is_explained() -> None:
    def probabilities(texts: list[Any], label: str) -> list[float]:
        return [float(len(first.split())) / 10 + len(second) / 1000 for first, second in texts]

    words = explained(("a b", "c d"), "same", 0.5, probabilities)
    assert [(word["text"], word["part"]) for word in words] == [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
    assert words[0]["effect"] == pytest.approx(0.5 - 0.103)
    assert words[2]["effect"] == pytest.approx(0.5 - 0.201)


def test_the_notes_file_is_whole_at_any_time(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.change("a", {"note": "x"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.json", "notes.lock"]
