"""`trimtab lr-find` on tiny models: what is written and said, and that nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import tiny
import torch
from command import files_below, trimtab

from trimtab.config.load import build_recipe
from trimtab.core.errors import NonFiniteError
from trimtab.data.batching import Batch
from trimtab.pipeline.lr_find import find_learning_rate

TEST = (
    "lr-find",
    "t.csv",
    "--model",
    "bert",
    "--set",
    "training.precision=fp32",
    "--batch-size",
    "16",
    "--device",
    "cpu",
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny.save_bert(tmp_path / "bert", hidden_dropout_prob=0.1)
    tiny.write_csv(tmp_path / "t.csv", 90)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_words_and_nothing_else(place: Path) -> None:
    before = contents(place)
    outcome = trimtab(*TEST, "--steps", "60", "--lowest", "1e-4", "--highest", "1e-1")

    assert outcome.code == 0
    assert files_below(place / "lr-find") == ["lr_find.json", "lr_find.svg"]
    assert {name: data for name, data in contents(place).items() if "lr-find" not in name} == before
    ElementTree.parse(place / "lr-find" / "lr_find.svg")
    written = json.loads((place / "lr-find" / "lr_find.json").read_text())
    rates = written["rates"]
    assert len(rates) == len(written["losses"]) == len(written["smoothed"]) <= 60
    assert rates[0] == pytest.approx(1e-4) and rates[1] / rates[0] == pytest.approx(10 ** (3 / 59))
    assert f"--learning-rate {written['suggestion']['recommended']:.2g}" in outcome.out
    assert f"{rates[0]:.1e}" in outcome.err


def test_a_test_can_be_repeated_and_gives_the_same_numbers(place: Path) -> None:
    first = trimtab(*TEST, "--steps", "30", "--json")
    again = trimtab(*TEST, "--steps", "30", "--json")

    assert first.code == again.code == 0
    assert first.json == again.json
    assert first.json["output"] == "lr-find"
    # A full fine-tuning of a narrow model: 2e-4, tested from a thousandth of it to a thousand times.
    rates = first.json["rates"]
    assert rates[0] == pytest.approx(2e-7) and rates[1] / rates[0] == pytest.approx(10 ** (6 / 29))


@pytest.mark.parametrize(
    "options",
    [
        ("optimizer.name=sgd",),
        ("optimizer.name=schedule_free_adamw", "schedule.name=constant"),
        ("strategy=partial", "optimizer.name=adafactor"),
        ("strategy=gradual",),
    ],
)
def test_with_any_optimizer_and_strategy(place: Path, options: tuple[str, ...]) -> None:
    if "schedule_free" in options[0]:
        pytest.importorskip("schedulefree")
    settings = [word for option in options for word in ("--set", option)]
    outcome = trimtab(*TEST, *settings, "--steps", "20", "--lowest", "1e-5", "--highest", "1e-3", "--json")

    assert outcome.code == 0, outcome.err
    assert outcome.json["rates"][0] == pytest.approx(1e-5)
    assert outcome.json["rates"][-1] == pytest.approx(1e-3)


def test_the_groups_keep_their_ratios(place: Path) -> None:
    settings = ["strategy=discriminative", "training.precision=fp32", "model.name=bert", "training.device=cpu"]
    seen: list[dict[str, float]] = []

    def listen(event: dict[str, Any]) -> None:
        if event["type"] == "step":
            seen.append(event["learning_rates"])

    found = find_learning_rate(build_recipe(settings=settings), "t.csv", steps=20, listener=listen)

    assert len(seen) == len(found.rates) and len(seen[0]) > 2
    for rate, rates in zip(found.rates, seen, strict=True):
        assert max(rates.values()) == pytest.approx(rate)
        ratios = {name: one / rate for name, one in rates.items()}
        assert ratios == pytest.approx({name: one / found.rates[0] for name, one in seen[0].items()})


def test_it_ends_where_the_loss_gets_out_of_hand(place: Path) -> None:
    settings = ("--set", "optimizer.name=sgd", "--set", "training.max_grad_norm=null")
    outcome = trimtab(*TEST, *settings, "--lowest", "1e-2", "--highest", "1e6", "--steps", "50", "--json")

    assert outcome.code == 0
    assert len(outcome.json["rates"]) < 50
    assert outcome.json["stopped"].startswith("at step ")


def test_no_suggestion_is_said_in_words(place: Path) -> None:
    outcome = trimtab(*TEST, "--steps", "25", "--lowest", "1e-12", "--highest", "1e-11")

    assert outcome.code == 0
    assert "No suggestion. The loss never falls" in outcome.out
    assert json.loads((place / "lr-find" / "lr_find.json").read_text())["suggestion"]["recommended"] is None


def test_a_first_step_without_a_finite_loss(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(self: Any, forward: Any, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        return forward(batch.inputs).logits.sum() * float("nan"), len(batch.inputs["input_ids"])

    monkeypatch.setattr("trimtab.training.objective.TaskObjective.loss", no_number)
    settings = ["model.name=bert", "training.precision=fp32", "training.device=cpu"]

    with pytest.raises(NonFiniteError, match="ended before it began: at step 1 the loss is NaN"):
        find_learning_rate(build_recipe(settings=settings), "t.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lowest", "1e-3", "--highest", "1e-3"), "The range is empty: from 0.001 to 0.001."),
        (("--lowest", "1"), "The range is empty: from 1 to 0.2."),
        (("--lowest", "-1"), "The lowest rate is -1."),
        (("--highest", "nan"), "The highest rate is nan."),
        (("--steps", "3"), "A range test of 3 steps tells nothing."),
        (("--output", "t.csv"), "Cannot write t.csv"),
    ],
)
def test_what_cannot_be_tested_is_refused(place: Path, options: tuple[str, ...], message: str) -> None:
    outcome = trimtab(*TEST, *options)

    assert outcome.code == 2
    assert message in outcome.error
