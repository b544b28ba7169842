"""What the autopilot does about findings: the rules, which remedy comes next, and whether one has helped.

Pure functions of findings and numbers; `pipeline.autopilot` applies what they say to a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from trimtab.monitor.findings import SEVERITIES, Finding, Severity, round_significant
from trimtab.regularization.class_weights import inverse_weights

MOST_ACTIONS = 4
"""Actions of a run (our choice): more than one fault is rare, and a lowered rate may have to be lowered again."""
FIRST_STEPS = 3
LAST_STEPS = 3
LAST_SHARE = 0.05
"""No action in the first steps, where nothing is known yet; none in the last, where it would have no time to act."""
EVALUATIONS = 2
"""Evaluations that an action has to show its effect."""
HELP_ERRORS = 1.0
"""Standard errors by which a value must be better to count as help (our choice)."""
HOPELESS = 3
"""Evaluations in a row without a better value, after which overfitting ends the run."""

# Factors on the rate by the finding, where it proposes none; and their bounds.
LOWER = {"divergence": 0.1, "learning_rate_too_high": 0.2, "loss_spikes": 1 / 3}
RAISE = 10.0
LEAST_FACTOR, MOST_LOWERED = 1 / 30, 1 / 2
LEAST_RAISED, MOST_FACTOR = 2.0, 100.0


@dataclass(frozen=True)
class Rule:
    """One remedy, and when it is applied.

    Args:
        remedy: its name.
        findings: names of the findings that call for it.
        does: what it does, for the documents.
        when: what must hold besides, for the documents.
        goes_back: whether the run goes back to its last good state, or to its start.
        from_start: whether it is always the start.
        aim: `better`: the validation rows must get better for it to have helped; `no worse`: it serves something else,
            and they must not get worse.
        repeats: whether it may be applied again, on new evidence, after it has helped.
        changes: what it changes in `Steering.changed`; empty where it only ends the run.
        least: severity that a finding must have.
    """

    remedy: str
    findings: tuple[str, ...]
    does: str
    when: str = ""
    goes_back: bool = False
    from_start: bool = False
    aim: Literal["better", "no worse"] = "better"
    repeats: bool = False
    changes: str = ""
    least: Severity = "act"


RULES: tuple[Rule, ...] = (
    Rule(
        "lower_rate",
        ("divergence", "learning_rate_too_high", "loss_spikes"),
        "Goes back to the best checkpoint from before the trouble began, or to the start, and multiplies every rate "
        "by what the finding proposes (1/30 to 1/2). The steps since are taken again.",
        "Again, where the trouble returns at the lower rate.",
        goes_back=True,
        repeats=True,
        changes="scale_rate",
    ),
    Rule(
        "raise_rate",
        ("learning_rate_too_low",),
        "Goes back to the start, and multiplies every rate by what the finding proposes (2 to 100).",
        "Again, where the rate is still too low after it has helped.",
        goes_back=True,
        from_start=True,
        repeats=True,
        changes="scale_rate",
    ),
    Rule(
        "leave_out",
        ("suspect_labels",),
        "The suspect rows take part in training no more.",
        "At most half of the training rows; the interval of their share ends below the largest that can be estimated.",
        changes="leave_out",
    ),
    Rule(
        "balance_classes",
        ("class_imbalance", "class_collapse"),
        "Rows weigh in the loss by the inverse of their class's share (or its root, as the finding proposes).",
        "The task has classes.",
        changes="balance_classes",
    ),
    Rule(
        "regularise",
        ("overfitting",),
        "Adds 0.1 to every dropout probability (up to 0.5) and multiplies weight decay by 10 (up to 0.3).",
        "The model has dropout, or the optimizer decays weights.",
        changes="regularise",
    ),
    Rule(
        "stop_early",
        ("overfitting",),
        "Ends training; the best weights are delivered.",
        f"Stronger regularisation was tried or cannot be had, and {HOPELESS} evaluations gave no better value.",
    ),
    Rule(
        "freeze_lower",
        ("forgetting",),
        "Embeddings and the lower half of the blocks train no more.",
        "The strategy has no stages.",
        aim="no worse",
        changes="freeze_lower",
        # While a run goes on, forgetting is seen by its signs alone.
        least="warning",
    ),
    Rule(
        "unfreeze_more",
        ("underfitting",),
        "Goes back to the start, and the upper half of the frozen blocks trains too.",
        "The finding, which comes at the end of a run, names capacity as the cause; the strategy is `partial`.",
        goes_back=True,
        from_start=True,
        changes="unfreeze_more",
    ),
)
BY_REMEDY = {rule.remedy: rule for rule in RULES}

BEFORE_TRAINING: tuple[Rule, ...] = (
    Rule("longer_inputs", ("truncated_texts",), "Sets task.max_length to what the model can read."),
    Rule(
        "train_head",
        ("frozen_part",),
        "Sets strategy.train_head, so that the head trains too.",
        "The head is new, and the strategy `partial` leaves it frozen.",
    ),
    Rule(
        "drop_leaked_rows",
        ("leakage",),
        "Takes the training rows that stand in held-out data, equal or nearly so, out of the training rows.",
        "At most half of the training rows, and every class keeps some.",
    ),
)
"""What is settled before the first step, where the data report or the recipe alone show it."""

ADVICE_ONLY = {
    "small_batch": "A larger batch would move the positions of the steps, and with them the schedule; a smaller rate "
    "does the same for the noise of the steps (Smith et al. 2018, arXiv 1711.00489), and costs speed: left to you.",
}
"""Findings that no action answers, and why."""


@dataclass(frozen=True)
class Remedy:
    """What is to be done now.

    Args:
        rule: the rule that calls for it.
        finding: because of which.
        settings: arguments of the change.
    """

    rule: Rule
    finding: Finding
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        return f"{self.finding.message} (since step {self.finding.since})"


@dataclass
class Pending:
    """An action whose effect is not settled.

    Args:
        remedy: its name.
        finding: name of the finding.
        step: at which it was taken.
        back_to: the step that the run went back to; None where it went on.
        value: best value of the chosen metric before it; None before the first evaluation.
        loss: lowest validation loss before it; None likewise.
        seen: evaluations since: `step`, `value`, `loss`, `error`, `loss_error`.
        pinned: steps of the checkpoints that hold the best weights before it.
    """

    remedy: str
    finding: str
    step: int
    back_to: int | None
    value: float | None
    loss: float | None
    seen: list[dict[str, Any]] = field(default_factory=list)
    pinned: list[int] = field(default_factory=list)

    @property
    def branched(self) -> int:
        """The last step before the run went another way."""
        return self.step if self.back_to is None else self.back_to


@dataclass
class State:
    """What the autopilot remembers of a run.

    Args:
        taken: (remedy, step from which on it acted) of each action, undone ones too.
        given_up: remedies that were undone, or that the run does not admit.
        pending: the action whose effect is not settled.
        lowest_loss: lowest validation loss so far.
        waited: evaluations in a row without a better value.
    """

    taken: list[tuple[str, int]] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    pending: Pending | None = None
    lowest_loss: float | None = None
    waited: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> State:
        """What `to_dict` gave; a fresh state from an empty mapping."""
        if not values:
            return cls()
        pending = values["pending"]
        taken = [(str(remedy), int(step)) for remedy, step in values["taken"]]
        kept = Pending(**{**pending, "seen": list(pending["seen"])}) if pending else None
        return cls(taken, list(values["given_up"]), kept, values["lowest_loss"], values["waited"])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Moment:
    """Where the run stands when a decision is due.

    Args:
        step: optimizer steps taken.
        total_steps: those of the run.
        learning_rate: peak rate of the recipe.
        rate_scale: factor on it that is in force.
        waited: evaluations in a row without a better value.
        class_counts: training rows of each class; empty where the task has none.
    """

    step: int
    total_steps: int
    learning_rate: float
    rate_scale: float = 1.0
    waited: int = 0
    class_counts: tuple[int, ...] = ()


def decide(findings: Iterable[Finding], state: State, moment: Moment) -> Remedy | None:
    """The remedy that is due, None for none.

    Only findings of severity `act` count (or what a rule says), in the order of the rules (a wrong rate explains much
    else), and of those for one rule the surest first. One action at a time, `MOST_ACTIONS` a run; a remedy that did
    not help, or that the run does not admit, is not tried again.
    """
    if len(state.taken) >= MOST_ACTIONS or moment.step < FIRST_STEPS:
        return None
    surest = sorted(findings, key=lambda item: -item.confidence)
    for rule in RULES:
        for finding in surest:
            if SEVERITIES.index(finding.severity) < SEVERITIES.index(rule.least):
                continue
            if finding.name in rule.findings and _may(rule, finding, state, moment):
                settings = _settings(rule, finding, moment)
                if settings is not None:
                    return Remedy(rule, finding, settings)
    return None


def on_request(finding: Finding, moment: Moment, remedy: str | None = None) -> list[Remedy]:
    """The remedies that answer a finding for a person who asks, in the order of the rules.

    Severity, the number of actions and what was tried before do not count: who asks has judged. What ends the training
    is given only where it is named.

    Args:
        finding: that the remedy is to answer.
        moment: where the run stands.
        remedy: name of the one that is wanted; None for any.
    """
    rules = [rule for rule in RULES if finding.name in rule.findings]
    wanted = [rule for rule in rules if (rule.remedy == remedy if remedy else rule.changes)]
    settings = [(rule, _settings(rule, finding, moment)) for rule in wanted]
    return [Remedy(rule, finding, found) for rule, found in settings if found is not None]


def _may(rule: Rule, finding: Finding, state: State, moment: Moment) -> bool:
    """Whether a rule may be applied now."""
    if rule.remedy in state.given_up:
        return False
    if state.pending is not None and not (rule.remedy == state.pending.remedy and rule.goes_back):
        return False
    before = [step for remedy, step in state.taken if remedy == rule.remedy]
    # What the finding saw may be from before the run went back: that says nothing of the new way.
    if before and (not rule.repeats or (rule.goes_back and finding.since <= before[-1])):
        return False
    last = moment.total_steps - max(LAST_STEPS, math.ceil(LAST_SHARE * moment.total_steps))
    if not rule.goes_back and moment.step > last:
        return False
    if rule.remedy == "stop_early":
        tried = "regularise" in state.given_up or any(remedy == "regularise" for remedy, _ in state.taken)
        return tried and moment.waited >= HOPELESS
    if rule.remedy == "leave_out":
        return bool(finding.evidence.get("is_bounded", True))
    if rule.remedy == "unfreeze_more":
        return any(key.partition(".")[0] == "strategy" for key in finding.change)
    return True


def _settings(rule: Rule, finding: Finding, moment: Moment) -> dict[str, Any] | None:
    """The arguments of a rule's change; None where the finding does not say what it needs."""
    if rule.remedy in ("lower_rate", "raise_rate"):
        lowers = rule.remedy == "lower_rate"
        default = LOWER[finding.name] if lowers else RAISE
        proposed = finding.change.get("optimizer.learning_rate")
        known = isinstance(proposed, int | float) and moment.rate_scale == 1.0 and moment.learning_rate > 0
        factor = float(proposed) / moment.learning_rate if known and proposed is not None else default
        bounds = (LEAST_FACTOR, MOST_LOWERED) if lowers else (LEAST_RAISED, MOST_FACTOR)
        return {"factor": round_significant(min(max(factor, bounds[0]), bounds[1]))}
    if rule.remedy == "leave_out":
        rows = [int(row["index"]) for row in finding.rows if "index" in row and row.get("split", "train") == "train"]
        return {"rows": sorted(rows)} if rows else None
    if rule.remedy == "balance_classes":
        kind: Literal["balanced", "sqrt"] = (
            "sqrt" if finding.change.get("regularization.class_weights") == "sqrt" else "balanced"
        )
        return {"weights": inverse_weights(moment.class_counts, kind).tolist()} if moment.class_counts else None
    return {}


def standard_error(value: float, detail: Mapping[str, Any], *, higher_is_better: bool) -> float:
    """Of a metric on the validation rows: binomial for a rate, that of the loss for a loss; 0 where it is not known.

    Args:
        value: of the metric.
        detail: of the evaluation.
        higher_is_better: the metric's direction; rates and losses are told apart by it.
    """
    rows = detail.get("rows")
    if not higher_is_better:
        return float(detail.get("loss_error") or 0.0)
    if not rows or not 0 <= value <= 1:
        return 0.0
    # Not 0 at a value of 0 or 1, where nothing is certain either (Agresti & Coull 1998).
    share = (value * rows + 2) / (rows + 4)
    return math.sqrt(share * (1 - share) / (rows + 4))


def verdict(pending: Pending, *, higher_is_better: bool, is_last: bool) -> bool | None:
    """Whether an action helped; None while that is open.

    It helped when the best weights since are better than the best before, by the chosen metric or, where that is as
    good as before, by the validation loss, each beyond `HELP_ERRORS` of its standard errors. One that serves something
    else helped when they are no worse. Where the run went back, evaluations count from the step of the action on: those
    before had less training than the best before.

    Args:
        pending: the action with the evaluations since.
        higher_is_better: direction of the metric.
        is_last: whether no further evaluation will come.
    """
    rule = BY_REMEDY[pending.remedy]
    sign = 1.0 if higher_is_better else -1.0
    seen = [item for item in pending.seen if item["value"] is not None and math.isfinite(item["value"])]
    due = is_last or sum(item["step"] >= pending.step for item in pending.seen) >= EVALUATIONS
    if not seen:
        return False if due else None
    if pending.value is None:
        return True
    best = max(seen, key=lambda item: sign * item["value"])
    gain, noise = sign * (best["value"] - pending.value), HELP_ERRORS * best["error"]
    if rule.aim == "no worse":
        return gain >= -noise if due else None
    if gain > noise:
        return True
    falls = [pending.loss - item["loss"] > HELP_ERRORS * item["loss_error"] for item in seen
             if pending.loss is not None and item["loss"] is not None]  # fmt: skip
    if gain >= -noise and any(falls) and due:
        return True
    return False if due else None
