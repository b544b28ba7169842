"""What other programs call their numbers."""

from __future__ import annotations

import pytest

from trimtab.monitor.foreign.names import METRICS, Meaning, chosen, main_metric, meaning_of


@pytest.mark.parametrize(
    ("name", "part", "ours"),
    [
        ("Step", "step", ""),
        ("global_step", "step", ""),
        ("Iteration", "step", ""),
        ("epoch", "epoch", ""),
        ("train/epoch", "epoch", ""),
        ("loss", "train", "loss"),
        ("Train Loss", "train", "loss"),
        ("train/loss", "train", "loss"),
        ("Loss/train", "train", "loss"),
        ("train_loss_step", "train", "loss"),
        ("train/epoch_loss", "train", "loss"),
        ("training loss", "train", "loss"),
        ("lr", "train", "learning_rate"),
        ("train/learning_rate", "train", "learning_rate"),
        ("lr-AdamW/pg1", "train", "learning_rate"),
        ("grad_norm", "train", "grad_norm"),
        ("val_loss", "validation", "loss"),
        ("Validation Loss", "validation", "loss"),
        ("eval/loss", "validation", "loss"),
        ("loss/val", "validation", "loss"),
        ("validation/epoch_loss", "validation", "loss"),
        ("valid_loss_epoch", "validation", "loss"),
        ("eval_validation_loss", "validation", "loss"),
        ("eval_train_loss", "held_in", "loss"),
        ("eval_train_accuracy", "held_in", "accuracy"),
        ("val_acc", "validation", "accuracy"),
        ("eval_f1_macro", "validation", "macro_f1"),
        ("test_loss", "test", "loss"),
        ("accuracy", "bare", "accuracy"),
    ],
)
def test_usual_names_are_known(name: str, part: str, ours: str) -> None:
    assert meaning_of(name) == Meaning(part, ours)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "train_accuracy", "gpu_memory", "train/train_loss", "loss_scale", "hello", "---"])
def test_other_names_mean_nothing(name: str) -> None:
    assert meaning_of(name) is None


def test_of_several_columns_of_one_meaning_the_fullest_is_taken() -> None:
    series = chosen({"train_loss_epoch": [1.0], "train_loss_step": [1.0, 2.0, 3.0], "val_loss": [1.0]})
    assert series[Meaning("train", "loss")] == [1.0, 2.0, 3.0]


def test_a_bare_metric_is_that_of_validation_rows_only_beside_their_loss() -> None:
    known = Meaning("validation", "accuracy")
    assert chosen({"loss": [1], "val_loss": [1], "accuracy": [2]})[known] == [2]
    assert chosen({"loss": [1], "val_loss": [1], "accuracy": [2], "val_accuracy": [3]})[known] == [3]
    assert known not in chosen({"loss": [1], "accuracy": [2]})


def test_test_rows_stand_for_validation_rows_where_there_are_none() -> None:
    loss = Meaning("validation", "loss")
    assert chosen({"train_loss": [1], "test_loss": [2]})[loss] == [2]
    assert chosen({"train_loss": [1], "test_loss": [2, 2], "val_loss": [3]})[loss] == [3]


def test_the_main_metric_has_its_direction() -> None:
    assert main_metric(["loss", "accuracy", "runtime"]) == ("accuracy", True)
    assert main_metric(["loss", "perplexity"]) == ("perplexity", False)
    assert main_metric(["loss", "something"]) == ("loss", False)
    assert "loss" not in METRICS
