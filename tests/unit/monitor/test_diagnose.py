"""All conditions together: order, causes and consequences."""

from __future__ import annotations

from collections.abc import Iterable

from monitor_traces import make_trace

from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.diagnose import all_conditions, diagnose, settled
from trimtab.monitor.findings import Curve, Finding, Severity
from trimtab.monitor.trace import Trace


def found(name: str, severity: Severity, confidence: float = 1.0) -> Finding:
    return Finding(name, severity, "It is.", 1, {"value": 1}, "Do.", confidence=confidence)


class Fever(Condition):
    name, title, rule, source, explains = "fever", "Fever", "Always.", "a book", ("shivers", "chills")
    severity: Severity = "act"

    def examine(self, trace: Trace) -> Iterable[Finding]:
        yield found("fever", self.severity)


class Shivers(Condition):
    name, title, rule, source = "shivers", "Shivers", "Always.", "a table"

    def examine(self, trace: Trace) -> Iterable[Finding]:
        yield found("shivers", "act")


def test_what_follows_from_a_grave_finding_is_only_good_to_know() -> None:
    first, second = diagnose(make_trace(), [Shivers(), Fever()])
    assert (first.name, first.severity, first.source) == ("fever", "act", "a book")
    assert (second.name, second.severity) == ("shivers", "info")
    assert second.evidence == {"value": 1, "follows_from": "fever"}


def test_a_mild_finding_explains_nothing() -> None:
    mild = Fever()
    mild.severity = "warning"
    assert [(f.name, f.severity) for f in diagnose(make_trace(), [mild, Shivers()])] == [
        ("shivers", "act"),
        ("fever", "warning"),
    ]


def test_two_that_explain_each_other_are_not_both_dropped() -> None:
    class Chills(Fever):
        name, explains = "chills", ("fever",)

    findings = settled([found("fever", "act"), found("chills", "act")], [Fever(), Chills()])
    assert [(f.name, f.severity) for f in findings] == [("fever", "act"), ("chills", "info")]


def test_the_gravest_and_surest_come_first() -> None:
    findings = [found("a", "info"), found("b", "act", 0.6), found("c", "warning"), found("d", "act", 0.9)]
    assert [finding.name for finding in settled(findings, [])] == ["d", "b", "c", "a"]


def test_every_condition_says_what_it_is_and_names_others_that_exist() -> None:
    conditions = all_conditions()
    names = {condition.name for condition in conditions}
    for condition in conditions:
        assert condition.title and condition.rule and condition.source
        assert set(condition.explains) <= names - {condition.name}, condition.name


def test_a_finding_survives_json_and_keeps_the_extremes_of_long_series() -> None:
    values = [0.0] * 5000
    values[2501], values[4000] = 9.0, -9.0
    finding = Finding("x", "act", "It is.", 3, {}, "Do.", series=(Curve("loss", list(range(5000)), values),))
    stored = finding.to_dict()
    (curve,) = stored["series"]
    assert len(curve["values"]) <= 400 and max(curve["values"]) == 9.0 and min(curve["values"]) == -9.0
    again = Finding.from_dict(stored)
    assert again.to_dict() == stored
