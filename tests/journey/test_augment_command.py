"""`trimtab augment`: pairs of texts before and after, without training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from command import files_below, trimtab
from safetensors.torch import load_file

ON = ("--set", "augmentation.word_swap=0.2", "--set", "augmentation.word_dropout=0.2")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny.save_bert(tmp_path / "bert")
    tiny.write_csv(tmp_path / "tickets.csv", 120)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pairs_of_training_rows_as_json(place: Path) -> None:
    before = files_below(place)
    outcome = trimtab("augment", "tickets.csv", "--model", "bert", "--rows", 5, "--json", *ON)
    assert outcome.code == 0
    found = outcome.json
    assert found["operations"] == ["word_swap", "word_dropout"]
    assert (found["probability"], found["train_rows"]) == (0.5, 84)
    rows = pd.read_csv("tickets.csv")
    assert len(found["pairs"]) == 5
    for pair in found["pairs"]:
        assert rows.loc[pair["row"] - 1, ["text", "label"]].tolist() == [pair["original"][0], pair["label"]]
        assert pair["augmented"] != pair["original"]
        assert len(pair["operations"]) == 1
    assert files_below(place) == before
    assert trimtab("augment", "tickets.csv", "--model", "bert", "--rows", 5, "--json", *ON).json == found


def test_the_pairs_are_what_the_first_epoch_reads(place: Path) -> None:
    from trimtab.config.load import build_recipe
    from trimtab.data.augmentation.rows import augment_frame
    from trimtab.data.loading import load_dataset

    found = trimtab("augment", "tickets.csv", "--model", "bert", "--rows", 50, "--json", *ON).json
    recipe = build_recipe(settings=ON[1::2]).recipe
    train = load_dataset("tickets.csv", recipe.data, seed=0).splits["train"]
    changed = augment_frame(train, recipe.augmentation, seed=0, epoch=0)
    epoch = dict(zip(changed["row"], changed["text"], strict=True))
    assert len(found["pairs"]) > 20
    assert {pair["row"]: pair["augmented"][0] for pair in found["pairs"]} == {
        pair["row"]: epoch[pair["row"]] for pair in found["pairs"]
    }


def test_words_that_differ_are_marked(place: Path) -> None:
    rows = [(text, label) for n in range(20) for text, label in ((f"broken router {n}", "a"), (f"refund it {n}", "b"))]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv("rows.csv", index=False)
    (place / "list.tsv").write_text("router\tmodem\nrefund\trepay\n")
    settings = ("--set", "augmentation.synonym_replacement=0.1", "--set", "augmentation.synonyms=list.tsv")
    outcome = trimtab("augment", "rows.csv", "--model", "bert", "--rows", 2, *settings)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "on: synonym_replacement"
    assert lines[1] == "changed in an epoch: 50% of 28 training rows"
    assert "synonym_replacement" in lines[3]
    shown = [line.rstrip("0123456789") for line in lines if line.startswith("  ")]
    router = ["  - broken [-router-] ", "  + broken {+modem+} "]
    refund = ["  - [-refund-] it ", "  + {+repay+} it "]
    assert shown[:2] in (router, refund) and shown[2:] in (router, refund)


def test_cut_tokens_of_pairs_of_texts(place: Path) -> None:
    rows = [(text, "router is broken thanks please", label) for text, label in tiny.labelled_texts(60)]
    pd.DataFrame(rows, columns=["question", "answer", "label"]).to_csv("pairs.csv", index=False)
    outcome = trimtab(
        *("augment", "pairs.csv", "--model", "bert", "--text", "question", "--text", "answer", "--json"),
        *("--set", "augmentation.token_cutoff=0.4"),
    )
    assert outcome.code == 0
    # The tiny tokenizer puts nothing between the texts, so that they are one stretch of tokens.
    for pair in outcome.json["pairs"]:
        before, after = (" ".join(pair[side]).split() for side in ("original", "augmented"))
        assert len(before) * 0.5 < len(after) < len(before)


def test_nothing_is_on(place: Path) -> None:
    outcome = trimtab("augment", "tickets.csv", "--model", "bert")
    assert outcome.code == 2
    assert "No augmentation is on." in outcome.error
    assert "--set augmentation.word_dropout=0.1" in outcome.error
    assert "synonym_replacement" in outcome.error and "horizontal_flip" in outcome.error


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("augmentation.word_dropout=1.5", "augmentation.word_dropout"),
        ("augmentation.word_drop=0.1", "Did you mean 'augmentation.word_dropout'?"),
        ("augmentation.horizontal_flip=0.5", "the task text-classification learns from text"),
    ],
)
def test_bad_values(place: Path, setting: str, words: str) -> None:
    outcome = trimtab("augment", "tickets.csv", "--model", "bert", "--set", setting)
    assert outcome.code == 2
    assert words in outcome.error


def test_the_words_of_real_data(shared_data: Path, place: Path) -> None:
    outcome = trimtab(
        *("augment", shared_data / "trec" / "train.csv", "--text", "text", "--label", "coarse"),
        *("--model", "bert", "--rows", 30, "--json", "--set", "augmentation.character_noise=0.05"),
    )
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["pairs"]) == 30


def test_a_run_with_augmentation_resumes_bit_for_bit(place: Path) -> None:
    (place / "list.tsv").write_text("router\tmodem\nrefund\tthanks\n")
    settings = {
        "augmentation.word_swap": 0.2,
        "augmentation.token_cutoff": 0.2,
        "augmentation.synonym_replacement": 0.3,
        "augmentation.synonyms": "list.tsv",
        "checkpoint.every_steps": 4,
        "checkpoint.keep_last": 9,
        "evaluation.bootstrap_samples": 100,
    }
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    run = ("--model", "bert", "--epochs", 3, "--batch-size", 16, "--learning-rate", "1e-2")
    assert trimtab("train", "tickets.csv", *run, "--output", "whole", *flags).code == 0
    assert trimtab("train", "tickets.csv", *run, "--output", "plain", *flags[8:]).code == 0
    whole, plain = (load_file(place / name / "model" / "model.safetensors") for name in ("whole", "plain"))
    assert any(not torch.equal(whole[name], plain[name]) for name in whole)
    assert files_below(place / "whole" / "augmentation") == ["resources.json"]
    assert not (place / "plain" / "augmentation").exists()

    # As if killed in the second epoch of three: the word list is gone when the run goes on.
    for checkpoint in sorted((place / "whole" / "checkpoints").iterdir())[2:]:
        shutil.rmtree(checkpoint)
    assert len(list((place / "whole" / "checkpoints").iterdir())) == 2
    (place / "list.tsv").unlink()
    for name in ("evaluation.json", "predictions.parquet", "report.html", "report.md"):
        (place / "whole" / name).unlink()
    shutil.rmtree(place / "whole" / "model")
    assert trimtab("resume", "whole").code == 0
    resumed = load_file(place / "whole" / "model" / "model.safetensors")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
