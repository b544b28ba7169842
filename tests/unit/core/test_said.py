"""Sentences that remember their template: texts like any other, and their origin survives JSON, copies and replace."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from trimtab.core.said import Said, bare_template, origins, restored, say, together


def test_sentence_is_a_text_with_formatted_values() -> None:
    said = say("{wrong:.0%} of {rows:,} rows of {name!r}.", wrong=0.25, rows=1200, name="a{b}")
    assert said == "25% of 1,200 rows of 'a{b}'."
    assert said.template == "{wrong} of {rows} rows of {name}."
    assert said.values == {"wrong": "25%", "rows": "1,200", "name": "'a{b}'"}
    assert json.loads(json.dumps(said)) == str(said)


def test_sentences_within_sentences_stay_sentences() -> None:
    end = say(", and {count} more", count=3)
    said = say("These{end}.", end=end)
    assert said.to_dict() == {
        "template": "These{end}.",
        "values": {"end": {"template": ", and {count} more", "values": {"count": "3"}}},
    }
    assert restored(str(said), json.loads(json.dumps(said.to_dict()))) == said


def test_together_leaves_out_what_is_empty() -> None:
    said = together(say("One."), "", say("Two."))
    assert said == "One. Two."
    assert said.template == "{part1} {part2}"
    assert together("") == ""


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{0}", {}),
        ("{missing}", {}),
        ("{row.text}", {"row": "x"}),
        ("no field", {"more": 1}),
        ("{a:.1f} {a:.2f}", {"a": 1.0}),
    ],
)
def test_template_and_values_must_fit(template: str, values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"field|shows"):
        say(template, **values)


def test_braces_that_are_meant_stay() -> None:
    said = say("{{{name}}}", name="x")
    assert said == "{x}"
    assert said.template == bare_template(said.template) == "{{{name}}}"
    assert restored("{x}", said.to_dict()).to_dict() == said.to_dict()  # type: ignore[attr-defined]


@pytest.mark.parametrize("taken", [copy.copy, copy.deepcopy, lambda said: pickle.loads(pickle.dumps(said))])
def test_copies_remember_too(taken: object) -> None:
    said = taken(say("{n} rows", n=2))  # type: ignore[operator]
    assert isinstance(said, Said)
    assert (said, said.template, said.values) == ("2 rows", "{n} rows", {"n": "2"})


def test_origins_are_told_of_sentences_only() -> None:
    assert origins(message=say("a"), remedy="b") == {"message": {"template": "a", "values": {}}}


@pytest.mark.parametrize(
    "origin",
    [
        None,
        7,
        "an",
        [],
        {},
        {"template": 3, "values": {}},
        {"template": "{n}", "values": {}},
        {"template": "{n", "values": {"n": "1"}},
        {"template": "{n}", "values": ["n"]},
        {"template": "{n}", "values": {"n": None}},
        {"template": "another text", "values": {}},
    ],
)
def test_damaged_origin_gives_the_text(origin: object) -> None:
    found = restored("a text", origin)
    assert found == "a text"
    assert not isinstance(found, Said)


def test_endless_nesting_gives_the_text() -> None:
    origin: dict[str, object] = {"template": "x", "values": {}}
    for _ in range(50):
        origin = {"template": "{x}", "values": {"x": origin}}
    assert not isinstance(restored("x", origin), Said)
