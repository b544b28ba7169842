"""Training losses against torch and against values by hand; class weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_engine
import torch
from torch.nn import functional

from trimtab.core.errors import RecipeError, UnknownNameError
from trimtab.regularization.criteria import Criterion, CriterionObjective, class_weights

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 2])
WEIGHTS = torch.tensor([0.5, 1.0, 2.5])
# Probabilities 0.7, 0.2, 0.1.
KNOWN = torch.tensor([[0.7, 0.2, 0.1]]).log() + 3.0


def test_plain_is_cross_entropy() -> None:
    assert torch.allclose(Criterion()(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS, reduction="none"))


def test_smoothing_is_that_of_torch() -> None:
    expected = functional.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=0.2)

    assert torch.allclose(Criterion(label_smoothing=0.2)(LOGITS, LABELS), expected)


def test_smoothing_by_hand() -> None:
    target = (0.2 / 3, 0.8 + 0.2 / 3, 0.2 / 3)
    expected = -sum(share * math.log(p) for share, p in zip(target, (0.7, 0.2, 0.1), strict=True))

    assert Criterion(label_smoothing=0.2)(KNOWN, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-5)


def test_weights_are_those_of_torch() -> None:
    expected = functional.cross_entropy(LOGITS, LABELS, weight=WEIGHTS, reduction="none")

    assert torch.allclose(Criterion(weights=WEIGHTS)(LOGITS, LABELS), expected)


def test_weight_multiplies_the_whole_smoothed_loss() -> None:
    smoothed = functional.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=0.2)

    found = Criterion(label_smoothing=0.2, weights=WEIGHTS)(LOGITS, LABELS)

    assert torch.allclose(found, WEIGHTS[LABELS] * smoothed)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.3**2 * 0.35667), (1, 0.8**2 * 1.60944), (2, 0.9**2 * 2.30259)])
def test_focal_by_hand(label: int, expected: float) -> None:
    found = Criterion(focal_gamma=2.0)(KNOWN, torch.tensor([label])).item()
    weighted = Criterion(focal_gamma=2.0, weights=WEIGHTS)(KNOWN, torch.tensor([label])).item()

    assert found == pytest.approx(expected, rel=1e-4)
    assert weighted == pytest.approx(float(WEIGHTS[label]) * expected, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("margin", [60.0, 200.0, -200.0])
def test_focal_of_certain_rows_has_finite_gradients(gamma: float, margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, 0.0]], requires_grad=True)

    loss = Criterion(focal_gamma=gamma)(logits, torch.tensor([0])).sum()
    loss.backward()

    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    # Without the true class, the other two share all probability: −log p = −margin + log 2.
    assert loss.item() == pytest.approx(-margin + math.log(2) if margin < 0 else 0.0, abs=1e-4)


def test_objective_sums_over_rows_and_counts_them() -> None:
    model = tiny_engine.make_model()
    batch = tiny_engine.make_examples(6).collate(np.arange(6))
    criterion = Criterion(weights=WEIGHTS)

    objective = CriterionObjective(tiny_engine.make_task(), criterion)
    total, count = objective.loss(lambda inputs: model(**inputs), batch, 1)

    assert batch.labels is not None
    assert count == 6
    assert total.item() == pytest.approx(criterion(model(**batch.inputs).logits, batch.labels).sum().item())
    with pytest.raises(ValueError, match="without labels"):
        objective.loss(lambda inputs: model(**inputs), type(batch)(batch.inputs, None, 1, 1), 1)


@pytest.mark.parametrize("wanted", ["balanced", "sqrt", {"a": 3.0, "c": 0.5}])
def test_mean_weight_over_the_rows_is_1(wanted: object) -> None:
    rows = np.array([0] * 70 + [1] * 20 + [2] * 10)

    weights = class_weights(wanted, ("a", "b", "c"), rows)  # type: ignore[arg-type]

    assert weights[rows].mean() == pytest.approx(1.0)


def test_balanced_is_n_over_k_n_c() -> None:
    rows = np.array([0] * 70 + [1] * 20 + [2] * 10)

    assert class_weights("balanced", ("a", "b", "c"), rows) == pytest.approx([100 / 210, 100 / 60, 100 / 30])


def test_sqrt_is_halfway() -> None:
    rows = np.array([0] * 64 + [1] * 16)

    weights = class_weights("sqrt", ("a", "b"), rows)

    assert weights[1] / weights[0] == pytest.approx(2.0)


def test_mapping_keeps_its_ratios_and_1_for_others() -> None:
    rows = np.array([0] * 5 + [1] * 5 + [2] * 10)

    weights = class_weights({"a": 3.0, "c": 0.5}, ("a", "b", "c"), rows)

    assert weights / weights[1] == pytest.approx([3.0, 1.0, 0.5])


def test_a_class_without_rows_changes_nothing() -> None:
    rows = np.array([0] * 30 + [1] * 10)

    weights = class_weights("balanced", ("a", "b", "never"), rows)

    assert weights[:2] == pytest.approx([40 / 60, 40 / 20])
    assert math.isfinite(weights[2])


def test_unknown_label_and_no_rows_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no label 'refnd'\. Did you mean 'refund'\? Labels: refund, other"):
        class_weights({"refnd": 2.0}, ("refund", "other"), np.array([0, 1]))
    with pytest.raises(RecipeError, match="no training rows"):
        class_weights("balanced", ("a", "b"), np.zeros(0, dtype=np.int64))
