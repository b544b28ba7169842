"""`evaluate_classification`: the whole result, its verdicts, its edges."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from trimtab.config.recipe import EvaluationSection
from trimtab.core.errors import DataError, ModelError, UnknownNameError
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.result import EvalResult

NAMES = ("cat", "dog", "owl")


def judge(labels: list[int] | np.ndarray, predictions: list[int] | np.ndarray, **changes: object) -> EvalResult:
    """Evaluate predictions given with probability 0.8."""
    probabilities = np.full((len(predictions), 3), 0.1)
    probabilities[np.arange(len(predictions)), predictions] = 0.8
    arguments: dict = {
        "split": "test",
        "section": EvaluationSection(bootstrap_samples=300),
        "primary_metric": "macro_f1",
        "seed": 0,
        "baseline_predictions": {},
        **changes,
    }
    return evaluate_classification(np.asarray(labels), probabilities, NAMES, **arguments)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(3, size=150)


def worsened(labels: np.ndarray, count: int) -> np.ndarray:
    """`labels` with the first `count` shifted to another class."""
    return np.where(np.arange(len(labels)) < count, (labels + 1) % 3, labels)


def test_values_and_tables(labels: np.ndarray) -> None:
    predictions = worsened(labels, 30)
    result = judge(labels, predictions)
    assert set(result.metrics) == {
        "accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc", "log_loss", "ece",
    }  # fmt: skip
    assert result.metrics["accuracy"].value == pytest.approx(0.8)
    assert result.metrics["log_loss"].value == pytest.approx(-(120 * math.log(0.8) + 30 * math.log(0.1)) / 150)
    assert result.metrics["ece"].value == pytest.approx(0.0, abs=1e-12)
    assert all(interval.low <= interval.value <= interval.high for interval in result.metrics.values())
    assert result.primary == result.metrics["macro_f1"]
    assert [entry["label"] for entry in result.per_class] == list(NAMES)
    assert sum(entry["rows"] for entry in result.per_class) == 150 == sum(map(sum, result.confusion))
    assert result.confusion[0][1] == int(((labels == 0) & (predictions == 1)).sum())


def test_beats_is_told_in_points_with_the_best_baseline(labels: np.ndarray) -> None:
    baselines = {"majority class": np.zeros(150, int), "TF-IDF + logistic regression": worsened(labels, 60)}
    result = judge(labels, worsened(labels, 15), baseline_predictions=baselines)
    difference = result.differences["TF-IDF + logistic regression"]
    assert difference.value == pytest.approx(
        result.primary.value - result.baselines["TF-IDF + logistic regression"]["macro_f1"].value
    )
    assert difference.low > 0
    assert result.verdict == (
        "Fine-tuning beats the best baseline (TF-IDF + logistic regression) by "
        f"{100 * difference.value:.1f} points of macro_f1 (95 % interval {100 * difference.low:.1f} to "
        f"{100 * difference.high:.1f}), on 150 test rows."
    )
    assert "log_loss" not in result.baselines["majority class"]


def test_worse_and_not_told_apart(labels: np.ndarray) -> None:
    worse = judge(labels, worsened(labels, 90), baseline_predictions={"other": worsened(labels, 15)})
    assert worse.verdict.startswith("Fine-tuning is worse than the best baseline (other) by ")
    low, high = worse.verdict.split("interval ")[1].split(")")[0].split(" to ")
    assert 0 < float(low) < float(high)
    even = judge(labels, worsened(labels, 15), baseline_predictions={"other": np.roll(worsened(labels, 15), 0)})
    assert even.verdict == (
        "Fine-tuning cannot be told apart from the best baseline (other): the difference is 0.0 points of macro_f1 "
        "(95 % interval 0.0 to 0.0), on 150 test rows."
    )


def test_pairing_narrows_the_difference(labels: np.ndarray) -> None:
    result = judge(labels, worsened(labels, 30), baseline_predictions={"near": worsened(labels, 33)})
    paired, alone = result.differences["near"], result.primary
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_without_baselines(labels: np.ndarray) -> None:
    result = judge(labels, worsened(labels, 30))
    assert result.baselines == {} == result.differences
    assert "no baseline was compared" in result.verdict


def test_loss_as_primary_metric_compares_in_macro_f1(labels: np.ndarray) -> None:
    result = judge(
        labels, worsened(labels, 15), primary_metric="log_loss", baseline_predictions={"other": np.zeros(150, int)}
    )
    assert result.primary_metric == "log_loss"
    assert result.difference_metric == "macro_f1"
    assert "points of macro_f1" in result.verdict
    assert any("Baselines give no probabilities" in note for note in result.notes)


def test_perfect_predictions_do_not_claim_certainty() -> None:
    result = judge([0, 1, 2, 0, 1], [0, 1, 2, 0, 1], section=EvaluationSection(target="accuracy=0.9"))
    assert result.metrics["accuracy"].value == 1
    assert result.metrics["accuracy"].low == pytest.approx(0.025 ** (1 / 5))
    assert result.target is not None and not result.target.reached
    assert any("exact binomial" in note for note in result.notes)
    assert any("Only 5 rows" in note for note in result.notes)


def test_a_single_row_beats_nothing() -> None:
    result = judge([0], [0], baseline_predictions={"other": np.array([1])})
    assert result.rows == 1
    assert result.differences["other"].low < 0 < result.differences["other"].high
    assert "cannot be told apart" in result.verdict
    assert result.verdict.endswith("on 1 test row.")


def test_result_survives_json(labels: np.ndarray) -> None:
    section = EvaluationSection(bootstrap_samples=100, target="ece=0.1")
    result = judge(
        labels, worsened(labels, 30), section=section, baseline_predictions={"other": labels}, notes=("first",)
    )
    again = EvalResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again == result
    assert again.notes[0] == "first"


def test_same_seed_same_result_other_seed_other_interval(labels: np.ndarray) -> None:
    predictions = worsened(labels, 30)
    assert judge(labels, predictions) == judge(labels, predictions)
    assert judge(labels, predictions, seed=1).metrics["accuracy"].value == pytest.approx(0.8)
    assert judge(labels, predictions, seed=1).metrics["log_loss"] != judge(labels, predictions).metrics["log_loss"]


def test_absent_labels_are_named() -> None:
    result = judge([0, 1] * 60, [0, 1] * 59 + [1, 0])
    assert "1 of 3 labels have no row here, so nothing is known of them: owl." in result.notes


def test_bad_input_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(DataError, match="no rows to evaluate"):
        judge([], [])
    with pytest.raises(DataError, match="Class ids must lie"):
        judge([0, 5], [0, 1])
    with pytest.raises(DataError, match="need probabilities of shape"):
        judge([0, 1, 2], [0, 1])
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        judge(labels, labels, primary_metric="acuracy")
    with pytest.raises(UnknownNameError, match="Did you mean 'macro_f1'"):
        judge(labels, labels, section=EvaluationSection(target="macro-f1=0.9"))


def test_nan_probabilities_are_refused_with_their_position() -> None:
    probabilities = np.full((3, 3), 1 / 3)
    probabilities[1, 2] = np.nan
    with pytest.raises(ModelError, match="for 1 of 3 rows, the first at position 2"):
        evaluate_classification(
            np.array([0, 1, 2]), probabilities, NAMES, split="test", section=EvaluationSection(),
            primary_metric="accuracy", seed=0, baseline_predictions={},
        )  # fmt: skip
