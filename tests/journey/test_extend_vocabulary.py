"""Texts in a script that the tokenizer cannot write: refused at first, then learned with `--extend-vocabulary`."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from command import trimtab
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForMaskedLM, BertTokenizer

from trimtab.config.recipe import ModelSection
from trimtab.core.events import read_events
from trimtab.core.files import sha256_of
from trimtab.models.extension import extend_vocabulary
from trimtab.models.loading import load_model, resolve_model

MARKS = {"network": "网路断", "billing": "退款钱"}
FILLER = "的一是了我不人在他有这"
# Stands in test rows alone.
UNSEEN = "龘"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh,.人在"]
NAME = "bert.embeddings.word_embeddings.weight"


def write_rows(path: Path, count: int, seed: int, extra: str = "") -> None:
    draw = random.Random(seed)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(count):
            label = list(MARKS)[index % 2]
            characters = [*draw.choices(FILLER, k=draw.randint(2, 4)), *draw.choices(MARKS[label], k=3), *extra]
            draw.shuffle(characters)
            writer.writerow(["".join(characters), label])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Chinese rows and a BERT that reads two Chinese characters."""
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "data").mkdir()
    write_rows(folder / "data" / "train.csv", 240, 0)
    write_rows(folder / "data" / "validation.csv", 60, 1)
    write_rows(folder / "data" / "test.csv", 90, 2, extra=UNSEEN)
    torch.manual_seed(0)
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(PIECES)}, model_max_length=32)
    model = BertForMaskedLM(tiny.bert_config(vocab_size=len(PIECES), hidden_dropout_prob=0.0))
    tiny.save_tiny(folder / "bert", model, tokenizer)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = train("extended", "--extend-vocabulary")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def train(output: str, *arguments: str) -> Any:
    return trimtab(
        *("train", "data", "--model", "bert", "--output", output, "--epochs", "4", "--batch-size", "16"),
        *("--learning-rate", "1e-2", "--device", "cpu", "--precision", "fp32", "--set", "evaluation.baselines=false"),
        *("--set", "evaluation.bootstrap_samples=100", "--set", "checkpoint.keep_last=99", *arguments),
    )


def notes_of(run: Path) -> list[str]:
    (start,) = (event for event in read_events(run / "events.jsonl") if event["type"] == "start")
    notes: list[str] = start["notes"]
    return notes


def findings_of(run: Path) -> set[str]:
    return {event["name"] for event in read_events(run / "events.jsonl") if event["type"] == "finding"}


def test_without_the_extension_the_data_are_refused(place: Path) -> None:
    outcome = train("refused")
    assert outcome.code == 2 and "are unknown to" in outcome.error
    assert not (place / "refused").exists()


def test_the_extended_model_learns_what_the_other_cannot_see(place: Path) -> None:
    assert train("blind", "--force").code == 0
    accuracies = {}
    for name in ("blind", "extended"):
        (end,) = (event for event in read_events(place / name / "events.jsonl") if event["type"] == "end")
        accuracies[name] = end["value"]
    # By the lengths and the two known characters there is nothing to learn.
    assert accuracies["blind"] < 0.7 < 0.9 < accuracies["extended"]
    assert "unknown_tokens" in findings_of(place / "blind")


def test_what_was_added_is_said_and_comes_from_training_rows_alone(place: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place / "extended" / "model")
    expected = (set(FILLER) | set("".join(MARKS.values()))) - {"人", "在"}
    assert set(tokenizer.convert_ids_to_tokens(range(len(PIECES), len(tokenizer)))) == expected
    notes = " ".join(notes_of(place / "extended"))
    assert f"extended by {len(expected)} characters that the tokenizer could not write" in notes
    assert f"start: {len(expected)} around the mean of the known ones" in notes
    assert f"The embeddings of the {len(expected)} new tokens train from the first step on, at 0.2." in notes


def test_the_model_loads_with_transformers_alone_and_says_the_same(place: Path) -> None:
    folder = place / "extended" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.vocab_size == len(tokenizer)
    texts = ["我的网在断", "他退了钱", "谢谢"]
    with torch.inference_mode():
        probabilities = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.softmax(-1)
    found = trimtab("predict", "extended", *texts, "--json").json["predictions"]
    for item, row in zip(found, probabilities, strict=True):
        assert item["prediction"] == model.config.id2label[int(row.argmax())]
        assert item["probability"] == pytest.approx(float(row.max()), abs=1e-5)


def test_a_run_that_is_resumed_ends_with_the_same_weights(place: Path) -> None:
    whole, run = place / "extended", place / "resumed"
    shutil.copytree(whole, run)
    checkpoints = sorted((run / "checkpoints").iterdir())
    assert len(checkpoints) == 4
    for folder in checkpoints[2:]:
        shutil.rmtree(folder)
    shutil.rmtree(run / "model")
    (run / "evaluation.json").unlink()
    outcome = trimtab("resume", "resumed")
    assert outcome.code == 0, outcome.err
    for name in ("model/model.safetensors", "model/tokenizer.json"):
        assert sha256_of(run / name) == sha256_of(whole / name)


@pytest.mark.parametrize("strategy", ["partial", "bitfit"])
def test_new_tokens_train_where_the_strategy_freezes_the_embeddings(place: Path, strategy: str) -> None:
    outcome = train(f"with-{strategy}", "--extend-vocabulary", "--strategy", strategy, "--epochs", "1")
    assert outcome.code == 0, outcome.err
    old, new = moved_rows(place / f"with-{strategy}", 15)
    assert not old.any() and new.all()


def test_new_tokens_train_in_the_stages_before_that_of_the_embeddings(place: Path) -> None:
    stages = ("strategy.stage_length=2", "strategy.stage_unit=steps", "checkpoint.every_steps=2")
    settings = [part for stage in stages for part in ("--set", stage)]
    outcome = train("with-gradual", "--extend-vocabulary", "--strategy", "gradual", "--epochs", "1", *settings)
    assert outcome.code == 0, outcome.err
    old, new = moved_rows(place / "with-gradual", 6)
    assert not old.any() and new.all()
    # The fourth stage, of the embeddings; that of the padding is zero and stays so.
    old, new = moved_rows(place / "with-gradual", 8)
    assert old[1:].all() and new.all()


def moved_rows(run: Path, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which old and which new rows of the embeddings are not where they started, bool `[rows]` of each."""
    settings = {"extend_vocabulary": True, "name": "bert"}
    loaded = load_model(
        resolve_model("bert"),
        auto_class="AutoModelForSequenceClassification",
        labels=tuple(sorted(MARKS)),
        section=ModelSection.model_validate(settings),
        modality="text",
    )
    texts = pd.read_parquet(run / "data" / "train.parquet")["text"].tolist()
    start = extend_vocabulary(loaded, texts, ModelSection.model_validate(settings), seed=0)
    before = start.model.get_input_embeddings().weight.detach()
    after = load_file(run / "checkpoints" / f"step-{step:08}" / "model.safetensors")[NAME]
    moved = (after != before).any(dim=1)
    return moved[: len(PIECES)], moved[len(PIECES) :]


def test_options_that_would_do_nothing_are_refused(place: Path) -> None:
    outcome = train("none", "--set", "model.vocabulary_size=100", "--force")
    assert outcome.code == 2 and "vocabulary_size would do nothing: model.extend_vocabulary is false" in outcome.error
    outcome = train("none", "--extend-vocabulary", "--set", "model.vocabulary_vectors=nowhere.vec")
    assert outcome.code == 2 and "model.vocabulary_vectors: there is no file 'nowhere.vec'" in outcome.error
    assert not (place / "none").exists()


def test_a_model_that_knows_all_tokens_says_so(place: Path) -> None:
    outcome = trimtab(
        *("train", "data", "--model", "extended/model", "--output", "again", "--epochs", "1", "--extend-vocabulary"),
        *("--set", "evaluation.bootstrap_samples=100", "--set", "evaluation.baselines=false"),
    )
    assert outcome.code == 0, outcome.err
    assert any("no token was added" in note for note in notes_of(place / "again"))
