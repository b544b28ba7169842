"""What other programs call the numbers that they log, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T", bound=Sized)

Part = Literal["step", "epoch", "train", "validation", "held_in", "test", "bare"]
"""What a number is of: `bare` is a metric that does not say of which rows it is."""

STEPS = {"step", "steps", "global_step", "train_global_step", "trainer_global_step", "train_step", "current_steps"}
STEPS |= {"iteration", "iterations", "iter", "it", "update", "updates", "num_updates", "batch"}
EPOCHS = {"epoch", "epochs", "train_epoch", "num_epoch"}
RATES = {"learning_rate", "lr", "train_lr", "train_learning_rate", "rate"}
GRADIENTS = {"grad_norm", "gradient_norm", "train_grad_norm", "gnorm", "grad_norm_total", "grad_2.0_norm_total"}
LOSSES = {"loss", "train_loss", "training_loss", "loss_train", "tr_loss", "batch_loss", "running_loss", "avg_loss"}
LOSSES |= {"loss_training", "mean_loss", "total_loss", "train_total_loss", "train_batch_loss"}
VALIDATION = ("eval", "evaluation", "val", "valid", "validation", "dev")
TEST = ("test",)
TRAINING = ("train", "training", "tr")
HELD_IN = ("held_in",)
"""Our own name, in what we write for other trackers: a fixed sample of training rows, in evaluation mode."""
# How often a number was taken, which some loggers write into its name.
INTERVALS = ("_step", "_epoch")

# Metrics by the name that we give them, in the order in which one is taken to judge a run by; True: higher is better.
METRICS: dict[str, bool] = {
    "macro_f1": True,
    "f1": True,
    "accuracy": True,
    "balanced_accuracy": True,
    "matthews_correlation": True,
    "weighted_f1": True,
    "micro_f1": True,
    "roc_auc": True,
    "average_precision": True,
    "spearman": True,
    "pearson": True,
    "r2": True,
    "bleu": True,
    "rouge_l": True,
    "exact_match": True,
    "precision": True,
    "recall": True,
    "top_5_accuracy": True,
    "word_error_rate": False,
    "error": False,
    "mse": False,
    "rmse": False,
    "mae": False,
    "perplexity": False,
    "log_loss": False,
    "brier": False,
    "ece": False,
}
_SYNONYMS = {
    "acc": "accuracy",
    "top1": "accuracy",
    "top_1": "accuracy",
    "acc1": "accuracy",
    "top_1_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "binary_accuracy": "accuracy",
    "multiclassaccuracy": "accuracy",
    "binaryaccuracy": "accuracy",
    "f1_macro": "macro_f1",
    "f1_weighted": "weighted_f1",
    "f1_micro": "micro_f1",
    "f1_score": "f1",
    "mcc": "matthews_correlation",
    "matthews_corrcoef": "matthews_correlation",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "spearmanr": "spearman",
    "rougel": "rouge_l",
    "top5": "top_5_accuracy",
    "acc5": "top_5_accuracy",
    "wer": "word_error_rate",
    "ppl": "perplexity",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "nll": "log_loss",
}


@dataclass(frozen=True)
class Meaning:
    """What a logged number is.

    Args:
        part: of what.
        name: `loss`, `learning_rate`, `grad_norm`, or the name of a metric; empty for steps and epochs.
    """

    part: Part
    name: str = ""


def meaning_of(name: str) -> Meaning | None:
    """What a column, tag or key stands for, whatever its case and separators; None for what we have no use for."""
    plain = re.sub(r"[^0-9a-z.]+", "_", name.strip().lower()).strip("_")
    if plain in STEPS:
        return Meaning("step")
    if plain in EPOCHS:
        return Meaning("epoch")
    for suffix in INTERVALS:
        plain = plain.removesuffix(suffix)
    plain = plain.replace("epoch_", "")
    if plain in RATES or plain.startswith(("lr_", "learning_rate_")):
        return Meaning("train", "learning_rate")
    if plain in GRADIENTS:
        return Meaning("train", "grad_norm")
    if plain in LOSSES:
        return Meaning("train", "loss")
    return _of_some_rows(plain)


def _of_some_rows(plain: str) -> Meaning | None:
    """A loss or metric with the rows it is of before or behind it: `eval_loss`, `accuracy_val`, `validation_f1`."""
    sampled = _without(plain, HELD_IN)
    if sampled is not None:
        return Meaning("held_in", metric_name(sampled))
    rest = _without(plain, VALIDATION)
    if rest is not None:
        # Several sets of rows may be evaluated: `eval_train_loss` beside `eval_validation_loss`.
        held_in = _without(rest, TRAINING)
        if held_in is not None:
            return Meaning("held_in", metric_name(held_in))
        further = _without(rest, VALIDATION)
        return Meaning("validation", metric_name(rest if further is None else further))
    tested, known = _without(plain, TEST), metric_name(plain)
    if tested is not None:
        return Meaning("test", metric_name(tested))
    # Metrics of training rows are those of training mode, dropout and all: there is nothing to compare them with.
    return Meaning("bare", known) if known in METRICS else None


def _without(plain: str, words: Iterable[str]) -> str | None:
    """`plain` without one of the words at its beginning or end; None where it has none of them there."""
    for word in words:
        if plain.startswith(f"{word}_"):
            return plain[len(word) + 1 :]
        if plain.endswith(f"_{word}"):
            return plain[: -len(word) - 1]
    return None


def metric_name(plain: str) -> str:
    """Our name of a metric; what we know no other name for keeps its own."""
    return _SYNONYMS.get(plain, "loss" if plain == "total_loss" else plain)


def main_metric(names: Iterable[str]) -> tuple[str, bool]:
    """The metric to judge a run by, of those that it logged, and whether higher is better; the loss where none is."""
    logged = set(names)
    return next(((name, higher) for name, higher in METRICS.items() if name in logged), ("loss", False))


def chosen(logged: Mapping[str, T]) -> dict[Meaning, T]:
    """One series for each meaning: of several names with the same, that with the most values.

    What is of test rows stands for validation rows where there is no validation loss, and a bare metric (`accuracy`) is
    one of validation rows where those have a loss and no such metric.

    Args:
        logged: name -> values.
    """
    series: dict[Meaning, T] = {}
    for name, values in logged.items():
        meaning = meaning_of(name)
        if meaning is not None and len(values) > len(series.get(meaning, ())):
            series[meaning] = values
    loss = Meaning("validation", "loss")
    tested = loss not in series
    for meaning in [meaning for meaning in series if meaning.part == "test"]:
        values = series.pop(meaning)
        if tested:
            series.setdefault(Meaning("validation", meaning.name), values)
    for meaning in [meaning for meaning in series if meaning.part == "bare"]:
        values = series.pop(meaning)
        if loss in series:
            series.setdefault(Meaning("validation", meaning.name), values)
    return series
