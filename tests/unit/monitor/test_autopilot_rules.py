"""The autopilot's rules: which remedy is due, whether it has helped, and what is never done."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.autopilot import (
    ADVICE_ONLY,
    BEFORE_TRAINING,
    MOST_ACTIONS,
    RULES,
    Moment,
    Pending,
    Rule,
    State,
    decide,
    standard_error,
    verdict,
)
from trimtab.monitor.findings import Finding
from trimtab.regularization.class_weights import inverse_weights
from trimtab.training.steering import Steering

NOW = Moment(step=40, total_steps=100, learning_rate=1e-3, class_counts=(30, 10))


def found(name: str, since: int = 20, severity: Any = "act", **fields: Any) -> Finding:
    evidence = fields.pop("evidence", {})
    return Finding(name, severity, "So it is", since, evidence, "Do this", **fields)


def chosen(*findings: Finding, state: State | None = None, moment: Moment = NOW) -> str | None:
    remedy = decide(findings, state or State(), moment)
    return None if remedy is None else remedy.rule.remedy


@pytest.mark.parametrize(
    ("finding", "remedy"),
    [
        (found("divergence"), "lower_rate"),
        (found("learning_rate_too_high"), "lower_rate"),
        (found("loss_spikes"), "lower_rate"),
        (found("learning_rate_too_low"), "raise_rate"),
        (found("suspect_labels", rows=({"split": "train", "index": 3},)), "leave_out"),
        (found("suspect_labels", rows=({"split": "train", "index": 3},), evidence={"is_bounded": True}), "leave_out"),
        (found("suspect_labels", rows=({"split": "train", "index": 3},), evidence={"is_bounded": False}), None),
        (found("suspect_labels"), None),
        (found("suspect_labels", rows=({"split": "validation", "index": 3},)), None),
        (found("class_imbalance"), "balance_classes"),
        (found("class_collapse"), "balance_classes"),
        (found("overfitting"), "regularise"),
        (found("forgetting"), "freeze_lower"),
        (found("underfitting", change={"strategy": "full"}), "unfreeze_more"),
        (found("underfitting", change={"training.num_epochs": 9}), None),
        (found("small_batch"), None),
        (found("leakage"), None),
    ],
)
def test_the_remedy_of_a_finding(finding: Finding, remedy: str | None) -> None:
    assert chosen(finding) == remedy


def all_findings(severity: str) -> list[Finding]:
    """One of each that a rule answers, with all that the rules need to know."""
    rows = ({"split": "train", "index": 3},)
    names = [name for rule in RULES for name in rule.findings]
    return [found(name, severity=severity, rows=rows, change={"strategy": "full"}) for name in names]


def test_only_what_calls_for_action_is_acted_upon() -> None:
    assert chosen(*all_findings("info")) is None
    warnings = all_findings("warning")
    assert chosen(*(finding for finding in warnings if finding.name != "forgetting")) is None
    assert chosen(*warnings) == "freeze_lower"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.remedy)
def test_a_warning_is_enough_for_freezing_and_for_no_other_remedy(rule: Rule) -> None:
    tried = State(given_up=["regularise"])
    moment = Moment(step=40, total_steps=100, learning_rate=1e-3, waited=3, class_counts=(30, 10))

    def chosen_at(severity: str) -> str | None:
        wanted = [finding for finding in all_findings(severity) if finding.name in rule.findings]
        return chosen(*wanted, state=tried if rule.remedy == "stop_early" else None, moment=moment)

    assert chosen_at("act") == rule.remedy
    assert chosen_at("warning") == ("freeze_lower" if rule.remedy == "freeze_lower" else None)
    assert chosen_at("info") is None


def test_a_finding_that_calls_for_action_comes_before_a_warning_by_the_order_of_the_rules() -> None:
    drifted = found("forgetting", severity="warning", confidence=1.0)
    assert chosen(drifted, found("overfitting", confidence=0.5)) == "regularise"
    underfitted = found("underfitting", change={"strategy": "full"})
    assert chosen(drifted, underfitted) == "freeze_lower"


def test_a_wrong_rate_comes_first_and_of_one_rule_the_surest() -> None:
    assert chosen(found("forgetting", confidence=1.0), found("loss_spikes", confidence=0.9)) == "lower_rate"
    remedy = decide([found("loss_spikes", confidence=0.9), found("divergence", confidence=0.95)], State(), NOW)
    assert remedy is not None and remedy.finding.name == "divergence"


@pytest.mark.parametrize(
    ("proposed", "name", "factor"),
    [
        (2e-4, "learning_rate_too_high", 0.2),
        (1e-6, "divergence", 1 / 30),
        (9e-4, "divergence", 0.5),
        (None, "divergence", 0.1),
        (None, "loss_spikes", 1 / 3),
        (5e-3, "learning_rate_too_low", 5.0),
        (1.0, "learning_rate_too_low", 100.0),
        (None, "learning_rate_too_low", 10.0),
    ],
)
def test_the_factor_on_the_rate_is_what_is_proposed_within_bounds(
    proposed: float | None, name: str, factor: float
) -> None:
    change = {} if proposed is None else {"optimizer.learning_rate": proposed}
    remedy = decide([found(name, change=change)], State(), NOW)
    assert remedy is not None and remedy.settings["factor"] == pytest.approx(factor, rel=1e-4)


def test_a_proposal_is_of_the_recipes_rate_and_says_nothing_of_one_that_was_changed() -> None:
    moment = Moment(step=40, total_steps=100, learning_rate=1e-3, rate_scale=0.1)
    remedy = decide([found("divergence", change={"optimizer.learning_rate": 5e-4})], State(), moment)
    assert remedy is not None and remedy.settings["factor"] == pytest.approx(0.1)


def test_neither_in_the_first_steps_nor_in_the_last() -> None:
    def at(step: int, name: str) -> str | None:
        return chosen(found(name, since=1), moment=Moment(step=step, total_steps=100, learning_rate=1e-3))

    assert at(2, "overfitting") is None and at(3, "overfitting") == "regularise"
    assert at(95, "overfitting") == "regularise" and at(96, "overfitting") is None
    # Steps that are taken again have time to act.
    assert at(100, "divergence") == "lower_rate"


def test_one_at_a_time_and_no_more_than_a_few() -> None:
    waiting = State(taken=[("regularise", 20)], pending=Pending("regularise", "overfitting", 20, None, 0.5, 1.0))
    assert chosen(found("divergence"), found("forgetting"), state=waiting) is None
    many = State(taken=[("lower_rate", 0)] * MOST_ACTIONS)
    assert chosen(found("divergence"), state=many) is None
    assert chosen(found("forgetting"), state=State(given_up=["freeze_lower"])) is None


def test_the_rate_is_lowered_again_on_evidence_from_after_the_run_went_back() -> None:
    pending = Pending("lower_rate", "divergence", 30, 12, 0.5, 1.0)
    state = State(taken=[("lower_rate", 12)], pending=pending)
    assert chosen(found("divergence", since=12), state=state) is None
    assert chosen(found("divergence", since=13), state=state) == "lower_rate"
    assert chosen(found("regularise"), state=State(taken=[("regularise", 12)])) is None


def test_it_stops_only_where_regularisation_was_tried_and_nothing_gets_better() -> None:
    tried = State(given_up=["regularise"], taken=[("regularise", 10)])
    late = Moment(step=40, total_steps=100, learning_rate=1e-3, waited=3)
    assert chosen(found("overfitting"), state=tried) is None
    assert chosen(found("overfitting"), state=tried, moment=late) == "stop_early"
    assert chosen(found("overfitting"), moment=late) == "regularise"


def test_class_weights_have_a_mean_of_one_over_the_rows() -> None:
    assert inverse_weights([30, 10], "balanced") == pytest.approx([40 / 60, 2.0])
    for wanted in ("balanced", "sqrt"):
        weights = inverse_weights([97, 3, 0], wanted)
        assert sum(w * n for w, n in zip(weights, [97, 3, 0], strict=True)) == pytest.approx(100)
    assert inverse_weights([100, 1], "sqrt")[1] / inverse_weights([100, 1], "sqrt")[0] == pytest.approx(10)


def test_standard_errors_of_rates_and_losses() -> None:
    assert standard_error(0.5, {"rows": 100}, higher_is_better=True) == pytest.approx(0.05, rel=0.03)
    assert standard_error(1.0, {"rows": 100}, higher_is_better=True) > 0
    assert standard_error(0.7, {"rows": 100, "loss_error": 0.03}, higher_is_better=False) == 0.03
    for detail in ({}, {"rows": None}, {"rows": 0}):
        assert standard_error(0.5, detail, higher_is_better=True) == 0.0
    assert standard_error(math.nan, {"rows": 100}, higher_is_better=True) == 0.0


def seen(*values: float | None, step: int = 50, loss: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"step": step + 10 * index, "value": value, "loss": loss, "error": 0.02, "loss_error": 0.05}
        for index, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("remedy", "back_to", "evaluations", "last", "expected"),
    [
        ("regularise", None, seen(0.55), False, True),
        ("regularise", None, seen(0.51), False, None),
        ("regularise", None, seen(0.51, 0.515), False, False),
        ("regularise", None, seen(0.51), True, False),
        ("regularise", None, seen(0.4, 0.53), False, True),
        # As good by the metric, and better by the loss.
        ("regularise", None, seen(0.5, 0.5, loss=0.9), False, True),
        ("regularise", None, seen(0.4, 0.4, loss=0.9), False, False),
        ("freeze_lower", None, seen(0.49), False, None),
        ("freeze_lower", None, seen(0.49, 0.485), False, True),
        ("freeze_lower", None, seen(0.4, 0.45), False, False),
        # Having gone back, it had less training than the best before.
        ("lower_rate", 0, seen(0.3, 0.3, 0.3, step=10), False, None),
        ("lower_rate", 0, seen(0.3, 0.3, 0.4, 0.5, step=20), False, False),
        ("lower_rate", 0, seen(0.3, 0.6, step=10), False, True),
        ("regularise", None, seen(None, None), False, False),
        ("regularise", None, [], False, None),
    ],
)
def test_whether_an_action_helped(
    remedy: str, back_to: int | None, evaluations: list[dict[str, Any]], last: bool, expected: bool | None
) -> None:
    pending = Pending(remedy, "x", 40, back_to, 0.5, 1.0, evaluations)
    assert verdict(pending, higher_is_better=True, is_last=last) is expected


def test_lower_values_may_be_the_better_ones() -> None:
    pending = Pending("regularise", "x", 40, None, 0.5, None, seen(0.4))
    assert verdict(pending, higher_is_better=False, is_last=False) is True
    assert verdict(pending, higher_is_better=True, is_last=True) is False


def test_a_run_that_had_no_value_is_helped_by_any() -> None:
    pending = Pending("lower_rate", "divergence", 3, 0, None, None, seen(0.2))
    assert verdict(pending, higher_is_better=True, is_last=False) is True


def test_the_memory_survives_json() -> None:
    pending = Pending("lower_rate", "divergence", 30, 0, 0.5, 1.0, seen(0.4), [6, 12])
    state = State([("lower_rate", 0)], ["leave_out"], pending, 0.9, 2)
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    assert State.from_dict({}) == State()


def test_every_rule_can_be_applied_and_names_conditions_that_exist() -> None:
    for rule in RULES:
        assert not rule.changes or callable(getattr(Steering, f"_{rule.changes}"))
    wanted = {name for rule in (*RULES, *BEFORE_TRAINING) for name in rule.findings} | set(ADVICE_ONLY)
    assert wanted <= set(CONDITIONS.names())
