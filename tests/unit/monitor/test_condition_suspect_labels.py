"""Wrong labels among the training rows: how many, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions import _label_noise, suspect_labels
from trimtab.monitor.conditions._label_noise import Noise, estimate_noise, floor_of
from trimtab.monitor.conditions.suspect_labels import SuspectLabels
from trimtab.monitor.findings import Finding
from trimtab.monitor.rows import RowRecord


def record(
    rows: int, classes: int, flipped: float, *, seed: int = 0, strength: float = 5.0, epochs: int = 3
) -> tuple[RowRecord, np.ndarray]:
    """What a model that learns the true class makes of each row, epoch by epoch, with a share of labels flipped.

    The first epoch is a guess; then the true class's logit grows, with rows of all hardness, and rows are learnt by
    heart a little.
    """
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, rows)
    wrong = draw.random(rows) < flipped
    labels = np.where(wrong, (true + draw.integers(1, classes, rows)) % classes, true)
    found = RowRecord.empty(epochs, labels)
    easy = strength * draw.gamma(2.0, 0.6, rows)
    for epoch in range(epochs):
        logits = draw.normal(0, 0.7, (rows, classes))
        logits[np.arange(rows), true] += easy * min(1.0, 0.2 + 0.5 * epoch)
        logits[np.arange(rows), labels] += 0.2 * epoch
        own = logits[np.arange(rows), labels]
        others = logits.copy()
        others[np.arange(rows), labels] = -np.inf
        found.margin[epoch] = own - others.max(axis=1)
        found.probability[epoch] = np.exp(own) / np.exp(logits).sum(axis=1)
        found.predicted[epoch] = logits.argmax(axis=1)
    return found, wrong


def see_from_outside(found: RowRecord, true: np.ndarray, *, skill: float = 3.0, seed: int = 0) -> RowRecord:
    """Add what a classifier of the other rows says: surer of its choice where that is right more often."""
    draw = np.random.default_rng(seed)
    rows, classes = len(true), max(2, int(true.max()) + 1)
    sure = draw.gamma(2.0, 0.5, rows)
    right = draw.random(rows) < 1 - (classes - 1) / (np.exp(skill * sure) + classes - 1)
    choice = np.where(right, true, (true + draw.integers(1, classes, rows)) % classes)
    found.outside[:] = np.where(choice == found.labels, sure, -sure), sure, choice
    return found


def true_labels(rows: int, classes: int, seed: int = 0) -> np.ndarray:
    """Those that `record` draws."""
    return np.random.default_rng(seed).integers(0, classes, rows)


def examined(recorded: RowRecord, val: Sequence[float] = (0.6, 0.5, 0.45), **fields: object) -> list[Finding]:
    trace = make_trace([0.5] * 30, val, facts=make_facts(labels=tuple("abcdefgh")), **fields)
    trace.rows = recorded
    findings = list(SuspectLabels().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


def test_a_share_beyond_what_can_be_estimated_is_not_given_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = see_from_outside(record(300, 6, 0.3)[0], true_labels(300, 6))
    for high, words, bounded in ((0.39, "About 40%", True), (0.40, "37% or more", False)):
        noise = Noise(0.4, 0.37, high, 30.0, 0, 0.49, 300, 6)
        monkeypatch.setattr(suspect_labels, "outside_noise", lambda rows, noise=noise: noise)
        (finding,) = examined(recorded)
        assert finding.message.startswith(words)
        assert finding.evidence["is_bounded"] is bounded


@pytest.mark.parametrize(
    ("rows", "classes", "flipped", "severity"),
    [
        (300, 2, 0.3, "act"),
        (1000, 2, 0.2, "act"),
        (1000, 2, 0.1, "warning"),
        (1000, 6, 0.3, "act"),
        (400, 6, 0.3, "warning"),
        (1000, 6, 0.2, "warning"),
        (1000, 6, 0.1, "info"),
    ],
)
def test_labels_that_go_against_the_other_rows_are_told_and_listed(
    rows: int, classes: int, flipped: float, severity: str
) -> None:
    found, wrong = record(rows, classes, flipped)
    (finding,) = examined(see_from_outside(found, true_labels(rows, classes)))
    evidence = finding.evidence
    assert (finding.severity, evidence["view"], finding.since) == (severity, "outside", 10)
    assert evidence["low"] <= wrong.mean() * 1.2 and evidence["share"] == pytest.approx(wrong.mean(), abs=0.08)
    assert finding.change == {"regularization.label_smoothing": 0.1}
    listed = [row["index"] for row in finding.rows]
    assert len(listed) == len(set(listed)) <= 100 and wrong[listed].mean() > 0.8
    assert all(row["split"] == "train" and row["suggested"] != row["label"] for row in finding.rows)
    scores = [row["score"] for row in finding.rows]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("rows", "flipped", "severity", "since"),
    [(400, 0.2, "warning", 20), (1000, 0.1, "warning", 30), (1000, 0.15, "act", 30)],
)
def test_without_a_view_from_outside_the_model_itself_is_asked_of_two_classes(
    rows: int, flipped: float, severity: str, since: int
) -> None:
    found, wrong = record(rows, 2, flipped)
    (finding,) = examined(found)
    assert (finding.severity, finding.evidence["view"], finding.since) == (severity, "inside", since)
    assert wrong[[row["index"] for row in finding.rows]].mean() > 0.6


@pytest.mark.parametrize(("rows", "classes", "flipped"), [(1000, 3, 0.2), (400, 6, 0.2), (1000, 6, 0.1)])
def test_of_more_classes_the_model_itself_is_not_asked(rows: int, classes: int, flipped: float) -> None:
    found, _ = record(rows, classes, flipped)
    noise = estimate_noise(found)
    assert noise is not None and noise.gain > 25 and noise.share > 0.06 and noise.low > 0.04, "two classes would tell"
    assert examined(found) == []


@pytest.mark.parametrize(
    ("view", "classes", "share", "low", "severity"),
    [
        ("inside", 2, 0.12, 0.08, "act"),
        ("inside", 2, 0.12, 0.07, "warning"),
        ("inside", 2, 0.11, 0.08, "warning"),
        ("inside", 2, 0.06, 0.04, "warning"),
        ("inside", 2, 0.06, 0.03, None),
        ("inside", 2, 0.05, 0.04, None),
        ("inside", 3, 0.30, 0.25, None),
        ("outside", 2, 0.15, 0.10, "act"),
        ("outside", 2, 0.15, 0.09, "warning"),
        ("outside", 2, 0.02, 0.01, "warning"),
        ("outside", 2, 0.02, 0.005, None),
        ("outside", 3, 0.25, 0.20, "act"),
        ("outside", 3, 0.25, 0.19, "warning"),
        ("outside", 3, 0.25, 0.12, "warning"),
        ("outside", 3, 0.25, 0.11, "info"),
        ("outside", 3, 0.25, 0.05, "info"),
        ("outside", 3, 0.25, 0.04, None),
    ],
)
def test_levels_of_share_and_lower_end(
    view: str, classes: int, share: float, low: float, severity: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Noise(share, low, share + 0.05, gain=10.0, epoch=1, against=0.3, rows=400, classes=classes)
    estimates = {"inside": "estimate_noise", "outside": "outside_noise"}
    for name, estimate in estimates.items():
        monkeypatch.setattr(suspect_labels, estimate, lambda rows, told=name == view: noise if told else None)
    assert [finding.severity for finding in examined(record(400, classes, 0.0)[0])] == ([severity] if severity else [])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("rows", "classes", "skill"), [(200, 2, 1.0), (1000, 2, 3.0), (400, 6, 2.0), (1000, 6, 4.0)])
def test_hard_rows_are_not_taken_for_wrong_ones_from_outside(rows: int, classes: int, skill: float, seed: int) -> None:
    found = RowRecord.empty(1, true_labels(rows, classes, seed))
    assert examined(see_from_outside(found, found.labels, skill=skill, seed=seed)) == []


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("rows", "classes", "strength"), [(200, 2, 3.0), (1000, 2, 2.0), (400, 2, 1.5), (400, 6, 1.5)])
def test_clean_labels_give_no_finding(rows: int, classes: int, strength: float, seed: int) -> None:
    found, _ = record(rows, classes, 0.0, strength=strength, seed=seed)
    assert examined(found) == []


def test_a_model_that_has_learnt_nothing_says_nothing_of_labels() -> None:
    for classes in (2, 6):
        guessing, _ = record(400, classes, 0.0, strength=0.01)
        assert examined(guessing) == []
    by_heart, _ = record(400, 2, 0.0, strength=12.0)
    assert examined(by_heart) == []


def test_rows_come_with_their_text_and_options_are_kept() -> None:
    found, _ = record(400, 2, 0.2)
    texts = pd.DataFrame({"text": [f"text {index}" for index in range(400)], "row": range(1, 401), "source": "a.csv"})
    trace = make_trace([0.5] * 30, facts=make_facts(recipe={"regularization.focal_gamma": 2.0}))
    trace.rows, trace.table = found, lambda split: texts if split == "train" else None
    (finding,) = SuspectLabels().examine(trace)
    first = finding.rows[0]
    assert first["text"] == f"text {first['index']}" and first["row"] == first["index"] + 1
    assert first["label"] in ("negative", "positive") and finding.change == {}


def test_one_epoch_alone_does_not_call_for_action() -> None:
    found, _ = record(1000, 2, 0.15)
    (twice,) = examined(found)
    found.margin[2] = np.abs(found.margin[2])  # all rows known by heart
    (once,) = examined(found)
    assert (twice.severity, once.severity) == ("act", "warning")
    assert once.since == 20 and not once.evidence["confirmed"]


def test_shuffled_labels_are_left_to_their_own_condition() -> None:
    found, _ = record(400, 2, 0.2)
    detail = [{"recall": [0.5, 0.5], "label_rows": [200, 200]}] * 3
    fields = {"held_in": [0.2] * 3, "metrics": {"accuracy": [0.5] * 3}, "held_in_metrics": {"accuracy": [0.9] * 3}}
    assert examined(found, [0.7] * 3, detail=detail, rows=400, **fields) == []


def test_the_floor_is_recovered_from_its_own_curve() -> None:
    draw = np.random.default_rng(0)
    sure = np.abs(draw.normal(0, 3, 4_000))
    chance = 0.12 + (1 - 0.24) / (np.exp(0.8 * sure) + 1)
    share, low, high, gain = floor_of(sure, draw.random(4_000) < chance, 2)
    assert low <= 0.12 <= high and share == pytest.approx(0.12, abs=0.04) and gain > 5
    none = floor_of(sure, draw.random(4_000) < 1 / (np.exp(0.8 * sure) + 1), 2)
    assert none[1] == 0.0 and none[0] <= 0.01


def test_too_few_rows_or_epochs() -> None:
    assert estimate_noise(record(40, 2, 0.2)[0]) is None
    assert estimate_noise(record(400, 2, 0.2, epochs=1)[0]) is None


def test_rows_in_groups_say_what_single_rows_say(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    sure = draw.gamma(2.0, 2.0, 3_000)
    against = draw.random(3_000) < 0.1 + 0.8 / (np.exp(0.8 * sure) + 1)
    grouped = floor_of(sure, against, 2)
    monkeypatch.setattr(_label_noise, "GROUPS", 3_000)
    single = floor_of(sure, against, 2)
    assert grouped[:3] == single[:3]
    assert grouped[3] == pytest.approx(single[3], rel=0.01)
    # All rows count: a part of them would say less.
    assert grouped[3] > 1.5 * floor_of(sure[::2], against[::2], 2)[3]
